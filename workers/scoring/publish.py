"""Publish a run: one load job over its parts, with an id that follows from the run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mlsys.bq import find_table
from mlsys.clients import TIMEOUT, Clients, bigquery_retry
from mlsys.errors import Conflict, RunInterrupted, SchemaMismatch, TryAgain
from workers.scoring.plan import Plan

if TYPE_CHECKING:
    from google.cloud.bigquery import LoadJob, Table

log = logging.getLogger(__name__)

MAX_TRIES = 100
POLL = 0.5  # seconds


def publish(
    clients: Clients,
    plan: Plan,
    uris: Sequence[str],
    rows: int,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[LoadJob, Table]:
    """Load the parts at `uris` into the output table, once; return the job and the table.

    BigQuery applies a load job in one atomic step as it completes, and takes a job id only once.
    The ids are `mlsys_{run_id}_0`, `_1`, ...: the first one that did not fail is the run's, found
    by looking from 0 up, so a second publisher joins the first one's job. A job that succeeded
    before the output table was made anew does not count: its rows went with the old table.

    Raises:
        SchemaMismatch: the parts do not fit the table as it is now.
        Conflict: WRITE_EMPTY, and somebody filled the table in the meantime.
        RunInterrupted: `stop` said so while the job was running; the next try finds it.
        TryAgain: the load failed for another reason; nothing was published.
    """
    for k in range(MAX_TRIES):
        job_id = f"mlsys_{plan.run_id}_{k}"
        job = _find_job(clients, plan, job_id)
        if job is not None and job.state == "DONE" and job.error_result is not None:
            continue  # an earlier try that failed, and published nothing
        job = job or _start_job(clients, plan, job_id, uris)
        _finish(job, plan, stop)
        table = find_table(clients, plan.output_table)
        if table is None or (table.created and job.ended and table.created > job.ended):
            continue
        # No `!=`: bqemulator gives the rows of the whole table, and a job loads no more than all.
        if (job.output_rows or 0) < rows:
            raise TryAgain(f"{job_id} loaded {job.output_rows} rows where the parts hold {rows}")
        return job, table
    raise TryAgain(f"{MAX_TRIES} load jobs of {plan.run_id} failed")


def _find_job(clients: Clients, plan: Plan, job_id: str) -> Any:
    from google.api_core.exceptions import NotFound

    try:
        # Without its location a job outside the US and EU is not found:
        # https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs/get
        return clients.bigquery.get_job(
            job_id, location=plan.location, timeout=TIMEOUT, retry=bigquery_retry()
        )
    except NotFound:
        return None


def _start_job(clients: Clients, plan: Plan, job_id: str, uris: Sequence[str]) -> LoadJob:
    from google.api_core import exceptions
    from google.cloud import bigquery

    config = bigquery.LoadJobConfig(
        source_format=bigquery.SourceFormat.PARQUET,
        schema=[bigquery.SchemaField.from_api_repr(dict(f)) for f in plan.output_schema],
        write_disposition=plan.write_disposition,
        labels={"mlsys_model": plan.model.name, "mlsys_version": plan.model.version},
    )
    if not plan.output_exists:
        config.time_partitioning = bigquery.TimePartitioning(field="predicted_at")
        config.clustering_fields = ["model_name"]
    try:
        return clients.bigquery.load_table_from_uri(
            list(uris),
            str(plan.output_table),
            job_id=job_id,
            location=plan.location,
            job_config=config,
            timeout=TIMEOUT,
            retry=bigquery_retry(),
        )
    except exceptions.Conflict:  # a twin, or our own request whose answer was lost
        job = _find_job(clients, plan, job_id)
        if job is None:
            raise TryAgain(f"{job_id} exists and cannot be read yet") from None
        return job
    except exceptions.BadRequest as exc:
        raise _refused(exc, plan) from exc


def _finish(job: LoadJob, plan: Plan, stop: Callable[[], bool]) -> None:
    """Wait until the job is done, or `stop` says so: BigQuery goes on with it by itself."""
    from google.api_core import exceptions

    try:
        while not job.done(timeout=TIMEOUT, retry=bigquery_retry()):
            if stop():
                raise RunInterrupted(f"The load job {job.job_id} is running")
            time.sleep(POLL)
        job.result(timeout=TIMEOUT, retry=bigquery_retry())
    except (exceptions.BadRequest, exceptions.Conflict) as exc:
        raise _refused(exc, plan) from exc


def _refused(exc: Exception, plan: Plan) -> Exception:
    """What a refusal of the load means to the caller."""
    from google.api_core import exceptions

    log.warning("The load was refused: %s", exc, extra={"run_id": plan.run_id})
    # BigQuery calls it a duplicate, a 409
    # (https://cloud.google.com/bigquery/docs/reference/rest/v2/Job#JobConfigurationLoad);
    # bqemulator a bad request that only its text tells from others.
    filled = isinstance(exc, exceptions.Conflict) or "not empty" in str(exc).lower()
    if plan.write_disposition == "WRITE_EMPTY" and filled:
        return Conflict(f"{plan.output_table} has rows by now, and WRITE_EMPTY refuses that")
    return SchemaMismatch(
        f"BigQuery refused to load the rows into {plan.output_table}: its schema has changed "
        "since the run was planned, or cannot be replaced. Pass another output_table."
    )
