"""BigQuery's `model_registry`: read its rows, and replace some of them in one statement."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from mlsys.cloud.clients import Clients
from workers.query import json_rows, run
from workers.registry.rows import IDENTITY, Identity, ModelRow
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
    """Return the identities that the registry holds for `key` ("name/version"), or for all.

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


@dataclass(frozen=True, slots=True)
class Statement:
    """Changes that one statement writes: the rows of `keys` are replaced by `rows`, as JSON."""

    keys: list[str]
    rows: str


def in_statements(
    changes: Iterable[tuple[str, ModelRow | None]], trigger: Trigger
) -> Iterator[Statement]:
    """Group changes (a key, and its row or None) into statements that BigQuery takes."""
    return grouped((key, None if row is None else _to_json(row, trigger)) for key, row in changes)


def grouped(changes: Iterable[tuple[str, str | None]]) -> Iterator[Statement]:
    """Group changes (a key, and its row as JSON or None) into statements that BigQuery takes."""
    keys: list[str] = []
    rows: list[str] = []
    began = time.monotonic()
    for key, row in changes:
        new = [] if row is None else [row]
        size = sum(map(len, rows + new))
        full = len(keys) == ROWS_PER_STATEMENT or size > BYTES_PER_STATEMENT
        if keys and (full or time.monotonic() - began > SECONDS_PER_STATEMENT):
            yield Statement(keys, f"[{','.join(rows)}]")
            keys, rows, began = [], [], time.monotonic()
        keys.append(key)
        rows += new
    if keys:
        yield Statement(keys, f"[{','.join(rows)}]")


def replace(clients: Clients, env: str, changes: Statement, by: str = "replace_models") -> None:
    """Delete the rows of the keys and insert the new ones. No reader sees one without the other.

    `by` is the statement, which names the table.

    Raises:
        TryAgain: see `workers.query.run`.
    """
    from google.cloud import bigquery

    run(
        clients,
        env,
        statement(by),
        bigquery.ScalarQueryParameter("rows", "STRING", changes.rows),
        bigquery.ArrayQueryParameter("keys", "STRING", changes.keys),
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
    `feature_names` holds the first `MAX_NAMES`, `features` their number; `metadata` adds all of
    metadata.json and contract.json.

    Raises:
        TryAgain: see `workers.query.run`.
    """
    from google.cloud import bigquery

    selected = run(
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
        map(_shortened, selected),
        ("metrics", "metadata", "contract"),
        limit=limit,
        most_bytes=MAX_LISTED_BYTES,
        keep=("metadata", "contract"),
    )
    if not metadata:
        for row in rows:
            del row["metadata"], row["contract"]
    return rows, more


def _shortened(row: Any) -> dict[str, Any]:
    """Return the row with how many features it has, and the first of them."""
    names = tuple(row["feature_names"] or ())
    targets = tuple(row["target"] or ())
    first = {"feature_names": names[:MAX_NAMES], "target": targets[:MAX_NAMES]}
    return dict(row.items()) | first | {"features": len(names)}


def _to_json(row: ModelRow, trigger: Trigger) -> str:
    values = asdict(row) | {"registered_by": trigger}
    return json.dumps({k: v for k, v in values.items() if v is not None})
