"""Backfill: a table scored partition by partition, a run each; `board` says how far it is."""
