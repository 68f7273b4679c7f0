"""Access to Google Cloud: clients, credentials, errors, progress of calls, loopback addresses."""
