"""Plots of class labels: their balance, the confusion matrix, and ROC curves."""

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


def plot_class_balance(y: ArrayLike, *, ax: Axes | None = None) -> Axes:
    """Plot how many rows each class has: one bar per class, with the count and share of its rows.

    Args:
        y: class labels, 1-d.

    Raises:
        InvalidRequest: `y` is empty, or has missing values or more than 100 distinct ones.
    """
    labels = data.one_column("y", y)
    ax = drawing.labels_by_group({"": labels}, data.classes_of(y=labels), ax, shares=False)
    ax.set(title=f"Class balance, {plural(len(labels), 'row')}", ylabel="Class")
    return drawing.literal(ax)


def plot_confusion_matrix(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    labels: Sequence[Any] | None = None,
    normalize: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Plot predicted classes (columns) against true classes (rows), as counts or shares.

    Args:
        y_true, y_pred: class labels, 1-d, of the same length.
        labels: the classes to show, in this order; default: all of them, sorted.
        normalize: None counts rows; "true", "pred" and "all" show percent of each row of the
            matrix, of each column, and of all rows of data.

    Raises:
        InvalidRequest: the inputs differ in length or type, are empty or have missing values.
    """
    from sklearn.metrics import ConfusionMatrixDisplay, confusion_matrix

    of = {
        None: "",
        "true": "% of each true class",
        "pred": "% of each prediction",
        "all": "% of all",
    }
    if normalize not in list(of):
        raise InvalidRequest(("normalize", f"is {normalize!r}: pass one of {list(of)}"))
    true, pred = data.one_column("y_true", y_true), data.one_column("y_pred", y_pred)
    data.check_same_length(y_true=true, y_pred=pred)
    classes = data.classes_of(y_true=true, y_pred=pred)
    if labels is not None:
        classes = data.ordered_classes("labels", labels, true)
        if not set(classes) & set(true):
            raise InvalidRequest(
                ("labels", f"none of {list(labels)} is in y_true: pass its classes")
            )
    try:
        matrix = confusion_matrix(true, pred, labels=classes, normalize=normalize)
    except ValueError as exc:
        raise InvalidRequest(("y_true and y_pred", f"{exc}: pass class labels")) from exc

    many = len(classes) > 12
    size = max(4.0, 1.6 + (0.42 if many else 0.75) * len(classes))
    ax = drawing.axes(ax, size=(size + 0.6, size))
    flat = matrix.min() == matrix.max()  # the display would write white on white
    ConfusionMatrixDisplay(matrix, display_labels=[drawing.short(name) for name in classes]).plot(
        ax=ax,
        cmap="Blues",
        colorbar=False,  # the cells show their values
        values_format=".1%" if normalize else ",d",
        im_kw={"vmin": matrix.max() - 1} if flat else None,
        text_kw={"fontsize": 6 if many else 10},
    )
    ax.grid(False)
    ax.set_title("Confusion matrix, " + (of[normalize] or plural(int(matrix.sum()), "row")))
    if max(len(str(name)) for name in classes) > 8:
        for tick in ax.get_xticklabels():
            tick.set(rotation=90 if many else 40, ha="right", rotation_mode="anchor")
            if many:
                tick.set_verticalalignment("center")
    return drawing.literal(ax)


def plot_roc(
    y_true: ArrayLike,
    y_score: ArrayLike,
    *,
    classes: Sequence[Any] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Plot the ROC curve of a binary classifier, or one per class against the rest, with the AUC.

    Args:
        y_true: class labels, 1-d.
        y_score: the result of `predict_proba` or `decision_function`: 1-d scores of the second
            class, or one column per class.
        classes: the classes in the order of the columns (`model.classes_`); default: those of
            `y_true`, sorted. A class without rows in `y_true` is in the legend, without a curve.

    Raises:
        InvalidRequest: lengths or the number of columns do not match, a value is missing, or
            `y_true` has only one class.
    """
    import numpy as np
    from sklearn.metrics import RocCurveDisplay, auc, roc_curve

    true, score = data.one_column("y_true", y_true), data.numbers("y_score", y_score)
    data.check_same_length(y_true=true, y_score=score)
    present = data.classes_of(y_true=true)
    names = present if classes is None else data.ordered_classes("classes", classes, true)
    columns = 2 if score.ndim == 1 else score.shape[1]
    if len(names) != columns and (score.ndim > 1 or len(names) > 2):
        text = (
            f"has shape {score.shape} for the {len(names)} classes {names.tolist()}: pass one "
            "column per class, and classes=model.classes_ if y_true lacks some of them"
        )
        raise InvalidRequest(("y_score", text))
    if unknown := [c for c in present.tolist() if c not in names.tolist()]:
        text = f"{names.tolist()} lack {unknown}, which y_true has: pass model.classes_"
        raise InvalidRequest(("classes", text))
    if len(present) < 2:
        text = f"has the one class {present.tolist()[0]!r}: pass rows of at least two classes"
        raise InvalidRequest(("y_true", text))
    binary = columns == 2
    displays, labels = [], []
    for i, name in [(1, names[1])] if binary else enumerate(names):
        if name not in set(present):
            nowhere = np.array([np.nan])
            displays.append(RocCurveDisplay(fpr=nowhere, tpr=nowhere, name=f"curve {i}"))
            labels.append(f"{drawing.short(name)}: no rows")
            continue
        fpr, tpr, _ = roc_curve(true == name, score if score.ndim == 1 else score[:, i])
        displays.append(RocCurveDisplay(fpr=fpr, tpr=tpr, name=f"curve {i}"))
        labels.append(f"{drawing.short(name)} (AUC = {auc(fpr, tpr):0.2f})")

    columns = -(-len(displays) // 26)  # of the legend, which is beside the axes if it is long
    beside = len(displays) > 10
    given, ax = ax, drawing.axes(ax, size=(5.8 + 3.2 * columns if beside else 5.8, 5.8))
    for i, display in enumerate(displays):
        style = ("-", "--", ":", "-.")[i // len(COLORS) % 4]
        curve = {"color": COLORS[i % len(COLORS)], "linestyle": style}
        display.plot(ax=ax, curve_kwargs=curve, plot_chance_level=i == len(displays) - 1)
    ax.set(
        title="ROC curve" if binary else "ROC curves, class against the rest",
        xlabel="False positive rate",
        ylabel="True positive rate",
        xticks=np.linspace(0, 1, 6),
        yticks=np.linspace(0, 1, 6),
    )
    drawing.percent(ax.xaxis)
    drawing.percent(ax.yaxis)
    handles = [display.line_ for display in displays]
    handles.append(displays[-1].chance_level_)
    labels.append("Chance level (AUC = 0.5)")
    where: dict[str, Any] = {"loc": "lower right", "fontsize": "small", "frameon": True}
    if beside:
        where = {"loc": "upper left", "bbox_to_anchor": (1, 1), "fontsize": 7, "ncols": columns}
    legend = drawing.legend(ax, handles, labels, where)
    legend.set_in_layout(given is None)  # it must not shrink axes of the caller's figure
    return drawing.literal(ax)
