"""Every model with its newest version, its aliases and its latest runs, a row each."""

from __future__ import annotations

import datetime as dt
from typing import Any, Literal

from mlsys.cloud.clients import Clients
from workers.query import json_rows, run
from workers.registry.table import MAX_LISTED_BYTES
from workers.sql import statement

Sort = Literal["name", "uploaded", "run"]


def list_at_a_glance(
    clients: Clients,
    env: str,
    *,
    since: dt.datetime,
    text: str = "",
    status: str = "",
    sort: Sort = "name",
    limit: int = 50,
    skip: int = 0,
) -> tuple[list[dict[str, Any]], bool]:
    """Return models as JSON values, and whether there are more; their runs are those since then.

    `text` is a part of the name, `status` that of the newest version. `aliases` are pairs of an
    alias and its version.

    Raises:
        TryAgain: see `workers.query.run`.
    """
    from google.cloud import bigquery

    selected = run(
        clients,
        env,
        statement("models_at_a_glance"),
        bigquery.ScalarQueryParameter("text", "STRING", text),
        bigquery.ScalarQueryParameter("status", "STRING", status),
        bigquery.ScalarQueryParameter("sort", "STRING", sort),
        bigquery.ScalarQueryParameter("since", "TIMESTAMP", since),
        bigquery.ScalarQueryParameter("limit", "INT64", limit + 1),
        bigquery.ScalarQueryParameter("skip", "INT64", skip),
    )
    rows, more = json_rows(selected, (), limit=limit, most_bytes=MAX_LISTED_BYTES)
    for row in rows:
        pairs = (row["aliases"] or "").split(",")
        row["aliases"] = [pair.split(" ", 1) for pair in pairs if " " in pair]
        row["runs"], row["runs_failed"] = row["runs"] or 0, row["runs_failed"] or 0
    return rows, more
