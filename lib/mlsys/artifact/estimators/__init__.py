"""Properties of a scikit-learn model: its parts, input form, memory use, fitting and randomness."""
