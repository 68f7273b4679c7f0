"""Keep BigQuery's `model_registry` equal to the models bucket."""
