"""BigQuery's `model_aliases`, the log of moves: read its rows, and replace some of them."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from mlsys.cloud.clients import Clients
from workers.query import json_rows, run
from workers.registry.alias_history import AliasRow
from workers.registry.table import MAX_LISTED_BYTES, grouped, replace
from workers.sql import statement

NEVER = dt.datetime(9999, 1, 1, tzinfo=dt.UTC)


def recorded(clients: Clients, env: str, model: str = "", alias: str = "") -> list[AliasRow]:
    """Return the log's rows of an alias, of a model's aliases, or of all of them; in any order.

    Raises:
        TryAgain: see `workers.query.run`.
    """
    from google.cloud import bigquery

    selected = run(
        clients,
        env,
        statement("recorded_aliases"),
        bigquery.ScalarQueryParameter("model", "STRING", model),
        bigquery.ScalarQueryParameter("alias", "STRING", alias),
    )
    return [_row(dict(row.items())) for row in selected]


def write(
    clients: Clients, env: str, rows: Iterable[AliasRow], without: Iterable[str] = ()
) -> None:
    """Replace the rows with the same keys by these, and delete those with the keys `without`.

    Writing a row again changes nothing.

    Raises:
        TryAgain: see `workers.query.run`.
    """
    changed: list[tuple[str, str | None]] = [(row.key, _to_json(row)) for row in rows]
    for changes in grouped([*changed, *((key, None) for key in without)]):
        replace(clients, env, changes, "replace_aliases")


def current(clients: Clients, env: str, model: str = "", *, limit: int) -> list[dict[str, Any]]:
    """Return what aliases name now by the log, of a model or of all, the broken ones first.

    Raises:
        TryAgain: see `workers.query.run`.
    """
    from google.cloud import bigquery

    selected = run(
        clients,
        env,
        statement("current_aliases"),
        bigquery.ScalarQueryParameter("model", "STRING", model),
        bigquery.ScalarQueryParameter("limit", "INT64", limit),
    )
    return [dict(row.items()) for row in selected]


def list_history(
    clients: Clients,
    env: str,
    model: str,
    alias: str,
    *,
    limit: int,
    after: dt.datetime | None = None,
) -> tuple[list[dict[str, Any]], bool]:
    """Return the versions that an alias named, the latest first, and whether there are more.

    They follow `after`, the `valid_from` of the last one that is given.

    Raises:
        TryAgain: see `workers.query.run`.
    """
    from google.cloud import bigquery

    selected = run(
        clients,
        env,
        statement("list_alias_history"),
        bigquery.ScalarQueryParameter("model", "STRING", model),
        bigquery.ScalarQueryParameter("alias", "STRING", alias),
        bigquery.ScalarQueryParameter("after", "TIMESTAMP", after or NEVER),
        bigquery.ScalarQueryParameter("limit", "INT64", limit + 1),
    )
    return json_rows(selected, ("evidence",), limit=limit, most_bytes=MAX_LISTED_BYTES)


def _row(values: dict[str, Any]) -> AliasRow:
    evidence = values.pop("evidence")
    return AliasRow(evidence=json.loads(evidence) if evidence else None, **values)


def _to_json(row: AliasRow) -> str:
    values = asdict(row) | {"moved_at": row.moved_at.isoformat()}
    return json.dumps({name: value for name, value in values.items() if value is not None})
