"""What runs cost, summed by month and model from the ledger."""

from __future__ import annotations

import datetime as dt
from typing import Any

from mlsys.cloud.clients import Clients
from workers.json_values import json_value
from workers.query import run
from workers.sql import statement

MONTH = len("2026-11")


def costs_by_month(
    clients: Clients, env: str, *, model_name: str | None = None, months: int = 12
) -> list[dict[str, Any]]:
    """Return the costs of each model in the last `months` months, this one included.

    The latest month comes first, and in it the model that cost most. Months are those of UTC.

    Raises:
        TryAgain: the ledger's table does not exist.
    """
    from google.cloud import bigquery

    rows = run(
        clients,
        env,
        statement("sum_costs"),
        bigquery.ScalarQueryParameter(
            "since", "TIMESTAMP", first_day(months, dt.datetime.now(dt.UTC))
        ),
        bigquery.ScalarQueryParameter("model_name", "STRING", model_name or ""),
    )
    sums = [json_value(dict(row.items())) for row in rows]
    return [row | {"month": row["month"][:MONTH]} for row in sums]


def first_day(months: int, now: dt.datetime) -> dt.datetime:
    """Return when the first of the last `months` months began, that of `now` included."""
    year, month = divmod(now.year * 12 + now.month - months, 12)
    return dt.datetime(year, month + 1, 1, tzinfo=dt.UTC)
