"""What mlsys costs, measured side by side with what a user would do instead."""
