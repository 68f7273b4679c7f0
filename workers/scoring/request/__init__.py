"""What a caller asks for: the parsed request, and its limits."""
