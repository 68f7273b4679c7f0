"""Evaluate runs by labels that arrived later: BigQuery joins them, and only sums are read."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from mlsys.cloud.clients import Clients
from mlsys.cloud.tables import TableRef, find_table
from mlsys.columns.names import fold
from mlsys.errors import (
    Conflict,
    InvalidRequest,
    MlsysError,
    NewerRelease,
    PermissionMissing,
    RunNotFound,
    SchemaMismatch,
    TableNotFound,
)
from workers.evaluation.comparison import compare, denied
from workers.evaluation.evaluated_runs import ScoredRun, runs_of_model, scored_run
from workers.evaluation.join import Join
from workers.evaluation.keys import choose_keys
from workers.evaluation.table import write
from workers.evaluation.target import check_label, choose_target, written_names
from workers.evaluation.times import is_time, time_text
from workers.scoring.planning.columns import Column, columns_of
from workers.scoring.planning.lookup import columns_of_query
from workers.scoring.planning.model_pin import ModelPin, read_metadata
from workers.scoring.planning.partition_filter import any_partition, requires_filter
from workers.scoring.planning.table_kinds import is_query, kind_of

# About one of several runs
_REFUSALS = (
    *(Conflict, NewerRelease, PermissionMissing, RunNotFound, SchemaMismatch, TableNotFound),
)


@dataclass(frozen=True, slots=True)
class EvaluationRequest:
    """Which runs are compared with which labels: one run, or a model's within a period."""

    env: str
    labels_table: TableRef
    label_column: str
    run_id: str | None = None
    model_name: str | None = None
    model_version: str | None = None  # or the alias that the runs were requested by
    since: dt.datetime | None = None
    until: dt.datetime | None = None
    id_columns: tuple[str, ...] | None = None
    prediction_column: str | None = None
    task: str | None = None
    shadow: bool = False  # the challengers of the runs, by the rows that they wrote


def evaluate(clients: Clients, request: EvaluationRequest) -> dict[str, Any]:
    """Return the metrics of the request's runs, and keep them in `prediction_evaluations`.

    Of a model's runs, those that cannot be evaluated are listed with the reason.

    Raises:
        RunNotFound, TableNotFound: what the request names does not exist.
        PermissionMissing: the service may not read a table.
        Conflict: the run has not succeeded, or its rows are not in its output table any more.
        SchemaMismatch: the columns do not fit, ids are repeated, or no row has a label.
        InvalidRequest: a column is not clear, or is another one; see also `runs_of_model`.
        TryAgain: see `workers.query.run`.
    """
    tables = _Tables(clients)
    labels = tables.readable(request.labels_table, "The table with labels")
    refused: dict[str, MlsysError] = {}
    joined: dict[Join, list[ScoredRun]] = {}
    for run_id in _run_ids(clients, request):
        try:
            scored = scored_run(clients, request.env, run_id, shadow=request.shadow)
            joined.setdefault(_join(request, scored, labels, tables), []).append(scored)
        except _REFUSALS as exc:
            refused[run_id] = exc
    rows = []
    for join, runs in joined.items():
        for scored, outcome in zip(runs, compare(clients, join, runs), strict=True):
            if isinstance(outcome, MlsysError):
                refused[scored.plan.run_id] = outcome
            else:
                rows.append(outcome)
    if request.run_id is not None:
        for error in refused.values():
            raise error
    rows.sort(key=lambda row: row["predicted_at"], reverse=True)
    write(clients, request.env, rows)
    reasons = [{"run_id": run_id, "reason": str(exc)} for run_id, exc in refused.items()]
    return {"env": request.env, "evaluations": rows, "not_evaluated": reasons}


def _run_ids(clients: Clients, request: EvaluationRequest) -> Sequence[str]:
    if request.run_id is not None:
        return [request.run_id]
    if request.model_name is None:
        raise InvalidRequest(("run_id", "is missing: pass a run, or model_name and a period"))
    return runs_of_model(
        clients,
        request.env,
        request.model_name,
        request.model_version,
        request.since,
        request.until,
    )


@dataclass(frozen=True, slots=True)
class _Readable:
    """A table that a query may read: its columns, and a condition that it may require."""

    name: TableRef
    columns: tuple[Column, ...]
    filter: str
    location: str | None  # None: the local BigQuery does not tell

    def column(self, name: str) -> Column | None:
        return next((c for c in self.columns if fold(c.name) == fold(name)), None)


class _Tables:
    """The tables and models of an evaluation, each looked up once."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._known: dict[TableRef, _Readable | None] = {}
        self._ids: dict[ModelPin, tuple[str, ...]] = {}

    def ids_of(self, pin: ModelPin) -> tuple[str, ...]:
        """Return the id columns that a model was uploaded with; none if it is gone."""
        if pin not in self._ids:
            self._ids[pin] = read_metadata(self._clients, pin)[0].id_columns
        return self._ids[pin]

    def readable(self, name: TableRef, what: str) -> _Readable:
        """Return a table.

        Raises:
            TableNotFound: it does not exist.
            PermissionMissing: the service may not read it.
            SchemaMismatch: it is a view that cannot be queried.
        """
        from google.api_core.exceptions import Forbidden

        if name not in self._known:
            try:
                self._known[name] = self._look_up(name)
            except Forbidden as exc:
                raise denied(exc, f"{what}, {name},") from exc
        known = self._known[name]
        if known is None:
            raise TableNotFound(f"{what}, {name}, does not exist: pass one that does.")
        return known

    def _look_up(self, name: TableRef) -> _Readable | None:
        table = find_table(self._clients, name)
        if table is None:
            return None
        schema = table.schema
        if is_query(table):
            schema = columns_of_query(self._clients, name, kind_of(table))
        condition = any_partition(table) if requires_filter(table) else "TRUE"
        return _Readable(name, tuple(columns_of(schema)), condition, table.location)


def _join(
    request: EvaluationRequest, scored: ScoredRun, labels: _Readable, tables: _Tables
) -> Join:
    """Return how the run's predictions are joined with the labels.

    Raises:
        TableNotFound, SchemaMismatch, InvalidRequest: see `evaluate`.
    """
    plan = scored.plan
    output = tables.readable(plan.output.table.base, f"The output table of {plan.run_id}")
    places = {each.location.lower() for each in (output, labels) if each.location}
    if len(places) > 1:
        raise SchemaMismatch(
            f"{labels.name} is in {labels.location}, and {output.name} in {output.location}, and "
            "a query reads only one location: copy the labels there."
        )
    label = labels.column(request.label_column)
    if label is None:
        names = ", ".join(c.name for c in labels.columns[:50])
        raise SchemaMismatch(
            f"{labels.name} has no column {request.label_column}: pass one of {names}."
        )
    target = choose_target(plan, request.prediction_column, request.task)
    if labels.name == output.name and fold(label.name) in written_names(plan):
        text = f"{label.name} of {labels.name} is what the run wrote: pass a column with labels"
        raise InvalidRequest(("label_column", text))
    check_label(label, target)
    if is_time(label, target):
        target = replace(target, classes=tuple(map(time_text, target.classes)))
    keys = choose_keys(
        plan,
        labels.columns,
        label.name,
        labels.name,
        request.id_columns,
        lambda: tables.ids_of(plan.model),
    )
    read = [*(key.name for key, _ in keys), target.column.name, *target.scores]
    if gone := [name for name in read if output.column(name) is None]:
        raise SchemaMismatch(
            f"{output.name} has lost columns that the run wrote: score the table again.",
            [(name, "is missing") for name in gone],
        )
    return Join(output.name, labels.name, target, label, keys, output.filter, labels.filter)
