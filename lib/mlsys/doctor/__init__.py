"""Checks of a deployment: each says what was seen, and the command that fixes it."""
