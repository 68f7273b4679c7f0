"""Facts about a fitted scikit-learn model: its parts, its input, whether it is fitted or random."""
