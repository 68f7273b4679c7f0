"""What a run has written: its tables, its load jobs, and how many of its rows are where."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlsys.cloud.clients import Clients
from mlsys.cloud.tables import TableRef, find_table
from mlsys.errors import Conflict
from workers.jobs import find_job
from workers.query import as_of
from workers.scoring.journal.outcomes import Result
from workers.scoring.journal.queries import Notes, select_for
from workers.scoring.journal.undone import Role
from workers.scoring.planning.destination import Destination
from workers.scoring.planning.partition_filter import any_partition, requires_filter
from workers.scoring.planning.partitioning import Partitioning
from workers.scoring.planning.plan import Plan
from workers.scoring.publishing.replaced import NOT_VOID
from workers.sql import template

if TYPE_CHECKING:
    from google.cloud.bigquery import Table


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


def count(
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
    sql = template("count_written").substitute(
        names,
        content=checksum if content else "0",
        version="" if at is None else as_of(at),
    )
    return dict(next(iter(select_for(notes, clients, sql, *parameters))).items())


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
