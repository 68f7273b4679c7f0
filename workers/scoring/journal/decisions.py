"""What is decided about a run, in its `publish.json`: what it publishes, or its cancellation.

It is written once, and everyone who works on the run does what it says.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass
from typing import Any, ClassVar, Self

from mlsys.errors import Conflict, RunCancelled
from workers.scoring.journal.store import RunStore
from workers.scoring.journal.typed import known, read


@dataclass(frozen=True, slots=True)
class Counts:
    """Rows read, scored and rejected; `bytes` is their size in memory as Arrow."""

    read: int = 0
    scored: int = 0
    rejected: int = 0
    bytes: int = 0

    def __add__(self, other: Counts) -> Counts:
        pairs = zip(astuple(self), astuple(other), strict=True)
        return Counts(*(mine + theirs for mine, theirs in pairs))


@dataclass(frozen=True, slots=True)
class ShadowParts:
    """The challenger's files that the run publishes, one for each of its parts, or why none."""

    parts: tuple[str, ...] = ()  # objects of the run
    scored: int = 0  # rows
    rejected: int = 0
    fault: str = ""

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """Read what `asdict` gave."""
        return cls(tuple(value["parts"]), value["scored"], value["rejected"], value["fault"])


@dataclass(frozen=True, slots=True)
class Decision:
    """The objects that the run publishes. Written before the first load job and never changed."""

    NAME: ClassVar = "publish.json"

    token: str  # of the plan that it belongs to
    parts: tuple[str, ...]  # objects of the run
    rejects: tuple[str, ...]  # objects of the run; empty: every row was scored
    counts: Counts
    max_rejects: str
    path: str = ""  # how the rows reached the model
    streams: int = 0  # that BigQuery gave
    streams_requested: int = 0  # at most
    warnings: tuple[str, ...] = ()  # about its read sessions
    shadow: ShadowParts | None = None  # None: the run has no challenger
    profile: tuple[Mapping[str, Any], ...] = ()  # its rows of prediction_profiles
    drift: Mapping[str, Any] | None = None  # for the result; None: the run counted nothing
    contract: Mapping[str, Any] | None = None  # as `monitoring.contract.summary` returns it
    tolerance: Mapping[str, Any] | None = None  # of the request that it was decided for

    def to_dict(self) -> dict[str, Any]:
        """Return the decision as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """Read a `publish.json`."""
        for name in ("parts", "rejects"):
            if not all(isinstance(part, str) for part in value[name]):
                raise TypeError(f"{name} are not names")
        plain = known(cls, value)
        lists = {name: tuple(value[name]) for name in ("parts", "rejects")}
        for name in ("warnings", "profile"):
            lists[name] = tuple(value.get(name, ()))
        shadow = value.get("shadow")
        more = {
            "counts": Counts(**value["counts"]),
            "shadow": None if shadow is None else ShadowParts.from_dict(shadow),
        }
        return cls(**plain | lists | more)


@dataclass(frozen=True, slots=True)
class Cancellation:
    """The decision that the run publishes nothing, in a `Decision`'s place: one of them wins."""

    NAME: ClassVar = Decision.NAME

    token: str  # of the plan that it belongs to
    run_id: str
    finished_at: str
    seconds: float
    by: str | None = None  # the caller's e-mail, if Cloud Run has verified it
    why: str | None = None  # in the caller's words
    attempts: int = 0
    state: str = "cancelled"
    bytes_billed: int | None = None  # of `Costs`, as the next two
    estimated_cost: float | None = None
    vcpu_seconds: float | None = None

    @property
    def detail(self) -> str:
        """The sentence that says it."""
        by = f" by {self.by}" if self.by else ""
        why = f" ({self.why})" if self.why else ""
        return f"{self.run_id} was cancelled at {self.finished_at}{by}{why}"

    def error(self) -> RunCancelled:
        """Return the error for a caller who wants the run's rows."""
        return RunCancelled(
            f"{self.detail}: nothing was published. To score the rows, repeat the request without "
            "its run_id, or with another one."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the cancellation as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """Read a `publish.json` that publishes nothing."""
        cancellation = cls(**known(cls, value))
        dt.datetime.fromisoformat(value["finished_at"])
        if cancellation.state != "cancelled":
            raise ValueError("not a cancellation")
        return cancellation


def read_decision(store: RunStore) -> Decision | Cancellation | None:
    """Return what is decided about the run, or None before anything is.

    Raises:
        Conflict: the object is damaged.
    """
    return read(store, Decision.NAME, _decided)


def _decided(value: dict[str, Any]) -> Decision | Cancellation:
    return Cancellation.from_dict(value) if "state" in value else Decision.from_dict(value)


def read_cancellation(store: RunStore) -> Cancellation | None:
    """Return the run's cancellation, or None. A damaged decision is not one: it publishes nothing.

    It may belong to an earlier plan of the run: `find_run` and `execute` look.
    """
    try:
        decision = read_decision(store)
    except Conflict:
        return None
    return decision if isinstance(decision, Cancellation) else None
