"""What speaks for a model version that an alias is to be moved to, looked up now.

All of it is of one generation of its model.pkl: a move names that generation.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from mlsys.artifact.refs import AliasRef, ModelRef
from mlsys.artifact.versions import listed, versions_in
from mlsys.cloud.clients import TIMEOUT, Clients
from mlsys.errors import ModelNotFound
from mlsys.settings.guards import MEASURED
from workers.json_values import flat
from workers.query import run, select
from workers.registry.alias_history import SERVICE, AliasRow
from workers.registry.alias_sync import look
from workers.registry.rows import ModelRow, list_objects, read_row
from workers.sql import statement

MAX_METRICS = 100  # that the log keeps
MAX_SHADOW_RUNS = 20  # the latest, whose reports are read
MAX_RESULT = 10_000_000  # bytes of a result.json


def find_version(clients: Clients, env: str, ref: ModelRef) -> ModelRow:
    """Return the version as the bucket holds it now, not verified.

    Raises:
        ModelNotFound: the bucket does not hold it; the message names the versions that it holds.
        ObjectNotFound: the environment's models bucket does not exist.
    """
    objects, _ = list_objects(clients, env, f"{ref}/")
    row = read_row(clients.settings, env, objects.get(str(ref)))
    if row is not None:
        return row
    bucket = clients.settings.models_bucket(env)
    versions = versions_in(clients.storage.bucket(bucket), ref.name)
    others = f"pass {listed(versions)}" if versions else "upload it first"
    raise ModelNotFound(f"The model gs://{bucket}/{ref.path} does not exist: {others}")


def status_of(clients: Clients, env: str, model: ModelRow) -> dict[str, Any]:
    """Return the registry's verdict on the version.

    `status` is ready, rejected, or not registered: then the registry does not know these bytes.

    Raises:
        TryAgain: see `workers.query.run`.
    """
    from google.cloud import bigquery

    rows = run(
        clients,
        env,
        statement("version_status"),
        bigquery.ScalarQueryParameter("model", "STRING", model.model_name),
        bigquery.ScalarQueryParameter("version", "STRING", model.model_version),
    )
    verdict: dict[str, Any] = {"version": model.model_version, "generation": model.generation}
    for row in rows:
        if row["generation"] == model.generation:
            return verdict | {"status": row["status"], "reason": row["status_reason"]}
    return verdict | {"status": "not registered", "reason": None}


def metrics_of(model: ModelRow) -> dict[str, float]:
    """Return the version's metrics by name, `test.roc_auc` for one inside another.

    They are those of its metadata.json: what its author says. Its names cannot be those of
    `measured_metrics`, which the author does not write.
    """
    known = _numbers(model.metrics)
    return {name: value for name, value in known.items() if not name.startswith(MEASURED)}


def measured_metrics(
    clients: Clients, env: str, ref: ModelRef, generation: int, labels: str
) -> dict[str, float]:
    """Return what `/evaluate` measured of one generation of a version: `measured.roc_auc`.

    Over its runs in this environment, weighted by rows; `measured.rows` is how many rows. `labels`
    is the column with which they were evaluated, project.dataset.table.column.

    Raises:
        TryAgain: see `workers.query.run`.
    """
    from google.cloud import bigquery

    rows = list(
        run(
            clients,
            env,
            statement("measured_metrics"),
            bigquery.ScalarQueryParameter("model", "STRING", ref.name),
            bigquery.ScalarQueryParameter("version", "STRING", ref.version),
            bigquery.ScalarQueryParameter("labels", "STRING", labels),
            bigquery.ScalarQueryParameter("generation", "INT64", generation),
        )
    )
    metrics = {f"{MEASURED}{row['metric']}": float(row["value"]) for row in rows}
    most = max((int(row["evaluated"]) for row in rows), default=0)
    return metrics | ({f"{MEASURED}rows": float(most)} if rows else {})


def recorded_metrics(row: AliasRow) -> dict[str, float]:
    """Return the metrics of a version as they were when the service moved the alias to it."""
    return _numbers(row.evidence.get("metrics") if isinstance(row.evidence, Mapping) else None)


def _numbers(values: Any) -> dict[str, float]:
    numbers = {}
    for name, value in flat(values) if isinstance(values, Mapping) else ():
        if isinstance(value, int | float) and not isinstance(value, bool):
            try:
                numbers[name] = float(value)
            except OverflowError:
                continue
    return {name: value for name, value in numbers.items() if math.isfinite(value)}


def last_moved(clients: Clients, env: str, ref: AliasRef) -> AliasRow | None:
    """Return the log's row of the version that the service had the alias name last.

    Not the one of a file that somebody put into the bucket, and also after the alias was removed.

    Raises:
        ObjectNotFound, TryAgain: see `alias_sync.look`.
    """
    rows = look(clients, env, "move", ref.model, ref.alias).rows(ref)
    moved = (row for row in reversed(rows) if row.source == SERVICE and row.version is not None)
    return next(moved, None)


def runs_by_ledger(
    clients: Clients, env: str, model: ModelRow, ledgers: Sequence[str]
) -> dict[str, int | None]:
    """Return how many runs of the version succeeded and wrote rows, by the dataset of each ledger.

    The first is the environment's own, where the generation of the model's file must be the same.
    In `ledgers`, of other environments, the checksum must be. None: it cannot be read.

    Raises:
        TryAgain: see `workers.query.run`.
    """
    from google.api_core.exceptions import BadRequest, Forbidden, NotFound
    from google.cloud import bigquery

    def parameters(generation: int) -> list[Any]:
        texts = {"model": model.model_name, "version": model.model_version, "crc32c": model.crc32c}
        return [
            *(bigquery.ScalarQueryParameter(name, "STRING", text) for name, text in texts.items()),
            bigquery.ScalarQueryParameter("generation", "INT64", generation),
        ]

    sql, own = statement("count_runs"), clients.settings.dataset(env)
    counts: dict[str, int | None] = {}
    for row in run(clients, env, sql, *parameters(model.generation)):
        counts[own] = row["runs"]
    for dataset in ledgers:
        try:
            for row in select(clients, sql, *parameters(0), dataset=dataset):
                counts.setdefault(dataset, row["runs"])
        except (BadRequest, Forbidden, NotFound):
            counts[dataset] = None
    return counts


def agreement_with(
    clients: Clients, env: str, model: ModelRow, champion: str
) -> tuple[int, int, int]:
    """Return runs, rows compared and rows equal of the version as the challenger of `champion`.

    Of the environment's latest runs of `champion` that had a challenger, those count whose report
    is on exactly this generation.

    Raises:
        TryAgain: see `workers.query.run`.
    """
    from google.cloud import bigquery

    ledger = run(
        clients,
        env,
        statement("shadow_runs"),
        bigquery.ScalarQueryParameter("model", "STRING", model.model_name),
        bigquery.ScalarQueryParameter("version", "STRING", champion),
        bigquery.ScalarQueryParameter("limit", "INT64", MAX_SHADOW_RUNS),
    )
    runs = rows = equal = 0
    for row in ledger:
        shadow = _shadow_of(clients, env, row["run_id"])
        report = shadow.get("report")
        of = shadow.get("model_version"), shadow.get("model_generation")
        if report and of == (model.model_version, model.generation):
            runs, rows, equal = runs + 1, rows + report["rows"], equal + report["equal"]
    return runs, rows, equal


def _shadow_of(clients: Clients, env: str, run_id: str) -> Mapping[str, Any]:
    """Return the part of a run's result.json that is about its challenger."""
    from google.api_core.exceptions import NotFound

    bucket = clients.storage.bucket(clients.settings.runs_bucket(env))
    try:
        content = bucket.blob(f"{run_id}/result.json").download_as_bytes(
            end=MAX_RESULT, timeout=TIMEOUT
        )
        return json.loads(content)["shadow"] or {}
    except (NotFound, ValueError, KeyError, TypeError):  # deleted, or written by hand
        return {}
