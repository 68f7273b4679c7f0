"""Draft a contract from the metadata of a model: what its training data was like.

Every clause of a draft is `warn`: it stops nobody, and its owner decides which ones should.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator, Mapping
from typing import Any

from mlsys.artifact.contract import MAX_BYTES, MAX_CLAUSES, WARN, Clause, Contract
from mlsys.artifact.contract_values import AGED, MAX_TEXT, NUMBERS, is_number
from mlsys.artifact.metadata import ModelMetadata
from mlsys.columns.features import ACCEPTED, Feature, precision_of

MAX_KNOWN = 50  # values that a draft lists
OUTSIDE = 0.01  # of the rows may lie out of the training data's range, or have an unseen value
MORE_NULLS = 0.05  # of the rows may be NULL beyond the training data's share


def draft(document: Mapping[str, Any]) -> Contract:
    """Return a contract for the input of the model that a `metadata.json` describes.

    Without a profile it has the types only. Clauses beyond the limits of a contract are left out,
    those of the last columns first.
    """
    signature = ModelMetadata.from_document(document).signature
    clauses = [Clause("row_count", WARN, parameters={"min_value": 1})]
    if signature is not None and not signature.positional:  # else the columns' names are unknown
        profile = document.get("profile") or {}
        for i, feature in enumerate(signature.features):
            clauses += _of_feature(feature, profile, i)
    while len(clauses) > MAX_CLAUSES or len(Contract(tuple(clauses)).content()) > MAX_BYTES:
        clauses = clauses[: min(MAX_CLAUSES, len(clauses) * 3 // 4)]
    return Contract(tuple(clauses))


def _of_feature(feature: Feature, profile: Mapping[str, Any], place: int) -> Iterator[Clause]:
    name = feature.name
    yield Clause("type", WARN, name, {"types": list(ACCEPTED[feature.type])})
    rows, seen = profile.get("rows") or 0, _seen(profile, feature, place)
    if not rows or seen is None:
        return
    if feature.nullable:
        missing = (seen.get("nulls", 0) + seen.get("nans", 0)) / rows
        share = round(missing + MORE_NULLS, 4)
        if share < 1:
            yield Clause("not_null", WARN, name, max_share=share)
    else:
        yield Clause("not_null", WARN, name)
    if values := _known_values(feature, seen):
        yield Clause("isin", WARN, name, {"values": values}, OUTSIDE)
        return
    low: Any = seen.get("min")
    high: Any = seen.get("max")
    if feature.type in NUMBERS and is_number(low) and is_number(high):
        infinite = (seen.get("below", 0) + seen.get("above", 0)) / rows
        if (share := round(infinite + OUTSIDE, 4)) < 1:
            if near := precision_of(feature.dtype):
                low, high = low - near * abs(low), high + near * abs(high)
            bounds = {"min_value": low, "max_value": high}
            yield Clause("in_range", WARN, name, bounds, share)
    elif feature.type in AGED and isinstance(high, str):
        hours = {"max_age_hours": _age(high, profile.get("created_at"))}
        yield Clause("freshness", WARN, name, hours)


def _seen(profile: Mapping[str, Any], feature: Feature, place: int) -> Mapping[str, Any] | None:
    """Return what the profile says of a feature: its NULLs, and `min` and `max` or `values`."""
    columns = profile.get("columns")
    if isinstance(columns, Mapping):  # version 1: by name
        column = columns.get(feature.name) or {}
        top = column.get("top") or {}
        complete = column.get("distinct") == len(top) and feature.type == "STRING"
        return dict(column) | ({"values": list(top)} if complete else {})
    if not isinstance(columns, list) or place >= len(columns):
        return None
    column = columns[place]
    edges = column.get("edges") or [None]
    seen = dict(column) | {"min": edges[0], "max": edges[-1]}
    if column.get("kind") == "category" and column.get("other"):
        seen.pop("values", None)  # there were others
    elif column.get("kind") == "category" and feature.type in (*NUMBERS, *AGED):
        kind = str if feature.type in AGED else (int, float)
        values = [v for v in column.get("values") or () if isinstance(v, kind)]
        if values:  # of few values in training, as a child's age in years: not the only ones
            return seen | {"min": min(values), "max": max(values), "values": None}
    return seen


def _known_values(feature: Feature, seen: Mapping[str, Any]) -> list[Any]:
    """Return every value that the model knows, if they are few: categories, or texts of training.

    Numbers are listed only as categories of pandas: there any other number is missing to the model.
    """
    values = feature.categories if feature.categories is not None else seen.get("values")
    known = list(values or ())
    if feature.type in NUMBERS:
        listed = feature.categories is not None and all(map(is_number, known))
    else:
        listed = feature.type == "STRING" and all(
            isinstance(value, str) and len(value) <= MAX_TEXT for value in known
        )
    return known if listed and len(known) <= MAX_KNOWN else []


def _age(newest: str, created_at: Any) -> int:
    """Return how old the newest value was when the model was described, plus a day, in hours."""
    try:
        at = dt.datetime.fromisoformat(newest)
        now = dt.datetime.fromisoformat(created_at)
    except (TypeError, ValueError):
        return 24
    age = now - (at if at.tzinfo else at.replace(tzinfo=dt.UTC))
    return 24 + max(0, math.ceil(age.total_seconds() / 3600))
