"""Plots for notebooks: data in, axes out.

Every function checks its input, computes, and then draws, on `ax` if it is given and otherwise on a
new figure. It returns the matplotlib Axes, so a title or a label is one more call:

>>> ax = plot_class_balance(["yes", "no", "no"])
>>> [text.get_text() for text in ax.texts]
['2 (66.7%)', '1 (33.3%)']
>>> _ = ax.set_title("Who survived")

Texts are shown literally: `$` does not start a formula, and a name may begin with `_`. Characters
that the font lacks are drawn with another installed font; a warning names those that no font has.

Matplotlib is imported when a function is first called. It comes with the extra `vis`; without it
the functions raise a `ModuleNotFoundError` that says what to install.
"""

from mlsys.vis.classes import plot_class_balance, plot_confusion_matrix, plot_roc
from mlsys.vis.drift import plot_drift, plot_drift_history
from mlsys.vis.history import plot_metric_history
from mlsys.vis.models import plot_feature_importance, plot_prediction_distribution
from mlsys.vis.style import setup_plot_style

__all__ = [
    "plot_class_balance",
    "plot_confusion_matrix",
    "plot_drift",
    "plot_drift_history",
    "plot_feature_importance",
    "plot_metric_history",
    "plot_prediction_distribution",
    "plot_roc",
    "setup_plot_style",
]
