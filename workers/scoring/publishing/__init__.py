"""Publish the parts of a run in one commit, or end it without; undo it; record how it ended.

`publish.json` decides, once: it names the parts that are loaded (`decision`), or says that the run
was cancelled (`cancellation`). `undo` removes the rows again, and the `ledger` follows each end.
"""
