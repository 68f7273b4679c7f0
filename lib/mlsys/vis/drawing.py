"""What the plots draw with: axes, bars, histograms, legends, and texts that are shown literally."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mlsys.vis import data, fonts
from mlsys.vis.style import COLORS, pyplot

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.axes import Axes

MARKERS = "osD^vPX*"  # one more than colours: a pair repeats only after 56 lines


def axes(ax: Axes | None, *, bars: int = 0, size: tuple[float, float] | None = None) -> Axes:
    """Return `ax`, or the axes of a new figure of `size` inches or with room for the `bars`."""
    if ax is not None:
        return ax
    size = size or (7, 1.6 + 0.32 * max(bars, 3))
    return pyplot().subplots(figsize=size, layout="constrained")[1]


def bars(
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
    ax.set_yticks(np.arange(len(names)), labels=[short(name) for name in names])
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.margins(x=0.06 + 0.018 * max(map(len, texts)))  # room for the texts
    ax.grid(False, axis="y")


def labels_by_group(
    groups: dict[str, np.ndarray], classes: np.ndarray, ax: Axes | None, shares: bool
) -> Axes:
    """Draw a bar for each class, and for each group in it: rows, or shares of the group."""
    counts = [data.count(part, classes) for part in groups.values()]
    ax = axes(ax, bars=len(classes) * len(groups))
    for i, (name, part, count) in enumerate(zip(groups, groups.values(), counts, strict=True)):
        share = count / len(part)
        texts = [
            f"{s:.1%}" if shares else f"{n:,} ({s:.1%})" for n, s in zip(count, share, strict=True)
        ]
        lengths, slot = share if shares else count, (i, len(groups))
        bars(ax, classes, lengths, texts, color=COLORS[i], label=name or None, slot=slot)
    _share_axis(ax.xaxis, shares)
    return ax


def histogram(
    groups: dict[str, np.ndarray], edges: np.ndarray, ax: Axes | None, shares: bool
) -> Axes:
    """Draw a histogram for each group over the same bins: rows, or shares of the group."""
    import numpy as np

    heights = [
        np.histogram(part, edges)[0] / (len(part) if shares else 1) for part in groups.values()
    ]
    ax = axes(ax, size=(7, 4.2))
    for color, name, height in zip(COLORS, groups, heights, strict=False):
        style: dict[str, Any] = {"facecolor": (color, 0.25), "edgecolor": color, "linewidth": 1.5}
        ax.stairs(height, edges, fill=True, label=name or None, **style)
    ax.set_ylim(bottom=0)
    _share_axis(ax.yaxis, shares)
    return ax


def over_time(ax: Axes, at: pd.Series, values: pd.Series, number: int) -> None:
    """Draw the `number`-th line over time, which its colour, marker and dashes tell apart."""
    ax.plot(
        at.to_numpy(),
        values.to_numpy(),
        color=COLORS[number % len(COLORS)],
        marker=MARKERS[number % len(MARKERS)],
        linestyle=("-", "--", ":", "-.")[number // len(COLORS) % 4],
        markersize=5,
    )


def time_axis(ax: Axes, times: pd.Series) -> None:
    """Show the times of runs below the axes."""
    import datetime as dt

    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    first = times.min()
    if first == times.max():  # matplotlib would show four years
        ax.set_xlim(first - dt.timedelta(days=1), first + dt.timedelta(days=1))
    locator = AutoDateLocator()
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    ax.set_xlabel("Predicted at (UTC)")


def legend(ax: Axes, handles: Sequence[Any], labels: Sequence[str], where: Any) -> Any:
    """Add a legend with every label: matplotlib leaves out those that begin with `_`."""
    legend = ax.legend(handles, [f"{i}" for i in range(len(labels))], **where)
    for text, label in zip(legend.get_texts(), labels, strict=True):
        text.set_text(label)
    return legend


def literal(ax: Axes) -> Axes:
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
    fonts.cover(texts, stacklevel=3)
    return ax


def short(name: Any) -> str:
    """Return a name for an axis: of a long one, its beginning and its end."""
    text = str(name)
    return text if len(text) <= 40 else f"{text[:24]}…{text[-15:]}"


def _share_axis(axis: Any, shares: bool) -> None:
    axis.set_label_text("Share of the group's rows" if shares else "Rows")
    if shares:
        percent(axis)


def percent(axis: Any) -> None:
    """Show the axis's numbers as percent."""
    from matplotlib.ticker import PercentFormatter

    axis.set_major_formatter(PercentFormatter(xmax=1))
