"""What travels with `model.pkl`: names, metadata, signature of the input, golden rows, signing."""
