"""The objects of a run in the bucket: what was decided, tried, and how it ended.

Nothing here decides: it writes, reads, and types what others decide.
"""
