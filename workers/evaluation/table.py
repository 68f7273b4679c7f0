"""BigQuery's `prediction_evaluations`: a row for each evaluation of a run that says something new.

A row's id is a hash of what was compared and of what came out, so a repeated request writes
nothing, and labels that have changed meanwhile make a new row.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from mlsys.cloud.clients import Clients
from workers.query import run
from workers.sql import statement


def write(clients: Clients, env: str, rows: Sequence[dict[str, Any]]) -> None:
    """Add the evaluations that the table does not have, and complete `rows` by id and time.

    Raises:
        TryAgain: see `workers.query.run`.
    """
    from google.cloud import bigquery

    now = dt.datetime.now(dt.UTC).isoformat()
    for row in rows:
        row["evaluation_id"] = evaluation_id(row)
        row["evaluated_at"] = now
    if rows:
        parameter = bigquery.ScalarQueryParameter("rows", "STRING", json.dumps(rows))
        run(clients, env, statement("add_evaluations"), parameter)


def evaluation_id(row: Mapping[str, Any]) -> str:
    """Return the id of an evaluation; the last digits of its metrics do not count.

    BigQuery adds numbers up in any order.
    """
    values = {
        name: f"{value:.9g}" if isinstance(value, float) else value
        for name, value in row.items()
        if name != "details"
    }
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:32]
