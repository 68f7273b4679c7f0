"""The columns that a run counts, each with the bins and the counts that it is compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from mlsys.artifact.profile import ColumnProfile, Profile
from mlsys.columns.bins import CATEGORY, NUMBER, Bins, Counts

FEATURE, PREDICTION = ROLES = ("feature", "prediction")
TRAINING = "training"


@dataclass(frozen=True, slots=True)
class Watched:
    """A column that is counted. Without `counts` there is nothing to compare it with."""

    role: str  # FEATURE: of the input; PREDICTION: of the output
    name: str  # as the table spells it
    bins: Bins
    counts: Counts | None = None
    importance: float | None = None
    source: str | None = None  # of `counts`: TRAINING, or the run that they are of
    identifier: bool = False  # nearly every training row had a value of its own

    def to_dict(self) -> dict[str, Any]:
        """Return the column as JSON values."""
        return {
            "role": self.role,
            "name": self.name,
            "bins": self.bins.to_dict(),
            "counts": None if self.counts is None else self.counts.to_dict(),
            "importance": self.importance,
            "source": self.source,
            "identifier": self.identifier,
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """Read what `to_dict` gave."""
        counts = value["counts"]
        more = {
            "bins": Bins.from_dict(value["bins"]),
            "counts": None if counts is None else Counts.from_dict(counts),
        }
        return cls(**{**value, **more})


@dataclass(frozen=True, slots=True)
class Reference:
    """The columns that a run counts, features first."""

    columns: tuple[Watched, ...]

    def of(self, role: str) -> list[Watched]:
        """Return the columns of a role, in order."""
        return [column for column in self.columns if column.role == role]

    @property
    def compared(self) -> int:
        """How many of the columns have something to be compared with."""
        return sum(column.counts is not None for column in self.columns)

    def to_dict(self) -> dict[str, Any]:
        """Return the reference as JSON values."""
        return {"columns": [column.to_dict() for column in self.columns]}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """Read what `to_dict` gave."""
        return cls(tuple(Watched.from_dict(column) for column in value["columns"]))


def of_profile(
    profile: Profile, features: Sequence[str], outputs: Mapping[str, Sequence[str]]
) -> Reference:
    """Return the reference that a model's profile gives.

    `features` are the input's columns in the signature's order; `outputs` the columns that each of
    the model's methods fills.
    """
    columns = []
    if len(features) == len(profile.columns):
        columns += [
            _watched(FEATURE, name, column)
            for name, column in zip(features, profile.columns, strict=True)
        ]
    for method, names in outputs.items():
        known = profile.predictions.get(method, ())
        if len(known) == len(names):
            columns += [
                _watched(PREDICTION, name, column)
                for name, column in zip(names, known, strict=True)
            ]
    return Reference(tuple(columns))


def of_outputs(
    outputs: Mapping[str, Sequence[str]],
    types: Mapping[str, str],
    classes: Sequence[str],
) -> Reference:
    """Return the reference of a model without a profile: its predictions only, without counts.

    They are counted in bins that all such runs have, so that two runs can be compared: numbers by
    `STANDARD_EDGES`, texts by the names of the model's `classes`. `types` are BigQuery's.
    """
    by_type = {
        "INT64": Bins(NUMBER, STANDARD_EDGES),
        "FLOAT64": Bins(NUMBER, STANDARD_EDGES),
        "BOOL": Bins(CATEGORY, values=(False, True)),
        "STRING": Bins(CATEGORY, values=tuple(classes)) if classes else Bins(),
    }
    names = [name for columns in outputs.values() for name in columns]
    return Reference(
        tuple(Watched(PREDICTION, name, by_type.get(types[name], Bins())) for name in names)
    )


def _watched(role: str, name: str, column: ColumnProfile) -> Watched:
    identifier = column.distinct is not None
    return Watched(role, name, column.bins, column.counts, column.importance, TRAINING, identifier)


def _standard_edges() -> tuple[float, ...]:
    """Return 0 and ten steps of about 26 % a power of ten, from 1e-6 to 1e9, with both signs."""
    steps = ("1", "1.25", "1.6", "2", "2.5", "3.2", "4", "5", "6.3", "8")
    sizes = [float(f"{step}e{power}") for power in range(-6, 9) for step in steps] + [1e9]
    return (*(-size for size in reversed(sizes)), 0.0, *sizes)


STANDARD_EDGES = _standard_edges()
