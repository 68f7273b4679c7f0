"""Decide everything about a run before any row is read."""
