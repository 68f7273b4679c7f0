"""`mlsys evaluate`: how right the predictions of runs were, once their labels are known."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from mlsys.cli.tables import moment, pairs, table
from mlsys.settings import ENVS

_PARAMETERS = (
    *("env", "labels_table", "label_column", "run_id", "model_name", "model_version"),
    *("since", "until", "id_columns", "prediction_column", "task"),
)
_ABOUT = (
    *("run_id", "model_name", "model_version", "model_alias", "task", "prediction_column"),
    *("rows_evaluated", "rows_without_label", "rows_with_null_label", "rows_without_prediction"),
    "labels_without_prediction",
)
_METRICS = (
    *("accuracy", "balanced_accuracy", "precision", "recall", "f1"),
    *("precision_macro", "recall_macro", "f1_macro"),
    *("precision_weighted", "recall_weighted", "f1_weighted"),
    *("roc_auc", "roc_auc_weighted", "log_loss", "brier", "rmse", "mae", "r2", "mean_error"),
)
_OF_SEVERAL = ("accuracy", "f1_macro", "roc_auc", "log_loss", "rmse", "mae", "r2")
_OF_A_CLASS = ("label", "rows", "predicted", "precision", "recall", "f1", "roc_auc")


def add_to(commands: Any) -> None:
    """Add the command to the parser's others."""
    parser = commands.add_parser(
        "evaluate",
        help="measure how right predictions were, by labels that arrived later",
        description="Compare the predictions of a run, or of a model's runs within a period, with "
        "labels, and print the metrics; prediction_evaluations keeps them.",
    )
    parser.set_defaults(run=_evaluate)
    parser.add_argument("run_id", nargs="?", help="one run; or pass --model-name and a period")
    parser.add_argument("--env", required=True, choices=ENVS, help="the environment")
    parser.add_argument("--labels-table", required=True, metavar="TABLE", help="has the labels")
    parser.add_argument("--label-column", required=True, metavar="COLUMN", help="its labels")
    parser.add_argument("--model-name", metavar="NAME", help="all runs of this model")
    parser.add_argument("--model-version", metavar="VERSION", help="only of a version or alias")
    parser.add_argument("--since", metavar="TIME", help="only runs that finished then or later")
    parser.add_argument("--until", metavar="TIME", help="only runs that finished before")
    parser.add_argument(
        "--id-columns", metavar="COLUMNS", help="that both tables have, separated by commas"
    )
    parser.add_argument(
        "--prediction-column", metavar="COLUMN", help="if the run predicted several"
    )
    parser.add_argument("--task", choices=("classification", "regression"), help="of the model")
    parser.add_argument(
        "--shadow", action="store_true", help="evaluate the challenger that scored the same rows"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--url", help="the service's address (default: MLSYS_URL)")


def _evaluate(options: argparse.Namespace) -> int:
    from mlsys.remote.answers import EVALUATIONS
    from mlsys.remote.service import Service, service_url
    from mlsys.remote.verdict import in_full

    service = Service(service_url(options.url))
    given = {name: getattr(options, name) for name in _PARAMETERS}
    params = {name: value for name, value in given.items() if value is not None}
    params |= {"shadow": "true"} if options.shadow else {}
    with in_full():
        answer = service.ask("/evaluate", params, timeout=3600, fields=[EVALUATIONS])
    rows = answer["evaluations"]
    if options.json:
        print(json.dumps(answer, indent=2, ensure_ascii=False))
    elif len(rows) == 1:
        print(_one(rows[0]))
    elif rows:
        print(_several(rows))
    for row in rows:
        for note in (row.get("details") or {}).get("notes", ()):
            print(f"note: {row['run_id']}: {note}", file=sys.stderr)
    for refused in answer["not_evaluated"]:
        print(f"not evaluated: {refused['run_id']}: {refused['reason']}", file=sys.stderr)
    return 0 if rows else 1


def _one(row: Mapping[str, Any]) -> str:
    details = row.get("details") or {}
    about = {name: row.get(name) for name in _ABOUT}
    about |= {"positive_class": _text(details.get("positive_class"))}
    parts = [pairs(about), pairs({name: row.get(name) for name in _METRICS})]
    if classes := details.get("classes"):
        names = [name for name in _OF_A_CLASS if any(name in each for each in classes)]
        lines = [[_text(each.get("label")), *map(each.get, names[1:])] for each in classes]
        parts.append(table([name.upper() for name in names], lines))
    if quantiles := details.get("error_quantiles"):
        parts.append(table(["SHARE", "ERROR"], [[q["share"], q["error"]] for q in quantiles]))
    return "\n\n".join(parts)


def _several(rows: Sequence[Mapping[str, Any]]) -> str:
    names = [name for name in _OF_SEVERAL if any(row.get(name) is not None for row in rows)]
    lines = [
        [
            row["run_id"],
            row.get("model_version"),
            moment(row.get("predicted_at")),
            row.get("rows_evaluated"),
            *map(row.get, names),
        ]
        for row in rows
    ]
    return table(["RUN", "VERSION", "PREDICTED (UTC)", "ROWS", *map(str.upper, names)], lines)


def _text(label: Any) -> str | None:
    return None if label is None else str(label)
