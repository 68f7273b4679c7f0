"""Other ways to score a table, each a script of its own that `make bench` starts.

`whole_table` and `predict_alone` run in the project's environment, the others in `.venv-peers`,
which `make bench-peers` makes from `benchmarks/peers.txt`. None of them imports mlsys.
"""
