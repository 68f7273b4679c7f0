"""One column of a frame as BigQuery and Arrow hold it: types, dtypes, and exact values."""
