"""Plots of a fitted model: its features' weights, and the distribution of its predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mlsys.errors import InvalidRequest
from mlsys.plural import plural
from mlsys.vis import data, drawing
from mlsys.vis.style import COLORS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

BINS = 30


def plot_feature_importance(
    model: Any, feature_names: Sequence[str] | None = None, *, top: int = 20, ax: Axes | None = None
) -> Axes:
    """Plot the features with the largest weights in a fitted model, the largest on top.

    The weights are `feature_importances_`, or the signed `coef_` of a linear model (if it has a row
    for each class, the mean of the absolute values). Coefficients are comparable only between
    features of one scale.

    Args:
        model: a fitted estimator, or a Pipeline (or a search over one) that ends with it.
        feature_names: the input columns of `model`; needed only if it was fitted without column
            names. For a Pipeline with a step that cannot name its outputs, the input columns of
            the last step.
        top: the number of features to show.

    Raises:
        InvalidRequest: the model is not fitted or has neither attribute, or the names do not fit.
    """
    import numpy as np

    if top < 1:
        raise InvalidRequest(("top", f"is {top}: pass a number above 0"))
    model = data.fitted(model)
    values, what = data.weights(model)
    names = data.feature_names_of(model, feature_names, len(values))
    order = np.argsort(-np.abs(values), kind="stable")[:top]
    shown = values[order]

    ax = drawing.axes(ax, bars=len(order))
    colors = [COLORS[0] if value >= 0 else COLORS[5] for value in shown]
    drawing.bars(ax, names[order], shown, [f"{value:.3g}" for value in shown], color=colors)
    last = data.last_step(model)
    classes = list(getattr(last, "classes_", []))
    if what == "Coefficient":
        ax.axvline(0, color="black", linewidth=0.8)
        what += f" (above 0: towards {drawing.short(classes[1])})" if len(classes) == 2 else ""
    few = f", top {len(order)} of {len(values)}" if len(order) < len(values) else ""
    ax.set(title=f"Features of {type(last).__name__}{few}", xlabel=what)
    return drawing.literal(ax)


def plot_prediction_distribution(
    predictions: ArrayLike, *, by: ArrayLike | None = None, ax: Axes | None = None
) -> Axes:
    """Plot the distribution of a model's predictions: bars for labels, a histogram for numbers.

    Up to 20 distinct whole numbers count as labels.

    Args:
        predictions: labels, probabilities or values, 1-d.
        by: a group for each prediction (a model version, the true class), at most 7 groups; the
            plot shows shares of each group's rows, so that groups of different size compare.

    Raises:
        InvalidRequest: the inputs differ in length, are empty, or have missing values.
    """
    import numpy as np

    values = data.one_column("predictions", predictions)
    groups = {"": values}
    if by is not None:
        group = data.one_column("by", by)
        data.check_same_length(predictions=values, by=group)
        names = data.classes_of(by=group)
        if len(names) > len(COLORS):
            text = f"has {len(names)} distinct values: pass at most {len(COLORS)} groups"
            raise InvalidRequest(("by", text))
        groups = {
            f"{drawing.short(name)} (n = {np.sum(group == name):,})": values[group == name]
            for name in names
        }
        if len(groups) < len(names):
            text = "has names with equal first 24 and last 15 letters: pass shorter names"
            raise InvalidRequest(("by", text))

    if data.are_labels(values):
        ax = drawing.labels_by_group(
            groups, data.classes_of(predictions=values), ax, shares=by is not None
        )
        ax.set_ylabel("Prediction")
    else:
        edges = data.bin_edges(data.numbers("predictions", values), BINS)
        ax = drawing.histogram(groups, edges, ax, shares=by is not None)
        ax.set_xlabel("Prediction")
    ax.set_title(f"Predictions, {plural(len(values), 'row')}")
    if by is not None:  # beside the axes: each corner may have data
        where = {"loc": "upper left", "bbox_to_anchor": (1, 1), "fontsize": "small"}
        drawn = ax.containers if data.are_labels(values) else ax.patches
        drawing.legend(ax, list(drawn)[-len(groups) :], list(groups), where)
    return drawing.literal(ax)
