"""Other ways to score a table, each a script of its own that `make bench` starts.

`whole_table` and `predict_alone` run in the project's environment, the others in `.venv-peers`
and, because of what Beam asks for, `.venv-beam`. `make bench-peers` makes both, from
`benchmarks/peers.txt` and `requirements-beam.lock`. None of them imports mlsys.
"""
