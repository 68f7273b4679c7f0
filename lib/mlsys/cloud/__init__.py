"""How Google is reached: credentials, errors in plain words, addresses of this machine."""
