"""Load a pickle that holds only what a fitted scikit-learn model consists of."""
