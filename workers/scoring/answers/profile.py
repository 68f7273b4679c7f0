"""What runs saw of their columns: one run's profile, and the distances of a model's last runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlsys.cloud.clients import Clients
from mlsys.errors import Conflict
from workers.monitoring.drift import DRIFT, WARN
from workers.query import json_rows, run
from workers.scoring.answers.status import status
from workers.scoring.journal.decisions import Decision, read_decision
from workers.scoring.journal.store import RunStore
from workers.sql import statement

MAX_BYTES = 8_000_000  # of JSON; Cloud Run ends at 32 MiB an answer, with spaces
_OF_THE_RUN = ("model_name", "model_version", "model_generation", "input_table", "snapshot_at")


def run_profile(clients: Clients, env: str, run_id: str) -> dict[str, Any]:
    """Return the columns of a run with their bins, as `prediction_profiles` has them, ranked.

    Raises:
        RunNotFound: this environment has no such run.
        Conflict: it has not decided what it publishes, or it counted nothing.
    """
    state = status(clients, env, run_id)["state"]
    decision = read_decision(RunStore(clients, env, run_id))
    if not isinstance(decision, Decision):
        wait = "wait for its end" if state == "running" else "score the table again"
        raise Conflict(f"The run {run_id} is {state}, and its columns are not added up: {wait}.")
    if not decision.profile:
        raise Conflict(
            f"The run {run_id} counted no columns: it was requested with profile=false, or planned "
            "by an older release. Score the table again to see them."
        )
    about = {name: decision.profile[0].get(name) for name in _OF_THE_RUN}
    rows = [
        {k: v for k, v in row.items() if k not in _OF_THE_RUN}
        for row in sorted(decision.profile, key=_rank)
    ]
    return {"env": env, "run_id": run_id} | about | {"columns": rows}


def list_drift(
    clients: Clients, env: str, model_name: str, version: str | None, runs: int
) -> tuple[list[dict[str, Any]], bool]:
    """Return the columns of a model's last `runs` runs, the latest run first, each run's ranked.

    Each has its distance to the training data, to the run before, and to the latest run at least
    seven days before. The second value says that rows are missing: the answer would be too large.

    Raises:
        TryAgain: the table does not exist.
    """
    from google.cloud import bigquery

    selected = run(
        clients,
        env,
        statement("list_drift"),
        bigquery.ScalarQueryParameter("model_name", "STRING", model_name),
        bigquery.ScalarQueryParameter("version", "STRING", version or ""),
        bigquery.ScalarQueryParameter("runs", "INT64", runs),
    )
    rows = [dict(row.items()) for row in selected]
    rows.sort(key=_rank)  # it keeps the order of equal ones
    rows.sort(key=lambda row: (row["predicted_at"], row["run_id"]), reverse=True)
    return json_rows(rows, (), limit=len(rows) or 1, most_bytes=MAX_BYTES)


def _rank(row: Mapping[str, Any]) -> tuple[int, float]:
    """Return the order of columns: by level, then by distance times importance."""
    place = {DRIFT: 0, WARN: 1}.get(row["level"], 2)
    weight = 1.0 if row["importance"] is None else row["importance"]
    return place, -(row["distance"] or 0.0) * weight
