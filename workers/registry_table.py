"""BigQuery's `model_registry`: read its rows, and replace some of them in one statement."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

from mlsys.clients import RETRY_DEADLINE, TIMEOUT, Clients, bigquery_retry
from mlsys.errors import RegistryBusy, TryAgain
from workers.registry_rows import Identity, ModelRow
from workers.sql import statement

if TYPE_CHECKING:
    from google.cloud.bigquery.table import RowIterator

ROWS_PER_STATEMENT = 500
# BigQuery takes 10 MB a request, parameters included: https://cloud.google.com/bigquery/quotas
BYTES_PER_STATEMENT = 3_000_000  # of JSON, which is escaped once more within the request

Trigger = Literal["event", "rescan"]


def recorded(clients: Clients, env: str, key: str = "") -> dict[str, list[Identity]]:
    """Return what the registry holds of `key` ("name/version"), or of all, by key.

    Raises:
        TryAgain: the registry's table is not there.
    """
    from google.cloud import bigquery

    parameter = bigquery.ScalarQueryParameter("key", "STRING", key)
    out: dict[str, list[Identity]] = {}
    for row in _query(clients, env, statement("recorded_models"), parameter):
        identity = (row["gcs_uri"], row["generation"], row["metadata_generation"])
        out.setdefault(row["key"], []).append(identity)
    return out


def replace(
    clients: Clients,
    env: str,
    keys: Iterable[str],
    read: Callable[[str], ModelRow | None],
    trigger: Trigger,
) -> None:
    """Delete the rows of `keys` and insert what `read` gives for them: nothing, for None.

    One statement does both, and so nobody sees the one without the other; a long list is cut into
    several.

    Raises:
        RegistryBusy: others kept changing the table.
        TryAgain: the registry's table is not there.
    """
    from google.cloud import bigquery

    for some, rows in _batches(keys, read, trigger):
        _query(
            clients,
            env,
            statement("replace_models"),
            bigquery.ScalarQueryParameter("rows", "STRING", rows),
            bigquery.ArrayQueryParameter("keys", "STRING", some),
        )


def list_models(clients: Clients, env: str) -> list[dict[str, Any]]:
    """Return the registry's rows as JSON values, newest version of each model first."""
    out = []
    for row in _query(clients, env, statement("list_models")):
        values = dict(row.items())
        for key in ("uploaded_at", "registered_at"):
            values[key] = values[key].isoformat() if values[key] else None
        for key in ("metrics", "metadata"):
            values[key] = json.loads(values[key]) if values[key] else None
        out.append(values)
    return out


def _batches(
    keys: Iterable[str], read: Callable[[str], ModelRow | None], trigger: Trigger
) -> Iterator[tuple[list[str], str]]:
    """Cut what differs into statements that BigQuery takes: keys, and their rows as JSON."""
    batch: list[str] = []
    rows: list[str] = []
    for key in keys:
        row = read(key)
        new = [] if row is None else [_to_json(row, trigger)]
        size = sum(map(len, rows + new))
        if len(batch) == ROWS_PER_STATEMENT or (batch and size > BYTES_PER_STATEMENT):
            yield batch, f"[{','.join(rows)}]"
            batch, rows = [], []
        batch.append(key)
        rows += new
    if batch:
        yield batch, f"[{','.join(rows)}]"


def _to_json(row: ModelRow, trigger: Trigger) -> str:
    values = asdict(row) | {"registered_by": trigger}
    return json.dumps({k: v for k, v in values.items() if v is not None})


def _query(clients: Clients, env: str, sql: str, *parameters: Any) -> RowIterator:
    """Run a statement on the environment's dataset, again where it lost to another change."""
    import tenacity
    from google.api_core.exceptions import BadRequest, NotFound
    from google.cloud import bigquery

    config = bigquery.QueryJobConfig(
        default_dataset=clients.settings.dataset(env),
        query_parameters=list(parameters),
        use_query_cache=False,
    )

    def run() -> RowIterator:
        retry = bigquery_retry()
        job = clients.bigquery.query(sql, job_config=config, timeout=TIMEOUT, retry=retry)
        return job.result(timeout=RETRY_DEADLINE, retry=retry)

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(_is_dml_conflict),
        wait=tenacity.wait_random_exponential(multiplier=0.5, max=8),
        stop=tenacity.stop_after_attempt(6),
        reraise=True,
    )
    try:
        return retrying(run)
    except NotFound as exc:
        raise TryAgain(
            f"The registry {clients.settings.dataset(env)}.model_registry is not there: "
            "create it (README, First-time set-up)"
        ) from exc
    except BadRequest as exc:
        if _is_dml_conflict(exc):
            raise RegistryBusy("BigQuery has too many changes to the registry in hand") from exc
        raise


def _is_dml_conflict(exc: BaseException) -> bool:
    """Conflicts of concurrent changes come as 400 invalidQuery, told apart by their text alone.

    https://cloud.google.com/bigquery/docs/data-manipulation-language#dml-limitations; the client
    does not retry them.
    """
    from google.api_core.exceptions import BadRequest

    texts = ("Could not serialize access", "Too many DML statements outstanding", "is aborted due")
    return isinstance(exc, BadRequest) and any(text in str(exc) for text in texts)
