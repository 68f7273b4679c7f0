"""What a caller asks for: the parsed request, its limits, and what it tolerates."""
