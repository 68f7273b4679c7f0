"""Google Cloud on one machine: `mlsys local up`, and what the tests run on.

`mlsys.local.stack` starts everything. Importing this package imports nothing else, because
every server's guard (`python -m mlsys.local.guard`) passes through here.
"""
