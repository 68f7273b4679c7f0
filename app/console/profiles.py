"""The columns of a model's input, as its metadata describes them: type, training data, golden rows.

Anybody may have written a metadata.json, so that each part is read only as far as it has the form
that this release knows.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from app.console.formats import figure, is_number

MAX_COLUMNS = 200  # that a page shows
MAX_BARS = 24
MAX_CLAUSES = 200
MAX_GOLDEN, MAX_GOLDEN_COLUMNS = 10, 30


def columns_of(document: Any, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the columns of the input, each with its type and what the training data held.

    `names` are those of the registry's row, for a version without metadata.
    """
    document = document if isinstance(document, Mapping) else {}
    signature = document.get("signature")
    features = signature.get("features") if isinstance(signature, Mapping) else None
    if not isinstance(features, list):
        features = [{"name": name} for name in names]
    profiles = _profiles(document.get("profile"))
    return [
        {
            "name": str(feature.get("name")),
            "type": _text(feature.get("type")),
            "dtype": _text(feature.get("dtype")),
            "nullable": feature.get("nullable", True) is True,
            "training": training(profiles(place, str(feature.get("name")))),
        }
        for place, feature in enumerate(features[:MAX_COLUMNS])
        if isinstance(feature, Mapping)
    ]


def training(profile: Any) -> dict[str, Any] | None:
    """Return a column of the training data: its bars with labels, and a sentence; None: unknown."""
    if not isinstance(profile, Mapping):
        return None
    nulls = profile.get("nulls", 0)
    facts = [f"{figure(nulls)} missing"] if nulls else []
    labels, counts = _bars(profile)
    low, high = profile.get("min"), profile.get("max")
    edges = profile.get("edges")
    if isinstance(edges, list) and edges:
        low, high = edges[0], edges[-1]
    if low is not None and high is not None:
        facts.insert(0, f"{figure(low)} to {figure(high)}")
    if is_number(mean := profile.get("mean")):
        facts.insert(1, f"mean {figure(mean)}")
    distinct = profile.get("distinct")
    if isinstance(values := profile.get("values"), list) and not profile.get("other"):
        distinct = len(values)
    if is_number(distinct):
        facts.append(f"{figure(distinct)} different value{'s' if distinct != 1 else ''}")
    return {"labels": labels, "counts": counts, "text": ", ".join(facts)}


def clauses_of(contract: Any) -> list[dict[str, str]]:
    """Return the clauses of a `contract.json`: what each is about, its check, and what follows."""
    clauses = contract.get("clauses") if isinstance(contract, Mapping) else None
    known = ("column", "check", "action")
    return [
        {name: _short(clause.get(name)) for name in known}
        | {
            "limits": _short(
                ", ".join(f"{k} {figure(v)}" for k, v in clause.items() if k not in known)
            )
        }
        for clause in (clauses if isinstance(clauses, list) else [])[:MAX_CLAUSES]
        if isinstance(clause, Mapping)
    ]


def golden_of(document: Any) -> dict[str, Any] | None:
    """Return the golden rows with the predictions for them, or None without any."""
    golden = document.get("golden") if isinstance(document, Mapping) else None
    if not isinstance(golden, Mapping):
        return None
    rows, predictions = golden.get("rows"), golden.get("predictions")
    if not isinstance(rows, list) or not isinstance(predictions, list) or not rows:
        return None
    names = [column["name"] for column in columns_of(document, ())][:MAX_GOLDEN_COLUMNS]
    shown = [
        {
            "values": [_short(v) for v in row[:MAX_GOLDEN_COLUMNS]],
            "prediction": _short(prediction),
        }
        for row, prediction in zip(rows[:MAX_GOLDEN], predictions, strict=False)
        if isinstance(row, list)
    ]
    return {
        "columns": names,
        "rows": shown,
        "more": len(rows) - len(shown),
        "method": _text(golden.get("method")) or "predict",
    }


def _profiles(profile: Any) -> Any:
    """Return a function of a column's place and name to its profile."""
    columns = profile.get("columns") if isinstance(profile, Mapping) else None
    if isinstance(columns, Mapping):  # of releases before bins
        return lambda place, name: columns.get(name)
    if isinstance(columns, list):
        return lambda place, name: columns[place] if place < len(columns) else None
    return lambda place, name: None


def _bars(profile: Mapping[str, Any]) -> tuple[list[str], list[int]]:
    edges, values, counts, top = (profile.get(k) for k in ("edges", "values", "counts", "top"))
    if isinstance(top, Mapping):
        pairs = [(str(k), v) for k, v in top.items()]
    elif isinstance(edges, list) and isinstance(counts, list) and len(edges) == len(counts) + 1:
        labels = [f"{figure(a)} to {figure(b)}" for a, b in itertools.pairwise(edges)]
        pairs = list(zip(labels, counts, strict=True))
    elif isinstance(values, list) and isinstance(counts, list):
        pairs = [(figure(v), c) for v, c in zip(values, counts, strict=False)]
        if is_number(other := profile.get("other")) and other:
            pairs = [*pairs[: MAX_BARS - 1], ("others", other)]
    else:
        return [], []
    pairs = [(label, count) for label, count in pairs[:MAX_BARS] if is_number(count)]
    return [label for label, _ in pairs], [count for _, count in pairs]


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _short(value: Any) -> str:
    text = figure(value)
    return text if len(text) <= 80 else f"{text[:79]}…"
