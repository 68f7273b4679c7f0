"""Access to Google Cloud: credentials, error translation, addresses of this machine."""
