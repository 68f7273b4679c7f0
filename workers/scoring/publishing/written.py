"""What a run has written, and whether it can be undone: nothing is changed here.

A table that the run appended to can always be undone while its rows are there. One whose rows it
replaced must hold exactly what its load job wrote, and BigQuery must still keep the rows from
before (https://cloud.google.com/bigquery/docs/time-travel).
"""

from __future__ import annotations

import datetime as dt
import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mlsys.cloud.clients import TIMEOUT, Clients, bigquery_retry
from mlsys.cloud.messages import words_of
from mlsys.cloud.tables import TableRef, find_table
from mlsys.errors import Conflict
from workers.jobs import find_job
from workers.query import run, select
from workers.scoring.planning.destination import Destination
from workers.scoring.planning.partition_filter import any_partition, requires_filter
from workers.scoring.planning.partitioning import Partitioning
from workers.scoring.planning.plan import Plan
from workers.scoring.queries import Notes, select_for
from workers.scoring.records import Result
from workers.scoring.undone import Removal, Role
from workers.sql import statement, template

if TYPE_CHECKING:
    from google.cloud.bigquery import Table

log = logging.getLogger(__name__)

HOURS = 168  # of time travel, unless the dataset says less
NAMED = 3  # later runs that a refusal names
NOT_VOID = "(run_id IS NULL OR run_id NOT IN UNNEST(@void))"


@dataclass(frozen=True, slots=True)
class Written:
    """The rows of a run in one of its tables."""

    role: Role
    into: Destination
    rows: int
    job_id: str | None  # the load job that wrote them; None: it appended, and is not looked up
    created: str | None = None  # when the table was, if the run knows it

    @property
    def name(self) -> TableRef:
        """The table, without a partition."""
        return self.into.table.base

    def find(self, clients: Clients) -> Table | None:
        """Return the table, or None if it was deleted, or created again, since the run wrote it."""
        table = find_table(clients, self.name)
        created = None if table is None or table.created is None else table.created.isoformat()
        return table if self.created in (None, created) else None


def written_by(plan: Plan, result: Result) -> list[Written]:
    """Return the tables that the run has written: its output, its rejects and its challenger's."""
    out = Written("output", plan.output, result.rows, result.job_id, result.output_created)
    written = [out]
    if result.rejects_table is not None:
        written.append(Written("rejects", plan.rejects, result.rows_rejected, None))
    shadow = result.shadow
    if shadow is not None and shadow["job_id"] and plan.shadow and plan.shadow.plan:
        into = plan.shadow.plan.output
        written.append(Written("shadow", into, int(shadow["rows"]), shadow["job_id"]))
    return written


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
    job = _truncation(clients, plan, written, table)
    if job is None:
        own = _count(clients, plan, written, table, notes)["own"]
        if written.rows and not own and written.role == "output":
            raise _replaced(clients, plan, written, table)
        return replace(removal, rows_removed=own)
    earlier = _check_truncated(clients, plan, written, table, job, notes)
    return replace(removal, how="restore", rows_restored=earlier) if earlier else removal


def _truncation(clients: Clients, plan: Plan, written: Written, table: Table) -> Any:
    """Return the load job if it has replaced rows, or None: it appended, or created the table."""
    if written.into.write_disposition != "WRITE_TRUNCATE" or written.job_id is None:
        return None
    job = load_job(clients, plan, written)
    # A table that the job created has the job's time, to the millisecond.
    return None if table.created is not None and table.created >= job.started else job


