"""Decide whether a model may be used, before anything uses it."""
