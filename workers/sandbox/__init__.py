"""Processes that hold a model and can reach nothing: starting them, asking them, ending them."""
