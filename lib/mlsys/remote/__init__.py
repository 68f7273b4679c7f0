"""The service over HTTP, for the command line and notebooks."""
