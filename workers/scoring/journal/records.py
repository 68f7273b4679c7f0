"""The records of a run: its decision or cancellation, its result, and why its last try failed.

Each is one JSON object of the run (`store`), written once and typed here. The plan has a module of
its own.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, astuple, dataclass, field, fields
from typing import Any, ClassVar, Self

from mlsys.errors import Conflict, RunCancelled
from workers.scoring.journal.store import RunStore
from workers.scoring.request.parsed import SERVICE
from workers.scoring.request.tolerance import Tolerance


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
class Engine:
    """Where the rows of a run are scored, `service` or `job`, and why there."""

    name: str = SERVICE
    reason: str = ""


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

    def to_dict(self) -> dict[str, Any]:
        """Return the decision as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """Read a `publish.json`."""
        for name in ("parts", "rejects"):
            if not all(isinstance(part, str) for part in value[name]):
                raise TypeError(f"{name} are not names")
        known = _known(cls, value)
        lists = {name: tuple(value[name]) for name in ("parts", "rejects")}
        for name in ("warnings", "profile"):
            lists[name] = tuple(value.get(name, ()))
        shadow = value.get("shadow")
        more = {
            "counts": Counts(**value["counts"]),
            "shadow": None if shadow is None else ShadowParts.from_dict(shadow),
        }
        return cls(**known | lists | more)


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
        cancellation = cls(**_known(cls, value))
        dt.datetime.fromisoformat(value["finished_at"])
        if cancellation.state != "cancelled":
            raise ValueError("not a cancellation")
        return cancellation


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of a run that is done. The service answers with it, field by field."""

    NAME: ClassVar = "result.json"

    run_id: str
    state: str
    env: str
    model_name: str
    model_version: str
    model_generation: int
    input_table: str
    output_table: str
    rejects_table: str | None
    write_disposition: str
    rows: int  # scored
    rows_read: int
    rows_rejected: int
    max_rejects: str
    bytes_read: int
    path: str
    shards: int  # parts
    attempts: int
    seconds: float
    predicted_at: str
    snapshot_at: str
    job_id: str
    output_created: str | None
    finished_at: str
    labels: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    model_alias: str | None = None  # that the request which planned the run named
    loader: str = "listed"  # of the model: `MLSYS_MODELS` when the run was planned
    streams: int = 0  # of the read session, that BigQuery gave
    streams_requested: int = 0  # at most
    engine: str = SERVICE  # that scored the last rows
    engine_reason: str = ""
    shadow: Mapping[str, Any] | None = None  # as `publishing.shadow` returns it
    drift: Mapping[str, Any] | None = None  # as `publishing.profile` returns it
    contract: Mapping[str, Any] | None = None  # as `monitoring.contract.summary` returns it
    loads: tuple[Mapping[str, Any], ...] = ()  # as `publishing.load.load_times` returns them
    bytes_billed: int | None = None  # of `Costs`, as the next two
    estimated_cost: float | None = None
    vcpu_seconds: float | None = None
    incremental: str | None = None  # the column by which the rows were new, or `ids`
    watermark_before: str | None = None  # the rows above it
    watermark: str | None = None  # and up to it were scored
    rows_below: int | None = None  # of the input, at or below `watermark_before`: not read
    rows_late: int | None = None  # of them, those that came after it was set
    output_modified: str | None = None  # by the load; None: others have changed the table since
    reused: bool = False  # True: the run was done before this request

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return asdict(self) | {"warnings": list(self.warnings), "loads": list(self.loads)}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """Read a `result.json`."""
        lists = {name: tuple(value.get(name, ())) for name in ("warnings", "loads")}
        return cls(**_known(cls, value) | lists)


@dataclass(frozen=True, slots=True)
class Failure:
    """The reason why a run's last try failed; the next one may succeed."""

    NAME: ClassVar = "failure.json"
    OPTIONAL: ClassVar = ("rows", "clauses", "tolerance")

    run_id: str
    state: str
    detail: str
    max_rejects: str
    seconds: float
    finished_at: str | None  # None: the object is damaged
    attempts: int = 0
    rows: list[dict[str, Any]] | None = None  # examples of rows that could not be scored
    clauses: list[dict[str, Any]] | None = None  # of the contract, that stopped the run
    tolerance: Mapping[str, Any] | None = None  # the request's, if the run failed by it
    bytes_billed: int | None = None  # of `Costs`, as the next two
    estimated_cost: float | None = None
    vcpu_seconds: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the failure as JSON values, without `OPTIONAL` ones that are None."""
        values = asdict(self)
        return {n: v for n, v in values.items() if v is not None or n not in self.OPTIONAL}

    def counts_for(self, tolerance: Tolerance) -> bool:
        """Return whether a request with this tolerance is to be answered with the failure."""
        return self.tolerance in (None, asdict(tolerance))

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """Read a `failure.json`."""
        failure = cls(**_known(cls, value))
        dt.datetime.fromisoformat(value["finished_at"])
        if failure.state != "failed" or not isinstance(failure.detail, str):
            raise ValueError("not a failure")
        if min(failure.seconds, failure.attempts) < 0:
            raise ValueError("negative numbers")
        return failure


def read_decision(store: RunStore) -> Decision | Cancellation | None:
    """Return what is decided about the run, or None before anything is.

    Raises:
        Conflict: the object is damaged.
    """
    return _read(store, Decision.NAME, _decided)


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


def read_result(store: RunStore) -> Result | None:
    """Return the run's result, or None while it is not done.

    Raises:
        Conflict: the object is damaged.
    """
    return _read(store, Result.NAME, Result.from_dict)


def read_failure(store: RunStore) -> Failure | None:
    """Return why the last try failed, or None if it did not.

    The object informs people and decides nothing, so a damaged one is a failure that says so.
    """
    try:
        return _read(store, Failure.NAME, Failure.from_dict)
    except Conflict:
        detail = f"{store.uri(Failure.NAME)} is damaged: repeat the request to resume the run"
        return Failure(store.run_id, "failed", detail, "0", 0.0, None)


def _read[T](store: RunStore, name: str, to: Callable[[dict[str, Any]], T]) -> T | None:
    value = store.read(name)
    return None if value is None else store.parse(name, value, to)


def _known(cls: type[Any], value: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of `cls` that `value` has; another release may write more.

    Raises:
        KeyError: a field without a default is missing.
    """
    optional = {
        f.name for f in fields(cls) if f.default is not MISSING or f.default_factory is not MISSING
    }
    return {f.name: value[f.name] for f in fields(cls) if f.name in value or f.name not in optional}
