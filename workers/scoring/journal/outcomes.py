"""How the tries of a run came out, as its objects `result.json` and `failure.json`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Self

from mlsys.errors import Conflict
from workers.monitoring.contract import ENFORCE
from workers.scoring.journal.store import RunStore
from workers.scoring.journal.typed import known, read


@dataclass(frozen=True, slots=True)
class Engine:
    """Where the rows of a run are scored, `service` or `job`, and why there."""

    name: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """The parameters by which one request of a run fails where another one publishes."""

    max_rejects: str = "0"
    max_drift: float | None = None
    contract: str = ENFORCE


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
    engine: str = "service"  # that scored the last rows; at first there was no other
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

    @property
    def loaded_at(self) -> str | None:
        """When the load job of the output ended; None of a run of an older release."""
        return next((load["ended_at"] for load in self.loads if load["step"] == "output"), None)

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return asdict(self) | {"warnings": list(self.warnings), "loads": list(self.loads)}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """Read a `result.json`."""
        lists = {name: tuple(value.get(name, ())) for name in ("warnings", "loads")}
        return cls(**known(cls, value) | lists)


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
        failure = cls(**known(cls, value))
        dt.datetime.fromisoformat(value["finished_at"])
        if failure.state != "failed" or not isinstance(failure.detail, str):
            raise ValueError("not a failure")
        if min(failure.seconds, failure.attempts) < 0:
            raise ValueError("negative numbers")
        return failure


def read_result(store: RunStore) -> Result | None:
    """Return the run's result, or None while it is not done.

    Raises:
        Conflict: the object is damaged.
    """
    return read(store, Result.NAME, Result.from_dict)


def read_failure(store: RunStore) -> Failure | None:
    """Return why the last try failed, or None if it did not.

    The object informs people and decides nothing, so a damaged one is a failure that says so.
    """
    try:
        return read(store, Failure.NAME, Failure.from_dict)
    except Conflict:
        detail = f"{store.uri(Failure.NAME)} is damaged: repeat the request to resume the run"
        return Failure(store.run_id, "failed", detail, "0", 0.0, None)
