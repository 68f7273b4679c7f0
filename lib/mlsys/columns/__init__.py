"""One column of a frame in BigQuery and Arrow: types, dtypes, and exact values."""
