"""Whether what a run has written can be undone: nothing is changed here.

A table that the run appended to can always be undone while its rows are there. One whose rows it
replaced must hold exactly what its load job wrote, and BigQuery must still keep the rows from
before (https://cloud.google.com/bigquery/docs/time-travel).
"""

from __future__ import annotations

import datetime as dt
import logging
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from mlsys.cloud.clients import TIMEOUT, Clients, bigquery_retry
from mlsys.cloud.messages import words_of
from mlsys.errors import Conflict
from mlsys.plural import plural
from workers.query import as_of, select
from workers.scoring.journal.queries import Notes, select_for
from workers.scoring.journal.store import RunStore
from workers.scoring.journal.undone import Removal, read_undo
from workers.scoring.planning.partitioning import Partitioning
from workers.scoring.planning.plan import Plan
from workers.scoring.publishing.replaced import (
    MILLISECOND,
    created_by,
    has_restored,
    replaced_at,
    void_runs,
)
from workers.scoring.publishing.written import (
    Written,
    count,
    load_job,
    names_in,
    of_run,
    refusals,
    too_late,
)

if TYPE_CHECKING:
    from google.cloud.bigquery import Table

log = logging.getLogger(__name__)

HOURS = 168  # of time travel, unless the dataset says less
NAMED = 3  # later runs that a refusal names


def check_removal(
    clients: Clients, plan: Plan, written: Written, notes: Notes | None = None
) -> Removal | None:
    """Return what undoing the run would do to the table; None if its rows were in a deleted table.

    Its queries are noted in `notes`.

    Raises:
        Conflict: others have written to the table since, or the rows that it replaced cannot be
            read any more.
    """
    table = written.find(clients)
    if table is None:
        if written.role != "output":
            return None
        raise Conflict(
            f"{written.name} was deleted, or created again, since {plan.run_id} wrote its rows: "
            "there is nothing to undo"
        )
    try:
        return _checked(clients, plan, written, table, notes)
    except refusals() as exc:
        raise Conflict(
            f"The rows of {plan.run_id} cannot be looked for in {written.name} ({words_of(exc)}): "
            "its columns were changed since. Remove its rows by hand."
        ) from exc


def _checked(
    clients: Clients, plan: Plan, written: Written, table: Table, notes: Notes | None
) -> Removal:
    removal = Removal(str(written.into.table), written.role, "delete", written.rows)
    job = _truncation(clients, plan, written, table, notes)
    if job is None:
        own = count(clients, plan, written, table, notes)["own"]
        if written.rows and not own and written.role == "output":
            raise _gone(clients, plan, written, table)
        return replace(removal, rows_removed=own)
    earlier, at = _check_truncated(clients, plan, written, table, job, notes)
    if not earlier:
        return removal
    return replace(removal, how="restore", rows_restored=earlier, as_of=at.isoformat())


def _truncation(
    clients: Clients, plan: Plan, written: Written, table: Table, notes: Notes | None
) -> Any:
    """Return the load job if it has replaced rows, or None: it appended, or created the table."""
    if written.into.write_disposition != "WRITE_TRUNCATE" or written.job_id is None:
        return None
    job = load_job(clients, plan, written)
    counted = partial(count, clients, plan, written, table, notes)
    return None if created_by(clients, plan, job, table, counted) else job


