"""Take the rows of a run out of a table again, and put back those that they replaced.

Appended rows are deleted by their `run_id`. What WRITE_TRUNCATE replaced is read by time travel, as
it was when the run's load job began, and copied; one MERGE then deletes the run's rows and inserts
the copy. A DML statement cannot read an earlier version of the table that it changes
(https://cloud.google.com/bigquery/docs/reference/standard-sql/query-syntax#for_system_time_as_of),
hence the copy. Rows of others are never removed, whenever they came.
"""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mlsys.cloud.clients import TIMEOUT, Clients
from mlsys.cloud.messages import words_of
from mlsys.cloud.tables import TableRef, find_table
from mlsys.errors import TryAgain
from workers.jobs import finish, jobs_of, known_jobs, start_query
from workers.query import as_of, is_dml_conflict
from workers.scoring.journal.undone import Removal
from workers.scoring.planning.plan import Plan
from workers.scoring.publishing.replaced import NOT_VOID, void_runs
from workers.scoring.publishing.written import (
    Written,
    load_job,
    names_in,
    of_run,
    refusals,
    too_late,
)
from workers.sql import template

if TYPE_CHECKING:
    from google.cloud.bigquery import Table

log = logging.getLogger(__name__)

COPY_LASTS = dt.timedelta(days=7)
LETTERS = "DBM"  # of the ids of jobs: delete rows, copy the earlier ones, and bring them back
PAUSE = 2.0  # seconds after a conflict with another statement


def remove(
    clients: Clients, plan: Plan, written: Written, removal: Removal, stop: Callable[[], bool]
) -> Removal:
    """Do it, once, however often it is called; return what was done.

    Nothing is left to do in a table that was deleted or created again. If others have replaced the
    run's rows since it was decided, the earlier rows do not return, and their copy is kept.

    Raises:
        Conflict: the earlier rows cannot be read any more.
        RunInterrupted: `stop` returned True; the next call goes on.
        TryAgain: others kept changing the table.
    """
    table = written.find(clients)
    if table is None:
        return replace(removal, rows_removed=0, rows_restored=0)
    names = names_in(written, table)
    if removal.how == "delete":
        sql = template("remove_rows").substitute(names)
        job = _run(clients, plan, _stem(plan, written, "D"), sql, of_run(plan), stop)
        return replace(removal, rows_removed=job.num_dml_affected_rows or 0)
    at = removal.as_of  # None: another release has decided
    moment = dt.datetime.fromisoformat(at) if at else load_job(clients, plan, written).started
    copy = _copy(clients, plan, written, table, moment, stop)
    earlier = {field.name for field in copy.schema} if copy is not None else set()
    columns = [f"`{field.name}`" for field in table.schema if field.name in earlier or not earlier]
    names |= {
        "copy": _copy_of(plan, written),
        "columns": ", ".join(columns),
        "values": ", ".join(f"earlier.{column}" for column in columns),
    }
    sql = template("restore_rows").substitute(names)
    job = _run(clients, plan, _stem(plan, written, "M"), sql, of_run(plan, written.rows), stop)
    changed = job.num_dml_affected_rows or 0
    if changed != removal.rows_removed + removal.rows_restored:
        log.warning("%s: others have written to %s meanwhile", plan.run_id, written.name)
        stats = job.dml_stats  # which the local BigQuery does not have
        gone = min(changed, removal.rows_removed) if stats is None else stats.deleted_row_count
        removal = replace(removal, rows_removed=gone, rows_restored=changed - gone)
        if not removal.rows_restored and copy is not None and copy.num_rows:
            return replace(removal, copy=names["copy"])
    clients.bigquery.delete_table(names["copy"], not_found_ok=True, timeout=TIMEOUT)
    return removal


def bytes_of_removal(clients: Clients, plan: Plan, written: Written) -> int:
    """Return what BigQuery charged for the statements of `remove`, those of killed calls too."""
    stems = (_stem(plan, written, letter) for letter in LETTERS)
    jobs = (job for stem in stems for job in known_jobs(clients, stem, plan.location))
    return sum(job.total_bytes_billed or 0 for job in jobs)


def _stem(plan: Plan, written: Written, letter: str) -> str:
    """Return what the ids of a statement's jobs begin with."""
    return f"{plan.job_stem}_{letter}{written.role[0].upper()}"


def _copy_of(plan: Plan, written: Written) -> str:
    """Return the table that the earlier rows are copied to, beside the one they were in."""
    name = written.name
    return f"{name.project}.{name.dataset}.undo_{written.role}_{plan.run_id}_{plan.token}"


def _copy(
    clients: Clients,
    plan: Plan,
    written: Written,
    table: Table,
    moment: dt.datetime,
    stop: Callable[[], bool],
) -> Table | None:
    """Copy the rows that the run has replaced, and return the copy; None if it was used already."""
    name = TableRef.parse(_copy_of(plan, written))
    expires = dt.datetime.now(dt.UTC) + COPY_LASTS
    sql = (
        f"CREATE TABLE IF NOT EXISTS `{name}`\n"
        f"OPTIONS (expiration_timestamp = TIMESTAMP '{expires:%Y-%m-%d %H:%M:%S}+00') AS\n"
        f"SELECT * FROM `{written.name}` AS `{written.name.table}`{as_of(moment)}\n"
        f"WHERE {names_in(written, table)['inside']} AND {NOT_VOID}"
    )
    try:
        void = [void_runs(clients, plan)]
        _run(clients, plan, _stem(plan, written, "B"), sql, void, stop)
    except refusals() as exc:
        raise too_late(plan, written, words_of(exc)) from exc
    return find_table(clients, name)


def _run(
    clients: Clients,
    plan: Plan,
    stem: str,
    sql: str,
    parameters: list[Any],
    stop: Callable[[], bool],
) -> Any:
    """Run a statement once, under a job id that follows from the run, and return its job."""
    from google.api_core.exceptions import BadRequest
    from google.cloud import bigquery

    config = bigquery.QueryJobConfig(
        query_parameters=parameters,
        labels={"mlsys_model": plan.model.name, "mlsys_version": plan.model.version},
    )

    def start(job_id: str) -> Any:
        return start_query(clients, sql, config, job_id, plan.location)

    for job in jobs_of(clients, stem, plan.location, start):
        try:
            finish(job, stop)
            return job
        except BadRequest as exc:
            if not is_dml_conflict(exc):
                raise
            time.sleep(PAUSE)
    raise TryAgain(f"{plan.run_id} cannot be undone just now: try again")
