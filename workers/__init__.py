"""The service's work: keep the registry equal to the bucket, and score tables.

No HTTP and no environment variables: clients and settings come as arguments.
"""
