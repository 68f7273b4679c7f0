"""A model version's files: names, metadata, input signature, golden rows, loading, signing."""
