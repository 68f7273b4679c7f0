"""Benchmarks: the cost of mlsys beside that of other tools, in one run."""
