"""From Arrow columns to the estimator without Python objects; `choose` is the only door."""
