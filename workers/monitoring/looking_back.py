"""What is known of runs after they ended: how far they are from others, and how right they were."""

from __future__ import annotations

import datetime as dt
from typing import Any

from mlsys.cloud.clients import Clients
from workers.json_values import json_value
from workers.query import run
from workers.sql import statement


def distances(clients: Clients, env: str, run_id: str) -> list[dict[str, Any]]:
    """Return how far each column of a run is from the run before it, and from a week before.

    Raises:
        TryAgain: see `workers.query.run`.
    """
    return _rows(clients, env, "distances_of_run", ("run_id", "STRING", run_id))


def drifted_runs(
    clients: Clients, env: str, *, since: dt.datetime, limit: int
) -> list[dict[str, Any]]:
    """Return the runs planned since then with a column that drifted, the latest first.

    Raises:
        TryAgain: see `workers.query.run`.
    """
    bounds = ("since", "TIMESTAMP", since), ("limit", "INT64", limit)
    return _rows(clients, env, "drifted_runs", *bounds)


def metrics_of_versions(clients: Clients, env: str, model_name: str) -> list[dict[str, Any]]:
    """Return the metrics of each version over its evaluated runs, a row each.

    Raises:
        TryAgain: see `workers.query.run`.
    """
    return _rows(clients, env, "metrics_of_versions", ("model_name", "STRING", model_name))


def metrics_of_run(clients: Clients, env: str, run_id: str) -> list[dict[str, Any]]:
    """Return the metrics of a run by its latest evaluations, a row each.

    Raises:
        TryAgain: see `workers.query.run`.
    """
    return _rows(clients, env, "metrics_of_run", ("run_id", "STRING", run_id))


def _rows(clients: Clients, env: str, name: str, *values: tuple[str, str, Any]) -> list[Any]:
    from google.cloud import bigquery

    parameters = [bigquery.ScalarQueryParameter(*value) for value in values]
    selected = run(clients, env, statement(name), *parameters)
    return [json_value(dict(row.items())) for row in selected]
