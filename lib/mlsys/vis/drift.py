"""Plots of what runs saw: their columns beside the training data, and distances over time."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlsys.errors import InvalidRequest
from mlsys.plural import plural
from mlsys.vis import drawing
from mlsys.vis.style import COLORS, pyplot

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

WARN_AT, DRIFT_AT = 0.10, 0.20  # distances, as the service judges them
MAX_BINS = 14  # of a panel: the largest categories, and the rest as one
PER_ROW = 3  # panels
BEFORE, NOW = COLORS[6], COLORS[0]
DISTANCES = {
    "training": ("distance", "training data"),
    "previous": ("distance_previous", "run before"),
    "week": ("distance_week", "run a week before"),
}
_DECIMAL = re.compile(r"-?\d+\.\d+(?:[eE][-+]?\d+)?")


def plot_drift(
    profile: pd.DataFrame, columns: str | Sequence[str] | None = None, *, top: int = 12
) -> list[Axes]:
    """Plot the columns of a run beside the training data: a panel with paired bars for each.

    The bars are shares of the rows in each bin of the training data: a tenth of its rows each for
    numbers. NULL and NaN are the first bin; values beyond the training data, or unseen in it, the
    last ones.

    Args:
        profile: what `mlsys.runs.profile` returned, or rows of `prediction_profiles` of one run.
        columns: the names to show, in this order; default: the first `top` that have bins.

    Raises:
        InvalidRequest: a column is unknown, or the rows are of several runs.
    """
    rows = _panels(profile, columns, top)
    across = min(PER_ROW, len(rows))
    down = -(-len(rows) // across)
    plt = pyplot()
    figure, grid = plt.subplots(
        down, across, figsize=(4.6 * across, 3.0 * down + 0.5), layout="constrained", squeeze=False
    )
    panels = list(grid.flat)
    for ax in panels[len(rows) :]:
        ax.remove()
    for ax, row in zip(panels, rows, strict=False):
        _panel(ax, row)
    first = rows[0]
    version = f"{first.get('model_name', 'model')} {first.get('model_version', '')}".strip()
    handles, labels = panels[0].get_legend_handles_labels()
    title = figure.suptitle(f"{version}, run {drawing.short(first['run_id'])}", fontsize=11)
    title.set_parse_math(False)
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize="small")
    return [drawing.literal(ax) for ax in panels[: len(rows)]]


def plot_drift_history(
    drift: pd.DataFrame,
    columns: str | Sequence[str] | None = None,
    *,
    against: str = "training",
    top: int = 7,
    ax: Axes | None = None,
) -> Axes:
    """Plot the distance of columns over a model's runs, a line each.

    Args:
        drift: what `mlsys.runs.drift` returned, or rows of the view `prediction_drift`.
        columns: the names to show; default: the `top` with the largest distance in any run.
        against: "training", "previous" (the run before) or "week" (the run a week before).

    Raises:
        InvalidRequest: no run has such a distance, or a column is missing.
    """
    import pandas as pd

    if against not in DISTANCES:
        raise InvalidRequest(("against", f"is {against!r}: pass one of {list(DISTANCES)}"))
    distance, other = DISTANCES[against]
    known = _rows_with(drift, "drift", ("column_name", "predicted_at", distance))
    known = known.dropna(subset=[distance])
    if not len(known):
        raise InvalidRequest(("drift", f"has no distance to the {other}: score more rows or runs"))
    names = _named(columns, known["column_name"], "drift")
    if columns is None:
        largest = known.groupby("column_name")[distance].max().sort_values(ascending=False)
        names = [str(name) for name in largest.index[:top]]
    ax = drawing.axes(ax, size=(8, 4.2))
    for i, name in enumerate(names):
        part = known[known["column_name"] == name]
        at = pd.to_datetime(part["predicted_at"], utc=True)
        line = part.assign(predicted_at=at).sort_values("predicted_at")
        drawing.over_time(ax, line["predicted_at"], line[distance], i)
    lines = list(ax.lines)
    for level, word in ((WARN_AT, "warn"), (DRIFT_AT, "drift")):
        ax.axhline(level, color="black", linewidth=0.8, linestyle="--")
        place = ("axes fraction", "data")
        ax.annotate(f" {word}", (1, level), xycoords=place, va="center", fontsize=8)
    runs = known["predicted_at"].nunique()
    ax.set(
        title=f"Distance to the {other}, {plural(runs, 'run')}",
        ylabel="Jensen-Shannon distance",
        ylim=(0, min(1.02, max(1.15 * float(known[distance].max()), 1.25 * DRIFT_AT))),
    )
    drawing.time_axis(ax, pd.to_datetime(known["predicted_at"], utc=True))
    where = {"loc": "upper left", "bbox_to_anchor": (1.07, 1), "fontsize": "small"}
    drawing.legend(ax, lines[: len(names)], [drawing.short(name) for name in names], where)
    return drawing.literal(ax)


def _panel(ax: Axes, row: Mapping[str, Any]) -> None:
    """Draw one column: shares of the run's rows beside those of the reference."""
    import numpy as np

    bins = _shown_bins(row["bins"], row["kind"])
    compared = all(b["before"] is not None for b in bins)
    places = np.arange(len(bins))
    width = 0.42 if compared else 0.8
    reference = "training data" if row.get("reference") == "training" else "the run before"
    if compared:
        before = _shares([b["before"] for b in bins])
        style: dict[str, Any] = {"facecolor": "white", "edgecolor": BEFORE, "hatch": "////"}
        ax.bar(places - width / 2, before, width, label=reference, **style)
    now = _shares([b["rows"] for b in bins])
    ax.bar(places + (width / 2 if compared else 0), now, width, label="this run", color=NOW)
    ax.set_xticks(places, labels=[drawing.short(b["bin"]) for b in bins])
    for tick, shown in zip(ax.get_xticklabels(), bins, strict=True):
        tick.set(rotation=45, ha="right", rotation_mode="anchor", fontsize=7)
        tick.set_fontweight("bold" if shown["bin"] == "NULL" else "normal")
    ax.grid(False, axis="x")
    ax.tick_params(axis="y", labelsize=7)
    drawing.percent(ax.yaxis)
    distance = row["distance"]
    verdict = str(row["level"])
    if distance is not None and np.isfinite(distance):
        verdict = f"distance {distance:.2f}: {verdict}"
    elif verdict == "unknown":
        verdict = "nothing to compare with"
    kind = "prediction " if row.get("role") == "prediction" else ""
    color = {"drift": COLORS[5], "warn": "#8a5a00"}.get(str(row["level"]), "black")
    ax.set_title(f"{kind}{drawing.short(row['column_name'])}\n{verdict}", fontsize=9, color=color)


