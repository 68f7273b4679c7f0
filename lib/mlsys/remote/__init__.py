"""The service over HTTP, as the command line and notebooks call it."""
