"""Load-side of scoring: rows in, predictions out. Knows no Google client and no other wing."""
