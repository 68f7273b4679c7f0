"""Which rows a run's load job replaced: the version of the table that an undo puts back.

BigQuery does not say when a job took effect, only when it began and ended. Where nobody else
changed the table meanwhile, the rows are those of its start. Otherwise the last moment is searched
at which the table did not have the run's rows (docs/decisions/0158).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from mlsys.cloud.clients import Clients
from mlsys.cloud.tables import TableRef
from workers.query import run
from workers.scoring.journal.at_work import markers, output_of, run_of
from workers.scoring.journal.decisions import Decision, read_decision
from workers.scoring.journal.outcomes import read_result
from workers.scoring.journal.store import UNREADABLE, RunStore
from workers.scoring.journal.undone import Undo, read_undo, read_undone
from workers.scoring.planning.plan import Plan, read_plan
from workers.sql import statement

if TYPE_CHECKING:
    from google.cloud.bigquery import Table
    from google.cloud.storage import Blob

CLOCKS_DIFFER = dt.timedelta(hours=1)  # those of the service's machines and BigQuery's, at most
MILLISECOND = dt.timedelta(milliseconds=1)  # BigQuery's times have no more
NOT_VOID = "(run_id IS NULL OR run_id NOT IN UNNEST(@void))"


def created_by(
    clients: Clients, plan: Plan, job: Any, table: Table, count: Callable[..., Mapping[str, int]]
) -> bool:
    """Return whether the run's load job created the table, and so replaced nothing.

    `count` is `written.count` of the run's rows in the table.
    """
    if table.created is None or table.created < job.started:  # a job's table has its time
        return False
    return _is_alone(clients, plan, job) or count(at=table.created + MILLISECOND)["own"] > 0


def replaced_at(
    clients: Clients, plan: Plan, job: Any, table: Table, count: Callable[..., Mapping[str, int]]
) -> dt.datetime:
    """Return the last moment before the run's load job took effect, to the millisecond."""
    before, after = job.started, job.ended
    if _is_alone(clients, plan, job):
        return before
    if table.created is not None:
        before = max(before, table.created + MILLISECOND)
    while after - before > MILLISECOND:
        middle = before + (after - before) / 2
        before, after = (before, middle) if count(at=middle)["own"] else (middle, after)
    return before


def void_runs(clients: Clients, plan: Plan) -> Any:
    """Return the parameter of `NOT_VOID`: the table's runs that were undone, or are being undone.

    A run is marked while it is being undone (`at_work`), until the ledger has it as undone: so the
    markers are read first.
    """
    from google.cloud import bigquery

    env = plan.request["env"]
    marked = _marked(clients, env, plan.output.table.base)
    undone = [store.run_id for store in marked if _is_void(store)]
    table = bigquery.ScalarQueryParameter("table", "STRING", str(plan.output.table.base))
    undone += [row["run_id"] for row in run(clients, env, statement("undone_runs"), table)]
    return bigquery.ArrayQueryParameter("void", "STRING", sorted(set(undone)))


def has_restored(undo: Undo | None, table: TableRef) -> bool:
    """Return whether an undo was to put rows back into the table."""
    return undo is not None and any(
        removal.how == "restore" and removal.table.partition("$")[0] == str(table)
        for removal in undo.tables
    )


def _is_alone(clients: Clients, plan: Plan, job: Any) -> bool:
    """Return whether no other run, and no undo, may have changed the table while the job ran."""
    from google.cloud import bigquery

    env, table = plan.request["env"], plan.output.table.base
    rows = run(
        *(clients, env, statement("runs_during")),
        bigquery.ScalarQueryParameter("table", "STRING", str(table)),
        bigquery.ScalarQueryParameter("run_id", "STRING", plan.run_id),
        bigquery.ScalarQueryParameter("since", "TIMESTAMP", job.started - CLOCKS_DIFFER),
        bigquery.ScalarQueryParameter("until", "TIMESTAMP", job.ended + CLOCKS_DIFFER),
    )
    recorded = [RunStore(clients, env, row["run_id"]) for row in rows]
    others = (s for s in (*_marked(clients, env, table), *recorded) if s.run_id != plan.run_id)
    return not any(_may_have_changed(store, job) for store in others)


def _may_have_changed(store: RunStore, job: Any) -> bool:
    """Return whether a run's load jobs, or its undo, may have ended while the job ran."""
    try:
        return _has_changed(store, job)
    except UNREADABLE:
        return True


def _has_changed(store: RunStore, job: Any) -> bool:
    plan, result, undo = read_plan(store), read_result(store), read_undo(store)
    if plan is None or _moment(plan.created_at) - CLOCKS_DIFFER > job.ended:
        return False
    if result is None:
        return isinstance(read_decision(store), Decision)  # it loads, or has loaded
    for load in result.loads:
        began, ended = load["created_at"], load["ended_at"]
        if began and ended and _moment(began) <= job.ended and _moment(ended) >= job.started:
            return True
    if undo is None or _moment(undo.undone_at) - CLOCKS_DIFFER > job.ended:
        return False
    undone = read_undone(store)
    return undone is None or _moment(undone.finished_at) + CLOCKS_DIFFER >= job.started


def _is_void(store: RunStore) -> bool:
    try:
        return read_undo(store) is not None
    except UNREADABLE:  # it is there
        return True


def _marked(clients: Clients, env: str, table: TableRef) -> list[RunStore]:
    """Return the runs into the table that work, or are being undone."""
    marked = ((marker, run_of(marker)) for marker in markers(clients, env))
    stores = [(marker, RunStore(clients, env, run_id)) for marker, run_id in marked if run_id]
    return [store for marker, store in stores if _writes(store, marker, table)]


def _writes(store: RunStore, marker: Blob, table: TableRef) -> bool:
    """Return whether the marker's run writes the table, or may: nobody can read its plan."""
    try:
        plan = read_plan(store)
    except UNREADABLE:
        named = output_of(marker)
        return named is None or named.partition("$")[0] == str(table)
    return plan is not None and plan.output.table.base == table


def _moment(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)
