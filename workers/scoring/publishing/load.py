"""Publish a run: one load job over its parts, with an id that follows from the run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mlsys.cloud.clients import TIMEOUT, Clients, bigquery_retry
from mlsys.cloud.messages import words_of
from mlsys.cloud.tables import find_table
from mlsys.errors import Conflict, SchemaMismatch, TableNotFound
from mlsys.plural import plural
from workers.jobs import finish, jobs_of
from workers.scoring.planning.destination import Destination
from workers.scoring.planning.plan import Plan

if TYPE_CHECKING:
    from google.cloud.bigquery import LoadJob, Table

log = logging.getLogger(__name__)


def publish_output(
    clients: Clients, plan: Plan, uris: Sequence[str], rows: int, stop: Callable[[], bool]
) -> tuple[LoadJob, Table]:
    """Load the parts at `uris` into the output table; see `load_once`."""
    return load_once(clients, plan, plan.output, f"{plan.job_stem}_", uris, rows, stop)


def publish_rejects(
    clients: Clients, plan: Plan, uris: Sequence[str], rows: int, stop: Callable[[], bool]
) -> tuple[LoadJob, Table]:
    """Load the rejects at `uris` into their table; see `load_once`."""
    return load_once(clients, plan, plan.rejects, f"{plan.job_stem}_R", uris, rows, stop)


def load_once(
    clients: Clients,
    plan: Plan,
    into: Destination,
    stem: str,
    uris: Sequence[str],
    rows: int,
    stop: Callable[[], bool],
) -> tuple[LoadJob, Table]:
    """Load the Parquet files at `uris`, once; return the job and the table.

    BigQuery applies a load job in one atomic step as it completes, and takes a job id only once. A
    job that succeeded before the table was re-created does not count: its rows were in the old
    table.

    Raises:
        SchemaMismatch: the files do not fit the table's current schema.
        Conflict: WRITE_EMPTY, and the table got rows in the meantime; or the job loaded
            fewer rows than the files hold.
        RunInterrupted: `stop` returned True while the job was running; the next try finds it.
        TryAgain: see `jobs_of`.
    """
    from google.api_core import exceptions

    def start(job_id: str) -> LoadJob:
        return _start(clients, plan, into, job_id, uris)

    jobs = jobs_of(clients, stem, plan.location, start)
    while True:
        try:
            job = next(jobs)
            finish(job, stop)
        except (exceptions.BadRequest, exceptions.Conflict, exceptions.NotFound) as exc:
            raise _refused(exc, plan, into) from exc
        table = find_table(clients, into.table)
        if table is None or (table.created and job.ended and table.created > job.ended):
            continue
        if (job.output_rows or 0) != rows:
            raise Conflict(
                f"{job.job_id} loaded {plural(job.output_rows or 0, 'row')} into {into.table}, "
                "and the run has "
                f"{rows}: remove the rows of {plan.run_id} and pass a run_id of your own"
            )
        return job, table


def load_times(step: str, job: LoadJob) -> dict[str, Any]:
    """Return when BigQuery took a load job, began it, and ended it, as a member of the result."""
    times = {"created_at": job.created, "started_at": job.started, "ended_at": job.ended}
    return {"step": step, "job_id": job.job_id} | {
        name: None if at is None else at.isoformat() for name, at in times.items()
    }


def written_at(job: LoadJob, table: Table) -> str | None:
    """Return when the job wrote to the table; None if others have changed it since.

    A run by ids is what its request means as long as the table is as it left it.
    """
    at = table.modified
    return None if at is None or job.ended is None or at > job.ended else at.isoformat()


def job_disposition(into: Destination) -> str:
    """Return the write disposition of the load job.

    A run writes an existing table with that table's own schema, so only its rows are replaced:
    WRITE_TRUNCATE_DATA "keeps the constraints and schema of the existing table", and row access
    policies too. WRITE_TRUNCATE drops them, and would replace a schema that has changed since the
    run was planned (https://cloud.google.com/bigquery/docs/reference/rest/v2/Job#JobConfigurationLoad).
    In a partition WRITE_TRUNCATE keeps the table's schema, and is what the documentation names.
    """
    if into.write_disposition == "WRITE_TRUNCATE" and into.exists and into.table.partition is None:
        return "WRITE_TRUNCATE_DATA"
    return into.write_disposition


def _start(
    clients: Clients, plan: Plan, into: Destination, job_id: str, uris: Sequence[str]
) -> LoadJob:
    from google.cloud import bigquery

    config = bigquery.LoadJobConfig(
        source_format=bigquery.SourceFormat.PARQUET,
        schema=[bigquery.SchemaField.from_api_repr(dict(f)) for f in into.schema],
        write_disposition=job_disposition(into),
        column_name_character_map="STRICT",  # else a project's setting may rename columns
        labels=_labels(plan),
    )
    if not into.exists:
        layout = into.layout or {"timePartitioning": {"type": "DAY", "field": into.day}}
        if by_time := layout.get("timePartitioning"):
            config.time_partitioning = bigquery.TimePartitioning.from_api_repr(by_time)
        else:
            by_range = dict(layout["rangePartitioning"])
            config.range_partitioning = bigquery.RangePartitioning(_properties=by_range)
        config.clustering_fields = ["model_name"]
    return clients.bigquery.load_table_from_uri(
        list(uris),
        str(into.table),
        job_id=job_id,
        location=plan.location,
        job_config=config,
        timeout=TIMEOUT,
        retry=bigquery_retry(),
    )


def _labels(plan: Plan) -> dict[str, str]:
    """Return the job's labels; names of models and aliases are valid values."""
    labels = {"mlsys_model": plan.model.name, "mlsys_version": plan.model.version}
    return labels | ({"mlsys_alias": plan.model.alias} if plan.model.alias else {})


def _refused(exc: Exception, plan: Plan, into: Destination) -> Exception:
    """Return the error for a refused load."""
    from google.api_core import exceptions

    log.warning("The load was refused: %s", exc, extra={"run_id": plan.run_id})
    # BigQuery calls it a duplicate, a 409
    # (https://cloud.google.com/bigquery/docs/reference/rest/v2/Job#JobConfigurationLoad);
    # bqemulator a bad request that only its text identifies.
    filled = isinstance(exc, exceptions.Conflict) or "not empty" in str(exc).lower()
    if into.write_disposition == "WRITE_EMPTY" and filled:
        return Conflict(
            f"{into.table} has rows now, and write_disposition is WRITE_EMPTY: pass another "
            "output_table, WRITE_APPEND or WRITE_TRUNCATE"
        )
    # Rows of another partition have no code of their own, only BigQuery's generic `invalid`.
    if into.table.partition is not None and "different partition" in str(exc).lower():
        return SchemaMismatch(
            f"Some of the run's rows belong to another partition than {into.table}: nothing was "
            "published. Score only the rows of this partition with where, or pass the output_table "
            "without the $, which takes the rows of all partitions."
        )
    if isinstance(exc, exceptions.NotFound):
        return TableNotFound(
            f"The dataset of {into.table}, or a file to load into it, was deleted: create the "
            "dataset again, or pass another output_table"
        )
    return SchemaMismatch(
        f"BigQuery refused to load the rows into {into.table} ({words_of(exc)}): its schema has "
        "changed since the run was planned, or its dataset lies elsewhere than the runs bucket. "
        "Pass another output_table."
    )
