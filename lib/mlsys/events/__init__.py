"""Messages that Pub/Sub pushes to the service: the forms they come in, and quarantine."""
