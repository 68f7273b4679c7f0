"""Access to Google Cloud: clients, credentials, errors, progress; pushed messages, quarantine."""