def _check_truncated(
    clients: Clients,
    plan: Plan,
    written: Written,
    table: Table,
    job: Any,
    notes: Notes | None,
) -> tuple[int, dt.datetime]:
    """Return how many rows the load job replaced, and the moment of time travel that has them.

    Raises:
        Conflict: the table does not hold what the job wrote, or time travel does not reach.
    """
    dataset = clients.bigquery.get_dataset(
        f"{written.name.project}.{written.name.dataset}", timeout=TIMEOUT, retry=bigquery_retry()
    )
    hours = int(dataset.max_time_travel_hours or HOURS)
    if _age(job) > dt.timedelta(hours=hours):
        raise too_late(plan, written, f"BigQuery keeps the table's versions for {hours} hours")
    modified = table.modified is None or table.modified > job.ended
    counted = partial(count, clients, plan, written, table, notes)
    now = counted(content=modified)
    if now["own"] != written.rows or now["total"] != written.rows:
        raise _replaced(clients, plan, written, table)
    try:
        if modified:
            after = job.ended + MILLISECOND
            if counted(at=after, content=True) != now:
                raise _replaced(clients, plan, written, table)
        void = void_runs(clients, plan)
        # A run without rows does not show when its job took effect.
        at = replaced_at(clients, plan, job, table, counted) if written.rows else job.started
        earlier = counted(at=at, void=void)["total"]
        _check_undone(clients, plan, written, table, at, void, notes)
    except refusals() as exc:
        log.info("%s cannot be read by time travel: %s", written.name, exc)
        raise too_late(plan, written, words_of(exc)) from exc
    by = Partitioning.of(table)
    if earlier and by is not None and by.column is None:
        raise Conflict(
            f"{written.name} is partitioned by ingestion time, and the {plural(earlier, 'row')} "
            f"that {plan.run_id} replaced cannot be put back into their partitions: copy "
            f"{written.name}@{int(job.started.timestamp() * 1000)} by bq cp, and remove the "
            f"run's rows by DELETE FROM `{written.name}` WHERE run_id = '{plan.run_id}'"
        )
    return earlier, at


def _check_undone(
    clients: Clients,
    plan: Plan,
    written: Written,
    table: Table,
    at: dt.datetime,
    void: Any,
    notes: Notes | None,
) -> None:
    """Check that the run has not replaced rows of one that was being undone, as its rows returned.

    Raises:
        Conflict: it has, and the rows before both of them would be lost.
    """
    if not void.values:
        return
    sql = (
        f"SELECT run_id FROM `{written.name}` {as_of(at)} "
        f"WHERE {names_in(written, table)['inside']} AND run_id IN UNNEST(@void) GROUP BY run_id"
    )
    for row in select_for(notes, clients, sql, void):
        undo = read_undo(RunStore(clients, plan.request["env"], row["run_id"]))
        if has_restored(undo, written.name):
            raise Conflict(
                f"{plan.run_id} replaced the rows of {row['run_id']} while that run was being "
                f"undone: the rows before both runs would not return. {plan.run_id} cannot be "
                "undone, and nothing was changed. To remove its rows without bringing the earlier "
                f"ones back: DELETE FROM `{written.name}` WHERE run_id = '{plan.run_id}'"
            )


def _gone(clients: Clients, plan: Plan, written: Written, table: Table) -> Conflict:
    """Return the error for appended rows that others have removed from the table."""
    later = _others(clients, plan, written, table, f"{names_in(written, table)['at']} > @at")
    instead = f", which has rows of {', '.join(later)}" if later else ""
    back = " If one of these runs replaced them, they return once it is undone." if later else ""
    return Conflict(
        f"None of the {written.rows:,} rows that {plan.run_id} wrote is left in "
        f"{written.into.table}{instead}: others have deleted or replaced them. There is nothing to "
        f"undo, and nothing was changed.{back}"
    )


def _others(
    clients: Clients, plan: Plan, written: Written, table: Table, condition: str = "TRUE"
) -> list[str]:
    """Return other runs with rows in the table or partition, the latest first."""
    names = names_in(written, table)
    sql = (
        f"SELECT run_id FROM `{written.name}` WHERE {names['inside']} AND {condition} "
        f"AND run_id != @run_id GROUP BY run_id ORDER BY MAX({names['at']}) DESC LIMIT {NAMED}"
    )
    parameters = of_run(plan) if "@at" in condition else of_run(plan)[:1]
    return [row["run_id"] for row in select(clients, sql, *parameters)]


def _replaced(clients: Clients, plan: Plan, written: Written, table: Table) -> Conflict:
    """Return the error for a table that does not hold what the run wrote."""
    others = _others(clients, plan, written, table)
    whose = f": it has rows of {', '.join(others)}" if others else ""
    first = f" Undo {'them' if len(others) > 1 else 'it'} first." if others else ""
    return Conflict(
        f"{written.into.table} was changed since {plan.run_id} wrote its {written.rows:,} "
        f"rows{whose}. The run cannot be undone, and nothing was changed.{first} To remove what "
        f"is left of it: DELETE FROM `{written.name}` WHERE run_id = '{plan.run_id}'"
    )


def _age(job: Any) -> dt.timedelta:
    return dt.datetime.now(dt.UTC) - job.started
