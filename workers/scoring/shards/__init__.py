"""Read the input in shards and write each one as a Parquet part."""
