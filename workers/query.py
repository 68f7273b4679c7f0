"""Run SQL on BigQuery: a statement to its end, or a dry run that reads nothing."""

from __future__ import annotations

import datetime as dt
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlsys.cloud.clients import RETRY_DEADLINE, TIMEOUT, Clients, bigquery_retry
from mlsys.columns.names import same_name
from mlsys.errors import TryAgain
from workers.jobs import MAX_TRIES, POLL, find_job, not_readable, start_query, too_many
from workers.json_values import bounded_row, json_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from google.cloud.bigquery import QueryJob, SchemaField
    from google.cloud.bigquery.table import RowIterator

    from mlsys.cloud.tables import TableRef


@dataclass(frozen=True, slots=True)
class DryRun:
    """A query's schema and size as BigQuery estimates them without running it."""

    schema: Sequence[SchemaField]
    bytes: int  # that it would read; the local BigQuery says 0


def column_sql(table: TableRef, name: str) -> str:
    """Return the column `name` as a query of only `table` names it.

    A bare name that is also the table's means the whole row:
    https://cloud.google.com/bigquery/docs/schemas#column_names
    """
    return f"`{table.table}`.`{name}`" if same_name(table.table, name) else f"`{name}`"


def run(clients: Clients, env: str, sql: str, *parameters: Any) -> RowIterator:
    """Run a statement on the environment's dataset; retry it after a conflict with another change.

    Raises:
        TryAgain: others kept changing the table, or a table of the dataset does not exist.
    """
    import tenacity
    from google.api_core.exceptions import BadRequest, NotFound
    from google.cloud import bigquery

    config = bigquery.QueryJobConfig(
        default_dataset=clients.settings.dataset(env),
        query_parameters=list(parameters),
        use_query_cache=False,
    )

    def once() -> RowIterator:
        retry = bigquery_retry()
        job = clients.bigquery.query(sql, job_config=config, timeout=TIMEOUT, retry=retry)
        return job.result(timeout=RETRY_DEADLINE, retry=retry)

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(is_dml_conflict),
        wait=tenacity.wait_random_exponential(multiplier=0.5, max=8),
        stop=tenacity.stop_after_attempt(6),
        reraise=True,
    )
    try:
        return retrying(once)
    except NotFound as exc:
        raise _no_table(clients.settings.dataset(env)) from exc
    except BadRequest as exc:
        if is_dml_conflict(exc):
            raise TryAgain("Too many concurrent changes to one BigQuery table: try again") from exc
        raise


def run_once(clients: Clients, env: str, stem: str, sql: str, *parameters: Any) -> None:
    """Run a statement on the environment's dataset once, under job ids as `jobs.jobs_of` has them.

    The job is started before it is looked for: repetitions are rare.

    Raises:
        TryAgain: a table of the dataset does not exist, or see `jobs.jobs_of`.
    """
    from google.api_core.exceptions import BadRequest, Conflict, NotFound
    from google.cloud import bigquery

    dataset, retry = clients.settings.dataset(env), bigquery_retry()
    config = bigquery.QueryJobConfig(default_dataset=dataset, query_parameters=list(parameters))
    for k in range(MAX_TRIES):
        job_id = f"{stem}{k}"
        try:
            job = start_query(clients, sql, config, job_id)
        except Conflict:  # a concurrent request, or our own, whose answer was lost
            where = clients.bigquery.get_dataset(dataset, timeout=TIMEOUT, retry=retry).location
            job = find_job(clients, job_id, where)
            if job is None:
                raise not_readable(job_id) from None
            if job.state == "DONE" and job.error_result is not None:
                continue  # an earlier try that failed, and changed nothing
        try:
            job.result(timeout=RETRY_DEADLINE, retry=retry)
            return
        except NotFound as exc:
            raise _no_table(dataset) from exc
        except BadRequest as exc:
            if not is_dml_conflict(exc):
                raise
            time.sleep(POLL)
    raise too_many(stem)


def select(
    clients: Clients,
    sql: str,
    *parameters: Any,
    dataset: str | None = None,
    seconds: float = RETRY_DEADLINE,
    started: Callable[[QueryJob], None] = lambda job: None,
) -> RowIterator:
    """Run a query of tables of `dataset`, or that names them in full; it may take `seconds`.

    `started` is given its job before the answer is waited for. BigQuery's refusals are its own
    exceptions.
    """
    from google.cloud import bigquery

    config = bigquery.QueryJobConfig(query_parameters=list(parameters), default_dataset=dataset)
    job = clients.bigquery.query(sql, job_config=config, timeout=TIMEOUT, retry=bigquery_retry())
    started(job)
    return job.result(timeout=seconds, retry=bigquery_retry())


def json_rows(
    rows: Iterable[Any],
    documents: Iterable[str],
    *,
    limit: int,
    most_bytes: int,
    keep: Iterable[str] = (),
) -> tuple[list[dict[str, Any]], bool]:
    """Return at most `limit` rows and `most_bytes` of JSON, and whether there are more.

    `documents` are columns with JSON as text. A value that is too large is left out, but for the
    columns `keep`; a first row is always given.
    """
    out: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        values = dict(row.items())
        for key in documents:
            values[key] = json.loads(values[key]) if values[key] else None
        values = bounded_row(json_value(values), keep)
        size += len(json.dumps(values))
        if out and (len(out) == limit or size > most_bytes):
            return out, True
        out.append(values)
    return out, False


def as_of(moment: dt.datetime) -> str:
    """Return the clause that reads a table as it was at `moment`."""
    return f" FOR SYSTEM_TIME AS OF TIMESTAMP '{moment.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S.%f}+00'"


def dry_run(clients: Clients, sql: str) -> DryRun:
    """Return what a query would give and read; BigQuery's refusals are its own exceptions."""
    from google.cloud import bigquery

    config = bigquery.QueryJobConfig(dry_run=True, use_query_cache=False)
    job = clients.bigquery.query(sql, job_config=config, timeout=TIMEOUT, retry=bigquery_retry())
    return DryRun(job.schema or (), job.total_bytes_processed or 0)


def is_valid(clients: Clients, sql: str) -> bool:
    """Return whether BigQuery accepts a query, which may still fail as it runs."""
    from google.api_core.exceptions import BadRequest, NotFound

    try:
        dry_run(clients, sql)
    except (BadRequest, NotFound):
        return False
    return True


def is_dml_conflict(exc: BaseException) -> bool:
    """Return whether concurrent changes conflicted: a 400 that only its text identifies.

    https://cloud.google.com/bigquery/docs/data-manipulation-language#dml-limitations; the client
    does not retry them.
    """
    from google.api_core.exceptions import BadRequest

    texts = ("Could not serialize access", "Too many DML statements outstanding", "is aborted due")
    return isinstance(exc, BadRequest) and any(text in str(exc) for text in texts)


def _no_table(dataset: str) -> TryAgain:
    return TryAgain(
        f"{dataset} lacks one of the tables of the service: create them (docs/operations.md)"
    )
