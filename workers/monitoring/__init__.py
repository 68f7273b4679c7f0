"""Is a model still right? Counts of what a run saw, and metrics once labels are known."""
