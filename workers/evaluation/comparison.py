"""Compare runs with labels by one query, and measure each of them.

Each run is joined with the labels alone: an id that is scored every day is one row of each run. An
id that two predictions of one run have, or two labels, is refused.
"""

from __future__ import annotations

import decimal
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mlsys.cloud.clients import Clients
from mlsys.cloud.messages import words_of
from mlsys.cloud.quotas import is_quota
from mlsys.errors import Conflict, PermissionMissing, SchemaMismatch
from mlsys.plural import does, plural
from workers.evaluation.evaluated_runs import ScoredRun
from workers.evaluation.join import Join
from workers.evaluation.metrics import (
    EDGES,
    MAX_CELLS,
    METRICS,
    MOST,
    SHARES,
    measure_classes,
    measure_numbers,
)
from workers.evaluation.target import NUMBERS
from workers.json_values import json_value
from workers.query import select

SECONDS = 1800.0  # of one query

log = logging.getLogger(__name__)


def compare(
    clients: Clients, join: Join, runs: Sequence[ScoredRun]
) -> Iterator[dict[str, Any] | Conflict | SchemaMismatch]:
    """Yield a row of `prediction_evaluations` about each run, without its id, or why there is none.

    Raises:
        SchemaMismatch: BigQuery refuses the query.
        PermissionMissing: the service may not read the rows.
    """
    sums = {row["run_id"]: row for row in _sums(clients, join, runs)}
    for scored in runs:
        try:
            yield _evaluation(scored, join, sums.get(scored.plan.run_id))
        except (Conflict, SchemaMismatch) as exc:
            yield exc


def _sums(clients: Clients, join: Join, runs: Sequence[ScoredRun]) -> Iterator[Mapping[str, Any]]:
    """Yield a row for each run whose predictions are still in the output table."""
    from google.api_core.exceptions import BadRequest, Forbidden, NotFound
    from google.cloud import bigquery

    times = [scored.predicted_at for scored in runs]
    parameters: list[Any] = [
        bigquery.ArrayQueryParameter("run_ids", "STRING", [r.plan.run_id for r in runs]),
        bigquery.ScalarQueryParameter("first", "TIMESTAMP", min(times)),
        bigquery.ScalarQueryParameter("last", "TIMESTAMP", max(times)),
    ]
    if join.target.task == NUMBERS:
        parameters.append(bigquery.ArrayQueryParameter("shares", "FLOAT64", list(SHARES)))
        parameters.append(bigquery.ScalarQueryParameter("most", "FLOAT64", MOST))
    else:
        parameters.append(bigquery.ArrayQueryParameter("edges", "FLOAT64", list(EDGES)))
        kind = join.target.column.type
        for k, name in enumerate(join.target.classes):
            parameters.append(bigquery.ScalarQueryParameter(f"class_{k}", kind, name))
    try:
        for row in select(clients, join.sql(), *parameters, seconds=SECONDS):
            yield _plain(dict(row.items()))
    except Forbidden as exc:
        raise denied(
            exc, f"{join.output} or {join.labels}, or a table below one of these,"
        ) from exc
    except (BadRequest, NotFound) as exc:
        log.warning("The evaluation was refused: %s", exc)
        raise SchemaMismatch(
            f"BigQuery cannot compare {join.output} with {join.labels} ({words_of(exc)}): pass "
            "views that it can join."
        ) from exc


def denied(exc: Exception, what: str) -> Exception:
    """Return the error for a 403 about a table: itself, if it is about a quota."""
    if is_quota(exc):
        return exc
    log.warning("BigQuery denies access: %s", exc)
    return PermissionMissing(
        f"{what} cannot be read: BigQuery denies it to the service's account. Grant the account "
        "roles/bigquery.dataViewer on the table or its dataset."
    )


