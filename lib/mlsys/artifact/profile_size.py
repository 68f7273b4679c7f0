"""Cut a profile to the size that travels with a model: at most 64 KB for 200 columns.

Categories that do not fit are left out, the rarest of each column first, by the same number of
bytes for each; the profile then says so in `cut`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mlsys.artifact.profile import ColumnProfile
from mlsys.columns.bins import CATEGORY, NUMBER, Bins

BYTES, FOR_COLUMNS = 65_536, 200  # as compact JSON
MAX_VALUES = 100  # categories of a column
MAX_VALUE = 128  # bytes of a category's name
MOST_JOINS = 3  # of neighbouring bins, until two are left


def most_bytes(columns: int) -> float:
    """Return the bytes that a profile of that many columns may have."""
    return max(1.0, columns / FOR_COLUMNS) * BYTES


def fitted(document: dict[str, Any], most: float) -> dict[str, Any]:
    """Return a profile with its columns as JSON values, cut to `most` bytes.

    Categories are cut first, the rarest of each column; then neighbouring bins are joined.
    """
    features: list[ColumnProfile] = document["columns"]
    methods: Mapping[str, list[ColumnProfile]] = document["predictions"]

    def shrunk(room: int, joins: int = 0) -> dict[str, Any]:
        def smaller(columns: list[ColumnProfile]) -> list[dict[str, Any]]:
            return [_joined(cut(column, room), joins).to_dict() for column in columns]

        predictions = {method: smaller(columns) for method, columns in methods.items()}
        return document | {"columns": smaller(features), "predictions": predictions}

    low, high = 0, MAX_VALUES * (MAX_VALUE + 32)
    if size_of(out := shrunk(high)) <= most:
        return out
    most -= len(',"cut":00000')
    while high - low > 1:  # `low` is the most bytes that each column may have
        middle = (low + high) // 2
        low, high = (middle, high) if size_of(shrunk(middle)) <= most else (low, middle)
    joins = 0
    while size_of(out := shrunk(low, joins)) > most and joins < MOST_JOINS:
        joins += 1
    return out | {"cut": low}


def cut(column: ColumnProfile, room: int) -> ColumnProfile:
    """Return a column with as many of its categories, the frequent ones, as `room` bytes hold."""
    if column.bins.kind != CATEGORY:
        return column
    pairs = list(zip(column.bins.values, column.counts.bins, strict=True))
    kept, size = set(), 0
    for place in sorted(range(len(pairs)), key=lambda i: -pairs[i][1]):
        size += len(json.dumps(pairs[place], ensure_ascii=False).encode())
        if size > room:
            break
        kept.add(place)
    inner = tuple(rows for i, (_, rows) in enumerate(pairs) if i in kept)
    others = column.counts.other + sum(column.counts.bins) - sum(inner)
    values = tuple(value for i, (value, _) in enumerate(pairs) if i in kept)
    counts = replace(column.counts, bins=inner, other=others)
    return replace(column, bins=Bins(CATEGORY, values=values), counts=counts)


def size_of(document: Mapping[str, Any]) -> int:
    """Return the bytes of a document as compact JSON."""
    return len(json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode())


def _joined(column: ColumnProfile, times: int) -> ColumnProfile:
    """Return a number's column with every two neighbouring bins made one, `times` times."""
    for _ in range(times):
        edges, counts = column.bins.edges, column.counts.bins
        if column.bins.kind != NUMBER or len(counts) < 2:
            return column
        kept = (*edges[:-1:2], edges[-1])
        sums = tuple(sum(counts[i : i + 2]) for i in range(0, len(counts), 2))
        column = replace(column, bins=Bins(NUMBER, kept), counts=replace(column.counts, bins=sums))
    return column