def _check_truncated(
    clients: Clients,
    plan: Plan,
    written: Written,
    table: Table,
    job: Any,
    notes: Notes | None,
) -> int:
    """Return how many rows the load job replaced.

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

    def count(**how: Any) -> dict[str, int]:
        return _count(clients, plan, written, table, notes, **how)

    now = count(content=modified)
    if now["own"] != written.rows or now["total"] != written.rows:
        raise _replaced(clients, plan, written, table)
    try:
        if modified:
            after = job.ended + dt.timedelta(milliseconds=1)  # BigQuery's times have milliseconds
            if count(at=after, content=True) != now:
                raise _replaced(clients, plan, written, table)
        void = of_undone_runs(clients, plan)
        earlier = int(count(at=job.started, void=void)["total"])
    except refusals() as exc:
        log.info("%s cannot be read by time travel: %s", written.name, exc)
        raise too_late(plan, written, words_of(exc)) from exc
    by = Partitioning.of(table)
    if earlier and by is not None and by.column is None:
        raise Conflict(
            f"{written.name} is partitioned by ingestion time, and the {earlier:,} rows that "
            f"{plan.run_id} replaced cannot be put back into their partitions: copy "
            f"{written.name}@{int(job.started.timestamp() * 1000)} by bq cp, and remove the "
            f"run's rows by DELETE FROM `{written.name}` WHERE run_id = '{plan.run_id}'"
        )
    return earlier


def _count(
    clients: Clients,
    plan: Plan,
    written: Written,
    table: Table,
    notes: Notes | None,
    *,
    at: dt.datetime | None = None,
    content: bool = False,
    void: Any = None,
) -> dict[str, int]:
    """Count the rows of the table or partition, and the run's; `at` is an earlier time.

    `content` adds a checksum over all columns, which does not depend on the order. `void` leaves
    the rows of some runs out.
    """
    names = names_in(written, table)
    parameters = of_run(plan)
    if void is not None:
        names["inside"] += f" AND {NOT_VOID}"
        parameters.append(void)
    columns = ", ".join(f"written.`{field.name}`" for field in table.schema)
    checksum = f"BIT_XOR(FARM_FINGERPRINT(TO_JSON_STRING(STRUCT({columns}))))"
    moment = None if at is None else at.astimezone(dt.UTC)
    sql = template("count_written").substitute(
        names,
        content=checksum if content else "0",
        version=f"FOR SYSTEM_TIME AS OF TIMESTAMP '{moment:%Y-%m-%d %H:%M:%S.%f}+00'"
        if moment
        else "",
    )
    return dict(next(iter(select_for(notes, clients, sql, *parameters))).items())


def _replaced(clients: Clients, plan: Plan, written: Written, table: Table) -> Conflict:
    """Return the error for a table that does not hold what the run wrote."""
    names = names_in(written, table)
    sql = (
        f"SELECT run_id FROM `{written.name}` WHERE {names['inside']} AND run_id != @run_id "
        f"GROUP BY run_id ORDER BY MAX({names['at']}) DESC LIMIT {NAMED}"
    )
    others = [row["run_id"] for row in select(clients, sql, *of_run(plan)[:1])]
    whose = f": it has rows of {', '.join(others)}" if others else ""
    first = f" Undo {'them' if len(others) > 1 else 'it'} first." if others else ""
    return Conflict(
        f"{written.into.table} was changed since {plan.run_id} wrote its {written.rows:,} "
        f"rows{whose}. The run cannot be undone, and nothing was changed.{first} To remove what "
        f"is left of it: DELETE FROM `{written.name}` WHERE run_id = '{plan.run_id}'"
    )


def _age(job: Any) -> dt.timedelta:
    return dt.datetime.now(dt.UTC) - job.started


def load_job(clients: Clients, plan: Plan, written: Written) -> Any:
    """Return the load job that wrote the rows.

    Raises:
        Conflict: BigQuery does not know it any more, after six months.
    """
    job = find_job(clients, written.job_id or "", plan.location)
    if job is None or job.started is None:
        raise too_late(plan, written, "BigQuery has forgotten the run's load job")
    return job


def names_in(written: Written, table: Table) -> dict[str, str]:
    """Return what the templates call the table, the run's column and the conditions."""
    partition, by = written.into.table.partition, Partitioning.of(table)
    every = any_partition(table) if requires_filter(table) else "TRUE"
    inside = every if partition is None or by is None else by.condition(partition)
    return {"table": str(written.name), "at": written.into.day, "inside": inside, "filter": every}


def of_run(plan: Plan, rows: int | None = None) -> list[Any]:
    """Return the parameters that name the run's rows."""
    from google.cloud import bigquery

    at = dt.datetime.fromisoformat(plan.created_at)
    parameters = [
        bigquery.ScalarQueryParameter("run_id", "STRING", plan.run_id),
        bigquery.ScalarQueryParameter("at", "TIMESTAMP", at),
    ]
    if rows is not None:
        parameters.append(bigquery.ScalarQueryParameter("rows", "INT64", rows))
    return parameters


def of_undone_runs(clients: Clients, plan: Plan) -> Any:
    """Return the parameter of `NOT_VOID`: the table's runs that were undone before.

    Their rows do not return, although the run has replaced some of them.
    """
    from google.cloud import bigquery

    rows = run(
        clients,
        plan.request["env"],
        statement("undone_runs"),
        bigquery.ScalarQueryParameter("table", "STRING", str(plan.output.table.base)),
    )
    return bigquery.ArrayQueryParameter("void", "STRING", [row["run_id"] for row in rows])


def refusals() -> tuple[type[Exception], ...]:
    """Return BigQuery's refusals of a statement."""
    from google.api_core import exceptions

    return exceptions.BadRequest, exceptions.NotFound


def too_late(plan: Plan, written: Written, reason: str) -> Conflict:
    """Return the error for earlier rows that cannot be read any more."""
    return Conflict(
        f"The rows of {written.into.table} that {plan.run_id} replaced cannot be read any more "
        f"({reason}): the run cannot be undone, and nothing was changed. To remove its rows "
        f"without bringing the earlier ones back: DELETE FROM `{written.name}` WHERE run_id = "
        f"'{plan.run_id}'"
    )
