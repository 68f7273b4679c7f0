"""Score a BigQuery table into another: a plan, write-once parts, and one commit.

`engines` is the way in. `planning` decides everything once; `shards` turns each read stream into
one Parquet part; `publishing` loads all parts in one job and records the run. `journal` has the
objects that a run writes. `ending` fails, cancels or undoes a run, `answers` only tells about one.
"""
