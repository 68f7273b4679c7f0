"""Score a BigQuery table into another: a plan, write-once parts, and one commit.

`run.py` is the way in. `plan.py` decides everything once; `shard.py` turns one read stream into
one Parquet part with `predictor.py`; `publish.py` loads all parts in one job; `store.py` knows
where a run's objects lie.
"""
