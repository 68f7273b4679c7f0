"""BigQuery's `model_registry`: read its rows, and replace some of them in one statement."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from typing import Any, Literal

from mlsys.clients import Clients
from workers.query import json_rows, run
from workers.registry_rows import IDENTITY, Identity, ModelRow
from workers.sql import statement

ROWS_PER_STATEMENT = 500
# BigQuery takes 10 MB a request, parameters included: https://cloud.google.com/bigquery/quotas
BYTES_PER_STATEMENT = 3_000_000  # of JSON, which is escaped once more within the request
SECONDS_PER_STATEMENT = 30.0  # that rows are gathered for: each model is verified first
MAX_LISTED = 1_000  # rows of an answer
MAX_LISTED_BYTES = 8_000_000  # of JSON; Cloud Run ends at 32 MiB an answer, with spaces
MAX_NAMES = 100  # of a row's features

Trigger = Literal["event", "rescan"]


def recorded(clients: Clients, env: str, key: str = "") -> dict[str, list[Identity]]:
    """Return what the registry holds of `key` ("name/version"), or of all, by key.

    Raises:
        TryAgain: see `workers.query.run`.
    """
    from google.cloud import bigquery

    parameter = bigquery.ScalarQueryParameter("key", "STRING", key)
    out: dict[str, list[Identity]] = {}
    for row in run(clients, env, statement("recorded_models"), parameter):
        identity: Any = tuple(row[column] for column in IDENTITY)
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
        TryAgain: see `workers.query.run`.
    """
    from google.cloud import bigquery

    for some, rows in _batches(keys, read, trigger):
        run(
            clients,
            env,
            statement("replace_models"),
            bigquery.ScalarQueryParameter("rows", "STRING", rows),
            bigquery.ArrayQueryParameter("keys", "STRING", some),
        )


def list_models(
    clients: Clients,
    env: str,
    *,
    model_name: str | None = None,
    status: str | None = None,
    limit: int = MAX_LISTED,
    metadata: bool = False,
    after: tuple[str, int] | None = None,
) -> tuple[list[dict[str, Any]], bool]:
    """Return the registry's rows as JSON values, newest version of each model first.

    Also returns whether there are more: beyond `limit`, or beyond `MAX_LISTED_BYTES` of JSON. They
    follow `after`, the name and number of the last row that is given.
    `feature_names` holds the first `MAX_NAMES`, `features` says how many there are; `metadata` asks
    for all of metadata.json too.

    Raises:
        TryAgain: see `workers.query.run`.
    """
    from google.cloud import bigquery

    found = run(
        clients,
        env,
        statement("list_models"),
        bigquery.ScalarQueryParameter("model_name", "STRING", model_name or ""),
        bigquery.ScalarQueryParameter("status", "STRING", status or ""),
        bigquery.ScalarQueryParameter("limit", "INT64", limit + 1),
        bigquery.ScalarQueryParameter("metadata", "BOOL", metadata),
        bigquery.ScalarQueryParameter("after_name", "STRING", after[0] if after else ""),
        bigquery.ScalarQueryParameter("after_number", "INT64", after[1] if after else 0),
    )
    rows, more = json_rows(
        map(_shortened, found),
        ("metrics", "metadata"),
        limit=limit,
        most_bytes=MAX_LISTED_BYTES,
        keep=("metadata",),
    )
    if not metadata:
        for row in rows:
            del row["metadata"]
    return rows, more


def _shortened(row: Any) -> dict[str, Any]:
    """Return the row with how many features it has, and the first of them."""
    names = tuple(row["feature_names"] or ())
    targets = tuple(row["target"] or ())
    first = {"feature_names": names[:MAX_NAMES], "target": targets[:MAX_NAMES]}
    return dict(row.items()) | first | {"features": len(names)}


def _batches(
    keys: Iterable[str], read: Callable[[str], ModelRow | None], trigger: Trigger
) -> Iterator[tuple[list[str], str]]:
    """Cut what differs into statements that BigQuery takes: keys, and their rows as JSON."""
    batch: list[str] = []
    rows: list[str] = []
    began = time.monotonic()
    for key in keys:
        row = read(key)
        new = [] if row is None else [_to_json(row, trigger)]
        size = sum(map(len, rows + new))
        full = len(batch) == ROWS_PER_STATEMENT or size > BYTES_PER_STATEMENT
        if batch and (full or time.monotonic() - began > SECONDS_PER_STATEMENT):
            yield batch, f"[{','.join(rows)}]"
            batch, rows, began = [], [], time.monotonic()
        batch.append(key)
        rows += new
    if batch:
        yield batch, f"[{','.join(rows)}]"


def _to_json(row: ModelRow, trigger: Trigger) -> str:
    values = asdict(row) | {"registered_by": trigger}
    return json.dumps({k: v for k, v in values.items() if v is not None})
