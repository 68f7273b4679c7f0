"""Plots of how right a model's runs were: a metric over time, and over versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlsys.errors import InvalidRequest
from mlsys.plural import plural
from mlsys.vis import drawing
from mlsys.vis.style import COLORS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

LEGEND_ROWS = 18
MAX_NAMED = 15  # metrics that an error lists


def plot_metric_history(
    metrics: pd.DataFrame, metric: str, *, by: str = "time", ax: Axes | None = None
) -> Axes:
    """Plot a metric of evaluated runs: over time with a line a version, or over versions.

    Args:
        metrics: rows of the view `model_metrics` (docs/api.md), or what `mlsys.runs.evaluate`
            returned, with `predicted_at` and `model_version`.
        metric: its name, such as "accuracy", "roc_auc" or "rmse".
        by: "time" places each run at the time of its predictions; "version" shows each version's
            runs and their mean, weighted by `rows_evaluated`.

    Raises:
        InvalidRequest: no run has this metric, a column is missing, or there are several models.
    """
    if by not in ("time", "version"):
        raise InvalidRequest(("by", f"is {by!r}: pass 'time' or 'version'"))
    runs = _runs_with(metrics, metric)
    by_version = sorted(runs.groupby("model_version"), key=lambda item: _order(item[0]))
    lines = {str(name): part.sort_values("predicted_at") for name, part in by_version}
    columns = -(-len(lines) // LEGEND_ROWS)
    given, ax = ax, drawing.axes(ax, size=(6.2 + 0.9 * columns, 4.2))
    if by == "time":
        _over_time(ax, lines)
        if len(lines) > 1:
            where = {"loc": "upper left", "bbox_to_anchor": (1, 1), "fontsize": "small"}
            legend = drawing.legend(ax, ax.lines, list(lines), where | {"ncols": columns})
            legend.set_in_layout(given is None)  # it must not shrink axes of the caller's figure
    else:
        _over_versions(ax, lines)
    count = plural(len(runs), "run")
    ax.set(title=f"{metric} of {drawing.short(runs['model_name'].iloc[0])}, {count}", ylabel=metric)
    return drawing.literal(ax)


def _over_time(ax: Axes, lines: dict[str, pd.DataFrame]) -> None:
    import pandas as pd

    for i, part in enumerate(lines.values()):
        drawing.over_time(ax, part["predicted_at"], part["value"], i)
    drawing.time_axis(ax, pd.concat([part["predicted_at"] for part in lines.values()]))


def _over_versions(ax: Axes, lines: dict[str, pd.DataFrame]) -> None:
    import numpy as np

    means = []
    for i, part in enumerate(lines.values()):
        values = part["value"].to_numpy()
        weights = part["rows_evaluated"].to_numpy() if "rows_evaluated" in part else None
        means.append(np.average(values, weights=weights))
        ax.scatter(np.full(len(values), i), values, s=18, color=COLORS[6], alpha=0.6, zorder=2)
    ax.plot(means, color=COLORS[0], marker="o", markersize=7, zorder=3)
    for i, mean in enumerate(means):
        ax.annotate(
            f"{mean:.3g}", (i, mean), (8, 0), textcoords="offset points", va="center", fontsize=8
        )
    ax.set_xticks(range(len(lines)), labels=[drawing.short(name) for name in lines])
    if max(map(len, lines)) * len(lines) > 60:
        for tick in ax.get_xticklabels():
            tick.set(rotation=40, ha="right", rotation_mode="anchor")
    ax.margins(x=0.5 / max(len(lines), 2), y=0.15)
    ax.set_xlabel("Version: its runs (grey), and their mean")


def _runs_with(metrics: Any, metric: str) -> pd.DataFrame:
    """Return a row for each run that has the metric, with its `value`."""
    import pandas as pd

    if not isinstance(metrics, pd.DataFrame):
        text = "is not a DataFrame: pass rows of the view model_metrics, or what evaluate returned"
        raise InvalidRequest(("metrics", text))
    if {"metric", "value"} <= set(metrics.columns):
        known = sorted(set(metrics["metric"].dropna()))
        runs = metrics[metrics["metric"] == metric]
    else:
        known = [str(n) for n in metrics.columns if metrics[n].dtype.kind == "f"]
        runs = metrics.assign(value=metrics[metric]) if metric in metrics else metrics.iloc[:0]
    needed = ("model_name", "model_version", "predicted_at", "value")
    if missing := [n for n in needed if n not in runs and (len(runs) or n != "value")]:
        text = f"lacks {', '.join(missing)}: pass rows of the view model_metrics"
        raise InvalidRequest(("metrics", text))
    runs = runs.dropna(subset=["value"]) if "value" in runs else runs
    if not len(runs):
        named = ", ".join(known[:MAX_NAMED]) or "no metric: evaluate a run first"
        text = f"{metric!r} was measured of no run in metrics, which have {named}"
        raise InvalidRequest(("metric", text))
    if (models := runs["model_name"].nunique()) > 1:
        raise InvalidRequest(("metrics", f"are of {models} models: pass the rows of one model"))
    return runs.assign(
        predicted_at=pd.to_datetime(runs["predicted_at"], utc=True),
        value=runs["value"].astype(float),
    )


def _order(version: Any) -> tuple[int, str]:
    """Return the place of a version: v10 comes after v9."""
    digits = str(version).removeprefix("v")
    return int(digits) if digits.isdecimal() else -1, str(version)
