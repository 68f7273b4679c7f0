"""Is a model still right? Metrics of its predictions once their labels are known."""
