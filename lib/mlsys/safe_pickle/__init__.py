"""Load a pickle that holds only the parts of a fitted scikit-learn model."""
