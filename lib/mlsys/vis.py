"""Plots for a training notebook: data in, axes out.

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

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mlsys import vis_data, vis_fonts
from mlsys.errors import InvalidRequest

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

__all__ = [
    "plot_class_balance",
    "plot_confusion_matrix",
    "plot_feature_importance",
    "plot_prediction_distribution",
    "plot_roc",
    "setup_plot_style",
]

# The palette of Okabe and Ito (2008), which suits any kind of colour vision, without its yellow,
# which is too faint on white.
COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#666666")
BINS = 30


def setup_plot_style() -> None:
    """Make this process's plots readable in a notebook and safe for colour-blind readers.

    Sets matplotlib's defaults (`rcParams`); a second call changes nothing.
    """
    plt = _pyplot()
    plt.rcParams.update(
        {
            "axes.axisbelow": True,
            "axes.grid": True,
            "axes.prop_cycle": plt.cycler(color=COLORS),
            "axes.spines.right": False,
            "axes.spines.top": False,
            "axes.titlelocation": "left",
            "axes.titlesize": 12,
            "axes.titleweight": "bold",
            "figure.dpi": 110,
            "figure.figsize": (7, 4.5),
            "font.size": 10,
            "grid.alpha": 0.3,
            "image.cmap": "cividis",
            "legend.frameon": False,
            "savefig.bbox": "tight",
            "savefig.dpi": 150,
        }
    )


def plot_class_balance(y: ArrayLike, *, ax: Axes | None = None) -> Axes:
    """Plot how many rows each class has: one bar per class, with the count and share of its rows.

    Args:
        y: class labels, 1-d.

    Raises:
        InvalidRequest: `y` is empty, or has missing values or more than 100 distinct ones.
    """
    labels = vis_data.one_column("y", y)
    ax = _labels_by_group({"": labels}, vis_data.classes_of(y=labels), ax, shares=False)
    ax.set(title=f"Class balance, {len(labels):,} rows", ylabel="Class")
    return _literal(ax)


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
    true, pred = vis_data.one_column("y_true", y_true), vis_data.one_column("y_pred", y_pred)
    vis_data.check_same_length(y_true=true, y_pred=pred)
    classes = vis_data.classes_of(y_true=true, y_pred=pred)
    if labels is not None:
        classes = vis_data.ordered_classes("labels", labels, true)
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
    ax = _axes(ax, size=(size + 0.6, size))
    flat = matrix.min() == matrix.max()  # the display would write white on white
    ConfusionMatrixDisplay(matrix, display_labels=[_short(name) for name in classes]).plot(
        ax=ax,
        cmap="Blues",
        colorbar=False,  # the cells show their values
        values_format=".1%" if normalize else ",d",
        im_kw={"vmin": matrix.max() - 1} if flat else None,
        text_kw={"fontsize": 6 if many else 10},
    )
    ax.grid(False)
    ax.set_title("Confusion matrix, " + (of[normalize] or f"{matrix.sum():,} rows"))
    if max(len(str(name)) for name in classes) > 8:
        for tick in ax.get_xticklabels():
            tick.set(rotation=90 if many else 40, ha="right", rotation_mode="anchor")
            if many:
                tick.set_verticalalignment("center")
    return _literal(ax)


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

    true, score = vis_data.one_column("y_true", y_true), vis_data.numbers("y_score", y_score)
    vis_data.check_same_length(y_true=true, y_score=score)
    present = vis_data.classes_of(y_true=true)
    names = present if classes is None else vis_data.ordered_classes("classes", classes, true)
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
            labels.append(f"{_short(name)}: no rows")
            continue
        fpr, tpr, _ = roc_curve(true == name, score if score.ndim == 1 else score[:, i])
        displays.append(RocCurveDisplay(fpr=fpr, tpr=tpr, name=f"curve {i}"))
        labels.append(f"{_short(name)} (AUC = {auc(fpr, tpr):0.2f})")

    columns = -(-len(displays) // 26)  # of the legend, which is beside the axes if it is long
    beside = len(displays) > 10
    given, ax = ax, _axes(ax, size=(5.8 + 3.2 * columns if beside else 5.8, 5.8))
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
    _percent(ax.xaxis)
    _percent(ax.yaxis)
    handles = [display.line_ for display in displays]
    handles.append(displays[-1].chance_level_)
    labels.append("Chance level (AUC = 0.5)")
    where: dict[str, Any] = {"loc": "lower right", "fontsize": "small", "frameon": True}
    if beside:
        where = {"loc": "upper left", "bbox_to_anchor": (1, 1), "fontsize": 7, "ncols": columns}
    legend = _legend(ax, handles, labels, where)
    legend.set_in_layout(given is None)  # it must not shrink axes of the caller's figure
    return _literal(ax)


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
    model = vis_data.fitted(model)
    values, what = vis_data.weights(model)
    names = vis_data.feature_names_of(model, feature_names, len(values))
    order = np.argsort(-np.abs(values), kind="stable")[:top]
    shown = values[order]

    ax = _axes(ax, bars=len(order))
    colors = [COLORS[0] if value >= 0 else COLORS[5] for value in shown]
    _bars(ax, names[order], shown, [f"{value:.3g}" for value in shown], color=colors)
    last = vis_data.last_step(model)
    classes = list(getattr(last, "classes_", []))
    if what == "Coefficient":
        ax.axvline(0, color="black", linewidth=0.8)
        what += f" (above 0: towards {_short(classes[1])})" if len(classes) == 2 else ""
    few = f", top {len(order)} of {len(values)}" if len(order) < len(values) else ""
    ax.set(title=f"Features of {type(last).__name__}{few}", xlabel=what)
    return _literal(ax)


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

    values = vis_data.one_column("predictions", predictions)
    groups = {"": values}
    if by is not None:
        group = vis_data.one_column("by", by)
        vis_data.check_same_length(predictions=values, by=group)
        names = vis_data.classes_of(by=group)
        if len(names) > len(COLORS):
            text = f"has {len(names)} distinct values: pass at most {len(COLORS)} groups"
            raise InvalidRequest(("by", text))
        groups = {
            f"{_short(name)} (n = {np.sum(group == name):,})": values[group == name]
            for name in names
        }
        if len(groups) < len(names):
            text = "has names with equal first 24 and last 15 letters: pass shorter names"
            raise InvalidRequest(("by", text))

    if vis_data.are_labels(values):
        ax = _labels_by_group(
            groups, vis_data.classes_of(predictions=values), ax, shares=by is not None
        )
        ax.set_ylabel("Prediction")
    else:
        edges = vis_data.bin_edges(vis_data.numbers("predictions", values), BINS)
        ax = _histogram(groups, edges, ax, shares=by is not None)
        ax.set_xlabel("Prediction")
    ax.set_title(f"Predictions, {len(values):,} rows")
    if by is not None:  # beside the axes: each corner may have data
        where = {"loc": "upper left", "bbox_to_anchor": (1, 1), "fontsize": "small"}
        drawn = ax.containers if vis_data.are_labels(values) else ax.patches
        _legend(ax, list(drawn)[-len(groups) :], list(groups), where)
    return _literal(ax)


def _labels_by_group(
    groups: dict[str, np.ndarray], classes: np.ndarray, ax: Axes | None, shares: bool
) -> Axes:
    counts = [vis_data.count(part, classes) for part in groups.values()]
    ax = _axes(ax, bars=len(classes) * len(groups))
    for i, (name, part, count) in enumerate(zip(groups, groups.values(), counts, strict=True)):
        share = count / len(part)
        texts = [
            f"{s:.1%}" if shares else f"{n:,} ({s:.1%})" for n, s in zip(count, share, strict=True)
        ]
        lengths, slot = share if shares else count, (i, len(groups))
        _bars(ax, classes, lengths, texts, color=COLORS[i], label=name or None, slot=slot)
    _share_axis(ax.xaxis, shares)
    return ax


def _histogram(
    groups: dict[str, np.ndarray], edges: np.ndarray, ax: Axes | None, shares: bool
) -> Axes:
    import numpy as np

    heights = [
        np.histogram(part, edges)[0] / (len(part) if shares else 1) for part in groups.values()
    ]
    ax = _axes(ax, size=(7, 4.2))
    for color, name, height in zip(COLORS, groups, heights, strict=False):
        style: dict[str, Any] = {"facecolor": (color, 0.25), "edgecolor": color, "linewidth": 1.5}
        ax.stairs(height, edges, fill=True, label=name or None, **style)
    ax.set_ylim(bottom=0)
    _share_axis(ax.yaxis, shares)
    return ax


def _legend(ax: Axes, handles: Sequence[Any], labels: Sequence[str], where: Any) -> Any:
    """Add a legend with every label: matplotlib leaves out those that begin with `_`."""
    legend = ax.legend(handles, [f"{i}" for i in range(len(labels))], **where)
    for text, label in zip(legend.get_texts(), labels, strict=True):
        text.set_text(label)
    return legend


def _literal(ax: Axes) -> Axes:
    """Show every text of `ax` literally, including later ones: `$` does not start a formula."""
    from matplotlib.text import Text

    marks = [*ax.xaxis.get_major_ticks(), *ax.yaxis.get_major_ticks()]
    ticks = [label for mark in marks for label in (mark.label1, mark.label2)]
    titles = [ax.title, ax._left_title, ax._right_title]  # type: ignore[attr-defined]
    legend = ax.get_legend()
    texts = [*titles, ax.xaxis.label, ax.yaxis.label, *ticks, *ax.texts]
    texts += legend.findobj(Text) if legend is not None else []
    for text in texts:
        text.set_parse_math(False)
    vis_fonts.cover(texts, stacklevel=3)
    return ax


def _pyplot() -> Any:
    try:
        import matplotlib.pyplot as plt
    except ModuleNotFoundError as exc:
        raise ModuleNotFoundError("Plots need matplotlib: pip install 'mlsys[vis]'") from exc
    return plt


def _axes(ax: Axes | None, *, bars: int = 0, size: tuple[float, float] | None = None) -> Axes:
    """Return `ax`, or the axes of a new figure of `size` inches or with room for the `bars`."""
    if ax is not None:
        return ax
    size = size or (7, 1.6 + 0.32 * max(bars, 3))
    return _pyplot().subplots(figsize=size, layout="constrained")[1]


def _bars(
    ax: Axes,
    names: Sequence[Any] | np.ndarray,
    lengths: Sequence[float] | np.ndarray,
    texts: Sequence[str],
    *,
    color: Any = COLORS[0],
    label: str | None = None,
    slot: tuple[int, int] = (0, 1),
) -> None:
    """Draw horizontal bars, the first on top, with `texts` at their ends; names may be long.

    `slot` (i, n) draws the i-th of n bars that share a name.
    """
    import numpy as np

    i, n = slot
    height = 0.8 / n
    places = np.arange(len(names)) + (i - (n - 1) / 2) * height
    bars = ax.barh(places, lengths, height=0.92 * height, color=color, label=label)
    ax.bar_label(bars, labels=list(texts), padding=3, fontsize="small")
    ax.set_yticks(np.arange(len(names)), labels=[_short(name) for name in names])
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.margins(x=0.06 + 0.018 * max(map(len, texts)))  # room for the texts
    ax.grid(False, axis="y")


def _short(name: Any) -> str:
    text = str(name)
    return text if len(text) <= 40 else f"{text[:24]}…{text[-15:]}"


def _share_axis(axis: Any, shares: bool) -> None:
    axis.set_label_text("Share of the group's rows" if shares else "Rows")
    if shares:
        _percent(axis)


def _percent(axis: Any) -> None:
    from matplotlib.ticker import PercentFormatter

    axis.set_major_formatter(PercentFormatter(xmax=1))