def _plain(value: Any) -> Any:
    """Return the value with whole numbers as int: the local BigQuery's sums are decimals."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    whole = isinstance(value, decimal.Decimal) and value == value.to_integral_value()
    return int(value) if whole else value


def _evaluation(scored: ScoredRun, join: Join, sums: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the row of `prediction_evaluations` about a run, without its id.

    Raises:
        Conflict: the run's rows are not in the output table any more.
        SchemaMismatch: ids are repeated, no row has a label, or there are too many classes.
    """
    plan, target = scored.plan, join.target
    count = _check(scored, join, sums)
    assert sums is not None
    if target.task == NUMBERS:
        measured = measure_numbers(sums, count)
    else:
        measured = measure_classes(sums, target.classes, probabilities=target.probabilities)
    return {
        "run_id": plan.run_id,
        "model_name": plan.model.name,
        "model_version": plan.model.version,
        "model_generation": plan.model.generation,
        "model_alias": plan.model.alias,
        "predicted_at": plan.created_at,
        "task": target.task,
        "labels_table": str(join.labels),
        "label_column": join.label.name,
        "output_table": str(join.output),
        "prediction_column": target.column.name,
        "id_columns": [key.name for key, _ in join.keys],
        "rows_evaluated": count,
        "rows_without_label": sums["without_label"],
        "rows_with_null_label": sums["null_labels"],
        "rows_without_prediction": sums["without_prediction"],
        "labels_without_prediction": sums["labels"] - sums["predictions"] + sums["without_label"],
        **{name: measured.metrics.get(name) for name in METRICS},
        "details": json_value(dict(measured.details) | {"notes": list(measured.notes)}),
    }


def _check(scored: ScoredRun, join: Join, sums: Mapping[str, Any] | None) -> int:
    """Return how many rows of a run have a prediction and a label.

    Raises:
        Conflict, SchemaMismatch: see `_evaluation`.
    """
    run_id = scored.plan.run_id
    if sums is None or sums["predictions"] != scored.rows:
        left = sums["predictions"] if sums else 0
        raise Conflict(
            f"The run {run_id} wrote {plural(scored.rows, 'row')} to {join.output}, and {left:,} "
            f"{does(left, 'is')} there now: a later run with WRITE_TRUNCATE has replaced rows, or "
            "somebody has changed the table. Evaluate a run whose rows are all there, or score "
            "into a table of its own."
        )
    for where, name in (("predictions", run_id), ("labels", str(join.labels))):
        if sums[f"repeated_{where}"]:
            raise _repeated(join, where, name, sums)
    missing = sums["without_label"] + sums["null_labels"] + sums["without_prediction"]
    if not (count := sums["predictions"] - missing):
        keys = ", ".join(key.name for key, _ in join.keys)
        raise SchemaMismatch(
            f"No row of {run_id} can be compared: of {plural(sums['predictions'], 'row')}, "
            f"{_have(sums['without_label'])} no row with the same {keys} in {join.labels}, "
            f"{_have(sums['null_labels'])} NULL as {join.label.name}, and "
            f"{_have(sums['without_prediction'])} no prediction. Pass the labels of this run's "
            "rows, or other id_columns."
        )
    if (cells := sums.get("cells") or 0) > MAX_CELLS:
        raise SchemaMismatch(
            f"{join.label.name} and {join.target.column.name} have {cells:,} different pairs of "
            f"values, more than {MAX_CELLS:,} classes could have: pass task=regression for numbers."
        )
    return count


def _have(count: int) -> str:
    return f"{count:,} {does(count, 'has')}"


def _repeated(join: Join, where: str, name: str, sums: Mapping[str, Any]) -> SchemaMismatch:
    """Return the error for ids that several rows have, with examples."""
    names, rows = [key.name for key, _ in join.keys], sums[f"repeated_{where}"]
    examples = [
        ", ".join(f"{n}={value}" for n, value in zip(names, key.values(), strict=True))
        for key in sums[f"examples_of_{where}"]
    ]
    advice = (
        "pass more id_columns, or score a table whose ids are unique"
        if where == "predictions"
        else "pass a view with one label for each id, or more id_columns"
    )
    return SchemaMismatch(
        f"{plural(rows, 'row')} of {name} {does(rows, 'has')} an id that is not unique "
        f"({'; '.join(examples)}{'; ...' if len(examples) == 3 else ''}): {advice}."
    )
