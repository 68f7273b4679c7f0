"""The input's rows, copied once by a query if the Storage Read API cannot read them.

It reads only tables, so the rows of a view are copied; and a table that has names beyond ASCII
letters, digits and underscores is copied under aliases (`needs_aliases` of `planning.columns`).
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable
from typing import Any

from mlsys.cloud.clients import Clients
from mlsys.cloud.messages import words_of
from mlsys.cloud.tables import TableRef, find_table
from mlsys.errors import SchemaMismatch, TableNotFound
from workers.jobs import finish, jobs_of, known_jobs, start_query
from workers.query import as_of, column_sql, dry_run, is_valid
from workers.scoring.planning.claims import check_done, claims_of
from workers.scoring.planning.locations import dataset_location
from workers.scoring.planning.new_rows import lacking_rows
from workers.scoring.planning.plan import Plan
from workers.scoring.shards.refusals import why_refused

log = logging.getLogger(__name__)

ROWS_LAST = dt.timedelta(days=7)


def materialize(
    clients: Clients, env: str, plan: Plan, stop: Callable[[], bool]
) -> tuple[TableRef, int, int]:
    """Have BigQuery copy the input's rows into a table of the run.

    Return the table, its number of rows, and the bytes that BigQuery charges for the query. The
    table is created once, in one step, and expires after ROWS_LAST.

    Raises:
        SchemaMismatch: the input cannot be queried, or lies in another location than the table.
        TableNotFound: the input table was deleted.
        Conflict, TryAgain: its snapshot cannot be read; see `why_refused`.
        RunInterrupted: `stop` returned True; the query continues, and the next try finds it.
    """
    from google.api_core import exceptions
    from google.cloud import bigquery

    table = copy_of(clients, env, plan)
    if plan.incremental is not None and plan.incremental.is_by_ids:
        check_done(claims_of(clients, env, plan), plan.incremental.after)
    lacking = lacking_of(clients, plan)  # afterwards: one of those runs may create the output
    expires = dt.datetime.now(dt.UTC) + ROWS_LAST
    sql = (
        f"CREATE TABLE IF NOT EXISTS `{table}`\n"
        f"OPTIONS (expiration_timestamp = TIMESTAMP '{expires:%Y-%m-%d %H:%M:%S}+00') AS\n"
        f"{rows_sql(plan, lacking=lacking)}"
    )
    location = _location(clients, plan)

    config = bigquery.QueryJobConfig(
        labels={"mlsys_model": plan.model.name, "mlsys_version": plan.model.version}
    )

    def start(job_id: str) -> Any:
        return start_query(clients, sql, config, job_id, location)

    jobs = jobs_of(clients, _stem(plan), location, start)
    job: Any = None
    repeated = False
    while True:
        try:
            job = next(jobs)
            finish(job, stop)
        except exceptions.Conflict:
            pass  # an earlier job created the table just before this one
        except (exceptions.BadRequest, exceptions.NotFound) as exc:
            refused = _refused(clients, plan, exc)
            if refused is None and not repeated:
                # Its snapshot became readable since, or it fails as it runs.
                jobs, repeated = jobs_of(clients, _stem(plan), location, start), True
                continue
            raise (refused or _not_copied(plan, exc)) from exc
        copy = find_table(clients, table)
        if copy is not None:
            return table, copy.num_rows or 0, getattr(job, "total_bytes_billed", None) or 0


def bytes_copied(clients: Clients, plan: Plan) -> int:
    """Return what BigQuery charged for copying the rows, as far as it tells."""
    from google.api_core.exceptions import GoogleAPICallError

    if not plan.is_copied:
        return 0
    try:
        jobs = known_jobs(clients, _stem(plan), _location(clients, plan))
        return sum(job.total_bytes_billed or 0 for job in jobs)
    except GoogleAPICallError as exc:  # a cost that is not known stops no run
        about = {"run_id": plan.run_id}
        log.warning("What the copy was charged for is not known: %s", exc, extra=about)
        return 0


def _stem(plan: Plan) -> str:
    return f"{plan.job_stem}_V"


def _location(clients: Clients, plan: Plan) -> str:
    return dataset_location(clients, f"{plan.input_table.project}.{plan.input_table.dataset}")


def copy_of(clients: Clients, env: str, plan: Plan) -> TableRef:
    """Return the table of the run that the input's rows are copied to."""
    project, dataset = clients.settings.dataset(env).rsplit(".", 1)
    return TableRef(project, dataset, f"view_rows_{plan.run_id}_{plan.token}")


def rows_sql(
    plan: Plan, *, where: bool = True, snapshot: bool = True, lacking: str | None = None
) -> str:
    """Return the query whose rows are copied.

    All columns of a view without aliases are copied if the request has a filter: it is applied as
    the rows are read, and may name any column. `lacking` is the condition for the rows of a run by
    ids.
    """
    source = plan.input_table.base
    if plan.aliased:
        columns = ", ".join(
            f"{column_sql(source, name)} AS {alias}" for alias, name in plan.aliases.items()
        )
    elif plan.restriction:
        columns = "*"
    else:
        columns = ", ".join(column_sql(source, name) for name in plan.read_columns)
    # The alias is the table's implicit one, which the local BigQuery loses at a snapshot.
    sql = f"SELECT {columns} FROM `{source}` AS `{source.table}`"
    if snapshot and not plan.is_query:
        sql += as_of(dt.datetime.fromisoformat(plan.snapshot_at))
    restriction = plan.restriction if where and plan.aliased else None
    if conditions := [text for text in (restriction, lacking) if text]:
        sql += " WHERE " + " AND ".join(f"(\n{text}\n)" for text in conditions)
    return sql


def lacking_of(clients: Clients, plan: Plan) -> str | None:
    """Return the condition for the rows of a run by ids; None: every row of the restriction."""
    by_ids = plan.incremental is not None and plan.incremental.is_by_ids
    return lacking_rows(clients, plan) if by_ids else None


def check_rows(clients: Clients, plan: Plan) -> None:
    """Have BigQuery validate the query whose rows would be copied, without running it.

    Raises:
        SchemaMismatch, TableNotFound, Conflict, TryAgain: as `materialize`.
    """
    from google.api_core.exceptions import BadRequest, NotFound

    try:
        dry_run(clients, rows_sql(plan, lacking=lacking_of(clients, plan)))
    except (BadRequest, NotFound) as exc:
        if (refused := _refused(clients, plan, exc)) is not None:
            raise refused from exc


def _refused(clients: Clients, plan: Plan, exc: Any) -> Exception | None:
    """Return the error for a refused query of the input; None if BigQuery accepts it now."""
    from google.api_core.exceptions import NotFound

    def works(*, where: bool, snapshot: bool) -> bool:
        return is_valid(clients, rows_sql(plan, where=where, snapshot=snapshot))

    if isinstance(exc, NotFound) and not plan.is_query:
        return TableNotFound(f"The input table {plan.input_table} was deleted: pass another one")
    if plan.is_query:
        return _not_copied(plan, exc)
    return None if works(where=True, snapshot=True) else why_refused(clients, plan, exc, works)


def _not_copied(plan: Plan, exc: Any) -> SchemaMismatch:
    """Return the error for a query that is valid and fails as it runs."""
    log.warning("The rows were not copied: %s", exc, extra={"run_id": plan.run_id})
    return SchemaMismatch(
        f"BigQuery could not copy the rows of {plan.input_table} ({words_of(exc)}): run its "
        "query by hand to see why."
    )
