"""The HTTP routes, their parameters and their errors."""
