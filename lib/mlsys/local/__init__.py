"""Google Cloud on one machine, for `mlsys local up` and the tests.

`mlsys.local.stack` starts everything. Importing this package imports nothing else, because
every server's guard (`python -m mlsys.local.guard`) passes through here.
"""
