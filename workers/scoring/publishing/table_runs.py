"""Which runs wrote a table, by the ledger."""

from __future__ import annotations

from typing import Any

from mlsys.cloud.clients import Clients
from mlsys.cloud.tables import TableRef
from workers.query import json_rows, run
from workers.scoring.publishing.ledger import MAX_LISTED_BYTES
from workers.sql import statement


def runs_of_table(
    clients: Clients, env: str, table: TableRef, *, limit: int
) -> tuple[list[dict[str, Any]], bool]:
    """Return the runs that wrote a table or a partition of it, and whether there are more.

    Their requests and contracts are left out.

    Raises:
        TryAgain: the ledger's table does not exist.
    """
    return _rows(clients, env, "runs_of_table", table, limit)


def last_runs_of_partitions(
    clients: Clients, env: str, table: TableRef, *, limit: int
) -> tuple[list[dict[str, Any]], bool]:
    """Return each partition's last run that succeeded, and whether there are more partitions.

    Only partitions that a request named (`table$20261122`) count: the ledger does not know into
    which partitions the rows of other runs went.

    Raises:
        TryAgain: the ledger's table does not exist.
    """
    rows, more = _rows(clients, env, "last_run_of_partitions", table, limit)
    named = [row | {"partition": row["output_table"].partition("$")[2]} for row in rows]
    return named, more


def _rows(
    clients: Clients, env: str, name: str, table: TableRef, limit: int
) -> tuple[list[dict[str, Any]], bool]:
    from google.cloud import bigquery

    rows = run(
        clients,
        env,
        statement(name),
        bigquery.ScalarQueryParameter("table", "STRING", str(table.base)),
        bigquery.ScalarQueryParameter("limit", "INT64", limit + 1),
    )
    return json_rows(rows, (), limit=limit, most_bytes=MAX_LISTED_BYTES)
