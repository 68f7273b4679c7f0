"""Is a model still right? What a run counts of its rows, and drift and the contract from it."""
