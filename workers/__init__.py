"""What the service does: it keeps the registry equal to the bucket, and scores tables.

No HTTP and no environment variables in here: clients and settings come as arguments.
"""