def _shown_bins(bins: Any, kind: str) -> list[dict[str, Any]]:
    """Return the bins to draw: without empty ends, the rest of many categories as one."""
    every = json.loads(bins) if isinstance(bins, str) else list(bins)
    shown = [
        {
            "bin": "NULL" if i == 0 else _label(b["bin"], kind),
            "rows": b["rows"],
            "before": b.get("before"),
        }
        for i, b in enumerate(every)
    ]
    ends = {0, len(shown) - 1, *((1,) if kind == "number" else ())}
    shown = [b for i, b in enumerate(shown) if i not in ends or b["rows"] or b["before"]]
    if len(shown) <= MAX_BINS:
        return shown
    first = shown[:1] if shown[0]["bin"] == "NULL" else []
    by_size = sorted(shown[len(first) :], key=lambda b: -max(b["rows"], b["before"] or 0))
    kept, rest = by_size[: MAX_BINS - 2], by_size[MAX_BINS - 2 :]
    known = [b["before"] for b in rest]
    more = {
        "bin": plural(len(rest), "other"),
        "rows": sum(b["rows"] for b in rest),
        "before": None if None in known else sum(known),
    }
    return [*first, *kept, more]


def _label(name: Any, kind: str) -> str:
    """Return the name of a bin; the limits of numbers with at most five digits."""
    if kind != "number":
        return str(name)
    return _DECIMAL.sub(lambda match: f"{float(match[0]):.5g}", str(name))


def _panels(profile: Any, columns: str | Sequence[str] | None, top: int) -> list[dict[str, Any]]:
    needed = ("run_id", "column_name", "kind", "level", "distance", "bins")
    rows = _rows_with(profile, "profile", needed)
    if rows["run_id"].nunique() > 1:
        raise InvalidRequest(("profile", "has rows of several runs: pass those of one"))
    names = _named(columns, rows["column_name"], "profile")
    if columns is None:
        if top < 1:
            raise InvalidRequest(("top", f"is {top}: pass a number above 0"))
        binned = rows[rows["kind"] != "plain"]
        rows = (binned if len(binned) else rows)[:top]
    else:
        rows = rows[rows["column_name"].isin(names)]
        rows = rows.sort_values("column_name", key=lambda c: c.map(names.index), kind="stable")
    values = rows.astype(object).where(rows.notna(), None)
    return [{str(k): v for k, v in row.items()} for row in values.to_dict("records")]


def _rows_with(frame: Any, name: str, needed: Sequence[str]) -> pd.DataFrame:
    import pandas as pd

    if not isinstance(frame, pd.DataFrame):
        text = f"is not a DataFrame: pass what mlsys.runs.{name} returned"
        raise InvalidRequest((name, text))
    if missing := [column for column in needed if column not in frame]:
        text = f"lacks {', '.join(missing)}: pass what mlsys.runs.{name} returned"
        raise InvalidRequest((name, text))
    if not len(frame):
        raise InvalidRequest((name, "is empty: no run has counted columns"))
    return frame


def _named(columns: str | Sequence[str] | None, known: Any, name: str) -> list[str]:
    names = [columns] if isinstance(columns, str) else list(columns or ())
    if unknown := [column for column in names if column not in set(known)]:
        few = ", ".join(dict.fromkeys(map(str, known.head(20))))
        raise InvalidRequest(("columns", f"{name} has no {', '.join(unknown)}: it has {few}"))
    return names


def _shares(rows: Sequence[int]) -> Any:
    import numpy as np

    return np.array(rows) / max(sum(rows), 1)
