"""Publish the parts of a run in one commit, and record it."""
