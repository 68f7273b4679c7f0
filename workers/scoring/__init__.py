"""Score a BigQuery table into another: a plan, write-once parts, and one commit.

`engines` is the way in. `planning` decides everything once; `shards` turns each read stream into
one Parquet part; `publishing` loads all parts in one job, or ends a run without, and records it.
`request` is what a caller asks for, `journal` has the objects that a run writes. `answers` tells
about a run, `backfill` about the runs of a table's partitions.
"""
