"""The records of a run that is undone: the decision, and what was removed.

Both are JSON objects of the run (`store`), written once. From its `undo.json` on a run is void: no
request is answered by it. From its `undone.json` on its rows are gone.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal, Self

from mlsys.errors import RunUndone
from workers.scoring.journal.store import RunStore
from workers.scoring.journal.typed import read

Role = Literal["output", "rejects", "shadow"]
How = Literal["delete", "restore"]


@dataclass(frozen=True, slots=True)
class Removal:
    """What an undo does to one table: the run's rows go, and those that they replaced return."""

    table: str  # with its partition, if the run named one
    role: Role
    how: How  # restore: the rows from before the run's load job return
    rows_removed: int
    rows_restored: int = 0
    as_of: str | None = None  # when the table had the rows that return
    copy: str | None = None  # the table that has them if they did not: see `removal.remove`


@dataclass(frozen=True, slots=True)
class Undo:
    """The decision that a run's rows are removed."""

    NAME: ClassVar = "undo.json"

    token: str  # of the plan that it belongs to
    run_id: str
    undone_at: str
    by: str | None  # the caller's e-mail, if Cloud Run has verified it
    why: str  # in the caller's words
    tables: tuple[Removal, ...]  # as they were when it was decided

    @property
    def detail(self) -> str:
        """The sentence that says it."""
        by = f" by {self.by}" if self.by else ""
        return f"{self.run_id} was undone at {self.undone_at}{by} ({self.why})"

    def error(self) -> RunUndone:
        """Return the error for a caller who wants the run's rows."""
        return RunUndone(
            f"{self.detail}: its rows were removed. To score them again, repeat the request "
            "without its run_id, or with another one."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the decision as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """Read an `undo.json`."""
        dt.datetime.fromisoformat(value["undone_at"])
        names = ("token", "run_id", "undone_at", "by", "why")
        return cls(**{name: value[name] for name in names}, tables=_removals(value))


@dataclass(frozen=True, slots=True)
class Undone:
    """The outcome of an undo that is done."""

    NAME: ClassVar = "undone.json"

    token: str
    run_id: str
    undone_at: str  # of the decision, as the next two
    by: str | None
    why: str
    finished_at: str
    tables: tuple[Removal, ...]
    bytes_billed: int = 0  # that BigQuery charges for the undo, beside the run's own
    estimated_cost: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return the outcome as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """Read an `undone.json`."""
        dt.datetime.fromisoformat(value["undone_at"])
        names = ("token", "run_id", "undone_at", "by", "why", "finished_at")
        costs = {name: value[name] for name in ("bytes_billed", "estimated_cost") if name in value}
        return cls(**{name: value[name] for name in names}, tables=_removals(value), **costs)


def read_undo(store: RunStore) -> Undo | None:
    """Return the decision to undo the run, or None.

    Raises:
        Conflict: the object is damaged.
    """
    return read(store, Undo.NAME, Undo.from_dict)


def read_undone(store: RunStore) -> Undone | None:
    """Return what was removed, or None while it is not.

    Raises:
        Conflict: the object is damaged.
    """
    return read(store, Undone.NAME, Undone.from_dict)


def _removals(value: Mapping[str, Any]) -> tuple[Removal, ...]:
    return tuple(Removal(**removal) for removal in value["tables"])
