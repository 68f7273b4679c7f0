"""BigQuery jobs that run once, however often they are requested: their ids follow from the run.

BigQuery takes a job id only once
(https://googleapis.dev/python/bigquery/latest/design/query-retries.html). The ids of a job are its
stem and 0, 1, ...: the first one that did not fail is the job, found by looking from 0 up, so
a concurrent or later request joins it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from mlsys.cloud.clients import TIMEOUT, Clients, bigquery_retry
from mlsys.errors import RunWaiting, TryAgain

MAX_TRIES = 100
POLL = 0.5  # seconds


def jobs_of(
    clients: Clients, stem: str, location: str, start: Callable[[str], Any]
) -> Iterator[Any]:
    """Yield the job that runs or has succeeded under the first id that did not fail.

    If every id so far has failed, `start` is called with the next one. A caller for whom a job does
    not count (any more) takes the next job.

    Raises:
        TryAgain: a concurrent request started the job, and it is not visible yet; or too many have
            failed.
    """
    from google.api_core.exceptions import Conflict

    job = None
    for k in range(MAX_TRIES):
        job_id = f"{stem}{k}"
        job = find_job(clients, job_id, location)
        if job is not None and job.state == "DONE" and job.error_result is not None:
            continue  # an earlier try that failed, and changed nothing
        if job is None:
            try:
                job = start(job_id)
            except Conflict:  # a concurrent request, or our own, whose answer was lost
                job = find_job(clients, job_id, location)
                if job is None:
                    raise not_readable(job_id) from None
        yield job
    if job is not None:
        job.result(timeout=TIMEOUT, retry=bigquery_retry())  # raises why it failed
    raise too_many(stem)


def start_query(
    clients: Clients, sql: str, config: Any, job_id: str, location: str | None = None
) -> Any:
    """Start a query under an id; BigQuery finds its location if that is not passed.

    Raises:
        google.api_core.exceptions.Conflict: the id is taken.
    """
    return clients.bigquery.query(
        sql,
        job_config=config,
        job_id=job_id,
        location=location,
        job_retry=None,  # a job id can be used only once
        timeout=TIMEOUT,
        retry=bigquery_retry(),
    )


def known_jobs(clients: Clients, stem: str, location: str) -> Iterator[Any]:
    """Yield the jobs of a stem that were started, in the order in which they were."""
    for k in range(MAX_TRIES):
        job = find_job(clients, f"{stem}{k}", location)
        if job is None:
            return
        yield job


def finish(job: Any, stop: Callable[[], bool]) -> None:
    """Wait until the job is done or `stop` returns True; BigQuery continues it either way.

    Raises:
        RunWaiting: `stop` returned True.
        google.api_core.exceptions.GoogleAPICallError: the job failed.
    """
    while not job.done(timeout=TIMEOUT, retry=bigquery_retry()):
        if stop():
            raise RunWaiting(f"The BigQuery job {job.job_id} is still running")
        time.sleep(POLL)
    job.result(timeout=TIMEOUT, retry=bigquery_retry())


def find_job(clients: Clients, job_id: str, location: str) -> Any:
    """Return the job, or None if BigQuery does not know it."""
    from google.api_core.exceptions import NotFound

    try:
        # Without its location a job outside the US and EU is not found:
        # https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs/get
        return clients.bigquery.get_job(
            job_id, location=location, timeout=TIMEOUT, retry=bigquery_retry()
        )
    except NotFound:
        return None


def not_readable(job_id: str) -> TryAgain:
    """Return the error for a job that somebody has just started."""
    return TryAgain(f"The BigQuery job {job_id} exists and cannot be read yet: try again")


def too_many(stem: str) -> TryAgain:
    """Return the error for jobs that failed under each of their ids."""
    return TryAgain(f"{MAX_TRIES} BigQuery jobs {stem}... failed: see their errors, and try again")
