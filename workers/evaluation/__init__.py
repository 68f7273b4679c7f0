"""Metrics of runs, once labels arrive: one query joins and adds up, this process only divides."""
