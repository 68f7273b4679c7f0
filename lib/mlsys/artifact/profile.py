"""The `profile` of a `metadata.json`, version 2: bins with the counts of the training rows.

`mlsys.artifact.profiling` writes it. Version 1 held a few figures for people and no bins; runs are
not compared with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from mlsys.arguments import shown
from mlsys.columns.bins import Bins, Counts
from mlsys.errors import MetadataInvalid

VERSION = 2
TOP_VALUES = 10  # of a category that are shown


@dataclass(frozen=True, slots=True)
class ColumnProfile:
    """A column of the training data, or of the model's predictions for it."""

    bins: Bins
    counts: Counts
    mean: float | None = None
    std: float | None = None
    importance: float | None = None  # a share of 1 among the features, where the model tells one
    distinct: int | None = None  # values, of a column without bins

    def to_dict(self) -> dict[str, Any]:
        """Return the column as JSON values, without what is 0 or unknown.

        Its rows are the profile's; a number's minimum and maximum are its first and last edge.
        """
        counts = self.counts.to_dict()
        for name in ("rows", "min", "max"):
            counts.pop(name, None)
        if "bins" in counts:
            counts["counts"] = counts.pop("bins")
        about = {name: getattr(self, name) for name in _ABOUT}
        about = {name: value for name, value in about.items() if value is not None}
        return self.bins.to_dict() | counts | about

    @classmethod
    def from_dict(cls, value: Mapping[str, Any], rows: int) -> Self:
        """Read what `to_dict` gave.

        Raises:
            ValueError, TypeError, KeyError: it is not a column's profile.
        """
        bins = Bins.from_dict(value)
        counted = {"rows": rows, "bins": value.get("counts", ())}
        if bins.edges and not isinstance(bins.edges[0], str):
            counted |= {"min": bins.edges[0], "max": bins.edges[-1]}
        counts = Counts.from_dict({**value, **counted})
        if len(counts.bins) != bins.count:
            raise ValueError(f"{bins.count} bins have {len(counts.bins)} counts")
        about = {name: value.get(name) for name in _ABOUT}
        if not all(v is None or isinstance(v, int | float) for v in about.values()):
            raise TypeError("mean, std, importance and distinct must be numbers")
        return cls(bins, counts, **about)


_ABOUT = ("mean", "std", "importance", "distinct")


@dataclass(frozen=True, slots=True)
class Profile:
    """The profile of a model: its features in the signature's order, and its predictions.

    `predictions` are by the model's method, a column for each value of a row.
    """

    rows: int
    columns: tuple[ColumnProfile, ...]
    predictions: Mapping[str, tuple[ColumnProfile, ...]] = field(default_factory=dict)
    predicted_rows: int = 0

    @classmethod
    def of_document(cls, document: Mapping[str, Any]) -> Self | None:
        """Return the profile of a whole `metadata.json`, or None if it has none.

        Raises:
            MetadataInvalid: it has the wrong form, or is of another version.
        """
        value = document.get("profile")
        if value is None:
            return None
        if not isinstance(value, Mapping) or value.get("version") != VERSION:
            known = value.get("version", 1) if isinstance(value, Mapping) else value
            raise MetadataInvalid(
                f"profile is of version {shown(known)}, and the bins are in version {VERSION}: "
                "upload the model again"
            )
        try:
            rows, predicted = int(value["rows"]), int(value.get("predicted_rows", 0))
            return cls(
                rows,
                tuple(ColumnProfile.from_dict(column, rows) for column in value["columns"]),
                {
                    method: tuple(ColumnProfile.from_dict(c, predicted) for c in columns)
                    for method, columns in value.get("predictions", {}).items()
                },
                predicted,
            )
        except KeyError as exc:
            raise MetadataInvalid(f"profile has the wrong form: {exc} is missing") from exc
        except (ValueError, TypeError, AttributeError) as exc:
            raise MetadataInvalid(f"profile has the wrong form: {exc}") from exc


def figures(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a profile's figures for people, of either version: rows, and columns by name."""
    profile = document.get("profile")
    if not isinstance(profile, Mapping):
        return {}
    if profile.get("version") != VERSION:
        return dict(profile)
    signature = document.get("signature")
    features = signature.get("features") if isinstance(signature, Mapping) else None
    columns = profile.get("columns")
    if not isinstance(features, list) or not isinstance(columns, list):
        return {}
    pairs = zip(features, columns, strict=False)
    named = {str(f.get("name")): _figures(c) for f, c in pairs if isinstance(c, Mapping)}
    return {"rows": profile.get("rows"), "columns": named}


def _figures(column: Mapping[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {"nulls": column.get("nulls", 0)}
    edges, values, counts = (column.get(key) or [] for key in ("edges", "values", "counts"))
    if edges:
        out |= {"min": edges[0], "max": edges[-1]}
    if values:
        pairs = list(zip(map(str, values), counts, strict=False))
        out |= {"distinct": len(values), "top": dict(pairs[:TOP_VALUES])}
    for key in ("mean", "distinct"):
        out |= {key: column[key]} if key in column else {}
    return out
