"""The columns of a run beside the training data and the run before, as its pages show them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from app.console.formats import is_number

LEVELS = ("drift", "warn", "too few rows", "unknown", "ok")  # in the order of the table
FIGURES = (
    *("level", "distance", "psi", "null_share", "null_share_before", "unseen_share"),
    *("out_of_range_share", "mean_shift", "importance", "why", "reference", "row_count"),
)


def compared(
    profile: Sequence[Mapping[str, Any]],
    since: Iterable[Mapping[str, Any]] = (),
    previous: Iterable[Mapping[str, Any]] = (),
) -> list[dict[str, Any]]:
    """Return each column of a run's profile with its bins as shares, the farthest first.

    `since` are its rows of `prediction_drift`: how far it is from earlier runs; `previous` is the
    profile of the run before it. Predictions come before features.
    """
    before = {(row["role"], row["column_name"]): row for row in since}
    earlier = {(row["role"], row["column_name"], row.get("bins_id")): row for row in previous}
    rows = [
        {
            "role": row["role"],
            "column": row["column_name"],
            **{name: row.get(name) for name in FIGURES},
            **(shown := shares(row.get("bins"))),
            "previous": _previous(row, earlier, shown["labels"]),
            **{
                name: before.get((row["role"], row["column_name"]), {}).get(name)
                for name in ("distance_previous", "distance_week")
            },
        }
        for row in profile
    ]
    return sorted(rows, key=_order)


def shares(bins: Any) -> dict[str, Any]:
    """Return the bins' names, with the shares of the run's rows and of those it is compared with.

    `before` is None where there is nothing to compare with.
    """
    bins = [each for each in bins if isinstance(each, Mapping)] if isinstance(bins, list) else []
    kept = [each for each in bins if _rows(each, "rows") or _rows(each, "before")]
    now = [_rows(each, "rows") for each in kept]
    before = [_rows(each, "before") for each in kept]
    return {
        "labels": [str(each.get("bin")) for each in kept],
        "now": _parts(now),
        "before": _parts(before) if any(before) else None,
    }


def _previous(
    row: Mapping[str, Any], earlier: Mapping[Any, Mapping[str, Any]], labels: Sequence[str]
) -> list[float] | None:
    """Return the shares of the run before in the same bins, or None if it has others."""
    known = earlier.get((row["role"], row["column_name"], row.get("bins_id")))
    if known is None or not row.get("bins_id"):
        return None
    shown = shares(known.get("bins"))
    by_label = dict(zip(shown["labels"], shown["now"], strict=True))
    return [by_label.get(label, 0.0) for label in labels]


def _rows(each: Mapping[str, Any], name: str) -> float:
    value = each.get(name)
    return float(value) if value is not None and is_number(value) else 0.0


def _parts(numbers: Sequence[float]) -> list[float]:
    total = sum(numbers)
    return [round(number / total, 6) if total else 0.0 for number in numbers]


def _order(row: Mapping[str, Any]) -> tuple[Any, ...]:
    level = LEVELS.index(row["level"]) if row["level"] in LEVELS else len(LEVELS)
    distance = row["distance"] if is_number(row["distance"]) else 0.0
    return row["role"] != "prediction", level, -distance, row["column"]
