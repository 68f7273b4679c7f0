"""The decisions of a run: the model's bytes, the columns, the snapshot of the input.

A plan is written before any work is done and never changed. Every try of the run, in whatever
process, follows it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, dataclass, field, fields, replace
from typing import Any, Self

from mlsys.artifact.signatures import Signature
from mlsys.cloud.tables import TableRef
from mlsys.columns.features import Feature
from mlsys.columns.names import fold
from workers.inference.predictor import PredictionSpec
from workers.monitoring.contract import PlannedContract
from workers.monitoring.reference import Reference
from workers.query import column_sql
from workers.scoring.journal.store import RunStore
from workers.scoring.journal.typed import exactly
from workers.scoring.planning.columns import Column
from workers.scoring.planning.destination import Destination
from workers.scoring.planning.incremental import Incremental
from workers.scoring.planning.model_pin import ModelPin
from workers.scoring.planning.partition_filter import all_of


@dataclass(frozen=True, slots=True)
class Pair:
    """A column of the run and the challenger's that is compared with it, as labels or numbers."""

    first: str
    second: str
    labels: bool


@dataclass(frozen=True, slots=True)
class Shadow:
    """The challenger of a run: the plan it follows, or why it cannot score the rows.

    Its plan differs from the run's in the model, its columns, and the table that they go to.
    """

    requested: str  # the version that the request names
    plan: Plan | None = None
    pairs: tuple[Pair, ...] = ()
    fault: str = ""  # why it has no plan

    def to_dict(self) -> dict[str, Any]:
        """Return the challenger as JSON values."""
        plan = None if self.plan is None else self.plan.to_dict()
        pairs = [asdict(pair) for pair in self.pairs]
        return {"requested": self.requested, "plan": plan, "pairs": pairs, "fault": self.fault}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """Read what `to_dict` gave."""
        plan = value["plan"]
        exactly(cls, value)
        return cls(
            value["requested"],
            None if plan is None else Plan.from_dict(plan),
            tuple(Pair(**exactly(Pair, pair)) for pair in value["pairs"]),
            value["fault"],
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """The decisions of a run."""

    run_id: str
    token: str  # unique: jobs and tables of another plan with the same run_id are not this plan's
    request: Mapping[str, Any]  # `ScoringRequest.identity`, with the version that was meant
    model: ModelPin
    is_query: bool  # the input's rows are made by a query (a view), and copied first
    snapshot_at: str  # ISO time: the rows that are scored are the table's rows at this moment
    created_at: str  # ISO time: `predicted_at` of every row
    rows_expected: int | None  # about, and before any filter; None: unknown
    features: tuple[Feature, ...]
    ids: tuple[Column, ...]
    # Features, ids, and the challenger's and contract's columns, each once, as the table spells it.
    read_columns: tuple[str, ...]
    outputs: Mapping[str, tuple[str, ...]]  # the model's methods, and the columns each one fills
    output: Destination
    rejects: Destination
    location: str  # of the output's dataset: load jobs run there, and are found only there
    path: str  # of the rows to the model: `Route.path`
    warnings: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)  # what a written column is about
    aliased: bool = False  # a query copies the columns under plain names first: `needs_aliases`
    series: bool = False  # the model gets its one column as a Series
    rows_exact: bool = False  # `rows_expected` is the number of rows at the snapshot
    frames: bool = False  # golden rows have proven the model with frames within: `restore_output`
    shadow: Shadow | None = None  # another version that scores the same rows
    reference: Reference | None = None  # the columns that the run counts; None: it counts nothing
    contract: PlannedContract | None = None  # of the model's input, as it was when planned
    partition_filter: str | None = None  # the condition of the input's partition, if it names one
    incremental: Incremental | None = None  # None: the rows are not compared with those before
    beside: Mapping[str, str] = field(default_factory=dict)  # `ScoringRequest.beside`

    @property
    def asked(self) -> dict[str, str]:
        """The request that the run was planned by, also what does not decide its rows."""
        return {**self.request, **self.beside}

    @property
    def input_table(self) -> TableRef:
        """The table or view that is scored, or the partition of it."""
        return TableRef.parse(self.request["input_table"], partition=True)

    @property
    def job_stem(self) -> str:
        """The prefix of the run's job ids; a capital may follow, which no run_id has."""
        return f"mlsys_{self.request['env']}_{self.run_id}_{self.token}"

    @property
    def ledger_row(self) -> dict[str, Any]:
        """The columns of the run's row in the ledger that the plan knows."""
        return {
            "run_id": self.run_id,
            "model_name": self.model.name,
            "model_version": self.model.version,
            "model_alias": self.model.alias,
            "input_table": str(self.input_table),
            "output_table": str(self.output.table),
            "write_disposition": self.output.write_disposition,
            "started_at": self.created_at,
        }

    @property
    def own_columns(self) -> list[str]:
        """The columns of `read_columns` that the run's model and its output need."""
        own = {fold(f.name) for f in self.features} | {fold(c.name) for c in self.ids}
        return [name for name in self.read_columns if fold(name) in own]

    @property
    def where(self) -> str | None:
        """The request's filter of the input's rows."""
        return self.request.get("where")

    @property
    def restriction(self) -> str | None:
        """The SQL condition on the rows that are scored; None: all rows of the table."""
        return all_of(self.where, self.partition_filter, self.bounds)

    @property
    def bounds(self) -> str | None:
        """The SQL condition on the rows between two watermarks."""
        if self.incremental is None:
            return None
        name = self.incremental.column  # of the copying query, or of the Storage Read API
        return self.incremental.bounds(
            column_sql(self.input_table, name) if self.aliased else f"`{name}`"
        )

    @property
    def is_filtered(self) -> bool:
        """True if fewer rows may be scored than `rows_expected`; how many is not known before."""
        if self.incremental is not None:  # BigQuery has counted the rows of a run by a column
            return self.incremental.rows is None or self.is_query
        return self.where is not None or (self.partition_filter is not None and not self.rows_exact)

    @property
    def is_copied(self) -> bool:
        """True if a query copies the rows into a table of the run, which is read instead."""
        return self.is_query or self.aliased

    @property
    def aliases(self) -> dict[str, str]:
        """The columns of the copy, if it has other names than the input: alias to name."""
        return {f"c{i}": name for i, name in enumerate(self.read_columns)} if self.aliased else {}

    def stamps(self, at: str) -> dict[str, Any]:
        """Return the run's values in each row; `at` is the column with its time."""
        return {
            at: dt.datetime.fromisoformat(self.created_at),
            "model_name": self.model.name,
            "model_version": self.model.version,
            "run_id": self.run_id,
        }

    def prediction_spec(self) -> PredictionSpec:
        """Return the inputs and outputs of the model for each row."""
        types = {fold(c.name): c.type for c in self.output.columns}
        names = [name for columns in self.outputs.values() for name in columns]
        return PredictionSpec(
            features=self.features,
            outputs=self.outputs,
            types={name: types[fold(name)] for name in names},
            path=self.path,
            series=self.series,
            frames=self.frames,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as JSON values, as `plan.json` holds it."""
        value = asdict(replace(self, shadow=None, reference=None, contract=None)) | {
            "features": [f.to_dict() for f in self.features],
            "output": self.output.to_dict(),
            "rejects": self.rejects.to_dict(),
        }
        for name in ("shadow", "reference", "contract"):
            if (part := getattr(self, name)) is not None:
                value[name] = part.to_dict()
        # An instance of an older release reads a plan that makes no use of a newer field.
        defaults = {f.name: _default(f) for f in fields(self) if f.name != "warnings"}
        return {
            name: part
            for name, part in value.items()
            if name not in defaults or getattr(self, name) != defaults[name]
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """Read a `plan.json`."""
        parts: dict[str, Any] = {"shadow": Shadow, "incremental": Incremental}
        parts |= {"reference": Reference, "contract": PlannedContract}
        return cls(
            **{
                **exactly(cls, value),
                "ids": tuple(Column(**exactly(Column, c)) for c in value["ids"]),
                "model": ModelPin(**exactly(ModelPin, value["model"])),
                "features": Signature.from_dict({"features": value["features"]}).features,
                "read_columns": tuple(value["read_columns"]),
                "outputs": {k: tuple(v) for k, v in value["outputs"].items()},
                "output": Destination.from_dict(value["output"]),
                "rejects": Destination.from_dict(value["rejects"]),
                "warnings": tuple(value["warnings"]),
                **{n: of.from_dict(value[n]) for n, of in parts.items() if value.get(n)},
            }
        )


def _default(of: Field[Any]) -> Any:
    return of.default if of.default_factory is MISSING else of.default_factory()


def read_plan(store: RunStore) -> Plan | None:
    """Return the run's plan, or None before there is one.

    Raises:
        Conflict, NewerRelease: see `RunStore.parse`.
    """
    document = store.read("plan.json")
    return None if document is None else store.parse("plan.json", document, Plan.from_dict)
