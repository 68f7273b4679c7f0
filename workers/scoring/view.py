"""The rows of a view, written down once, for the Storage Read API reads tables alone."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable
from typing import Any

from mlsys.bq import TableRef, find_table
from mlsys.clients import TIMEOUT, Clients, bigquery_retry
from mlsys.errors import SchemaMismatch
from workers.scoring.jobs import finish, jobs_of
from workers.scoring.plan import Plan

log = logging.getLogger(__name__)

ROWS_LAST = dt.timedelta(days=7)


def write_down(
    clients: Clients, env: str, plan: Plan, stop: Callable[[], bool]
) -> tuple[TableRef, int]:
    """Have BigQuery write a view's rows into a table of the run; return it and its rows.

    The table is made once, in one step, and goes by itself after ROWS_LAST.

    Raises:
        SchemaMismatch: the view cannot be queried, or lies in another location than the table.
        RunInterrupted: `stop` said so; the query goes on, and the next try finds it.
    """
    from google.api_core import exceptions
    from google.cloud import bigquery

    project, dataset = clients.settings.dataset(env).rsplit(".", 1)
    table = TableRef(project, dataset, f"view_rows_{plan.run_id}_{plan.token}")
    # A filter is applied as the rows are read, and may name any column.
    columns = "*" if plan.where else ", ".join(f"`{name}`" for name in plan.read_columns)
    expires = dt.datetime.now(dt.UTC) + ROWS_LAST
    sql = (
        f"CREATE TABLE IF NOT EXISTS `{table}`\n"
        f"OPTIONS (expiration_timestamp = TIMESTAMP '{expires:%Y-%m-%d %H:%M:%S}+00') AS\n"
        f"SELECT {columns} FROM `{plan.input_table}`"
    )
    location = _location(clients, plan.input_table)

    def start(job_id: str) -> Any:
        return clients.bigquery.query(
            sql,
            job_config=bigquery.QueryJobConfig(
                labels={"mlsys_model": plan.model.name, "mlsys_version": plan.model.version}
            ),
            job_id=job_id,
            location=location,
            job_retry=None,  # a job id can be used but once
            timeout=TIMEOUT,
            retry=bigquery_retry(),
        )

    jobs = jobs_of(clients, f"{plan.job_stem}_V", location, start)
    while True:
        try:
            finish(next(jobs), stop)
        except exceptions.Conflict:
            pass  # an earlier job made the table as this one was about to
        except (exceptions.BadRequest, exceptions.NotFound) as exc:
            log.warning("The view was not written down: %s", exc, extra={"run_id": plan.run_id})
            raise SchemaMismatch(
                f"BigQuery could not write the rows of {plan.input_table} into {table}: run its "
                f"query by hand to see why. Both must be in one location; this one is {location}."
            ) from exc
        found = find_table(clients, table)
        if found is not None:
            return table, found.num_rows or 0


def _location(clients: Clients, table: TableRef) -> str:
    name = f"{table.project}.{table.dataset}"
    return clients.bigquery.get_dataset(name, timeout=TIMEOUT, retry=bigquery_retry()).location
