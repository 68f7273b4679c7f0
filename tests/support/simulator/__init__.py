"""Google Cloud in memory with a virtual clock, in which a seed decides order and faults.

`kernel` gives the baton to one actor at a time, `storage`, `warehouse`, `reads` and `topics` are
the cloud, `virtual` replaces the clock and the randomness of the modules under test. `registry` and
`scoring` are the scenarios with their auditors, `mutants` weaker designs, `shrink` finds the
shortest history of a failure. `python -m simulator` runs many seeds.
"""
