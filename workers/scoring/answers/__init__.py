"""What is answered about a run or a request, and changes neither."""
