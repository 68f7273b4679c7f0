"""`mlsys drift`: how far the columns of a model's last runs are from the training data."""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from mlsys.cli.tables import moment, table
from mlsys.plural import plural
from mlsys.settings import ENVS

AGAINST = {"training": "distance", "previous": "distance_previous", "week": "distance_week"}


def add_to(commands: Any) -> None:
    """Add the command to the parser's others."""
    parser = commands.add_parser(
        "drift",
        help="show which columns of a model's last runs differ from the training data",
        description="Show the columns of a model's last runs, ranked by their distance to the "
        "training data, to the run before, and to the run seven days before. Drift does not say "
        "that the predictions are worse: mlsys evaluate does, by labels.",
    )
    parser.set_defaults(run=_drift)
    parser.add_argument("model_name", help="the model, such as titanic-survival")
    parser.add_argument("--env", required=True, choices=ENVS, help="the environment")
    parser.add_argument("--model-version", metavar="VERSION", help="only runs of this version")
    parser.add_argument(
        "--runs", type=int, default=5, metavar="N", help="the latest N runs (default: 5)"
    )
    parser.add_argument(
        "--against",
        choices=AGAINST,
        help="order the columns by this distance (default: by level, distance and importance)",
    )
    parser.add_argument(
        "--top", type=int, default=10, metavar="N", help="columns of each run (default: 10)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--url", help="the service's address (default: MLSYS_URL)")


def _drift(options: argparse.Namespace) -> int:
    from mlsys.remote.answers import DRIFT
    from mlsys.remote.service import Service, service_url
    from mlsys.remote.verdict import in_full

    service = Service(service_url(options.url))
    params = {"env": options.env, "runs": str(options.runs)}
    params |= {"model_version": options.model_version} if options.model_version else {}
    with in_full():
        path = f"/models/{options.model_name}/drift"
        answer = service.ask(path, params, timeout=120, fields=[DRIFT])
    rows = answer["columns"]
    if options.json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
    elif not rows:
        which = f"{options.model_name} {options.model_version or ''}".strip()
        print(f"No run of {which} in {options.env} has counted columns.", file=sys.stderr)
    else:
        runs = itertools.groupby(rows, key=lambda row: row["run_id"])
        print("\n\n".join(_one(list(columns), options) for _, columns in runs))
    if answer["more"]:
        print("Columns are not shown: pass a smaller --runs.", file=sys.stderr)
    return 0


def _one(columns: Sequence[Mapping[str, Any]], options: argparse.Namespace) -> str:
    """Return a run's heading, and its first columns."""
    first = columns[0]
    compared = [row for row in columns if row["level"] != "unknown"]
    drifted = sum(row["level"] == "drift" for row in compared)
    heading = (
        f"{first['run_id']} ({first['model_version']}, {moment(first['predicted_at'])} UTC): "
        f"{drifted or 'none'} of {plural(len(compared), 'column')} drifted"
    )
    if options.against:
        name = AGAINST[options.against]
        columns = sorted(columns, key=lambda row: row[name] or 0.0, reverse=True)
    lines = [
        [
            row["column_name"],
            row["role"],
            row["level"],
            *(_rounded(row[name]) for name in AGAINST.values()),
            _rounded(row["importance"]),
            row["why"],
        ]
        for row in columns[: options.top]
    ]
    headings = ["COLUMN", "ROLE", "LEVEL", *map(str.upper, AGAINST), "IMPORTANCE", "WHY"]
    more = len(columns) - len(lines)
    end = f"\n{plural(more, 'more column')}: pass a larger --top" if more > 0 else ""
    return f"{heading}\n{table(headings, lines)}{end}"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
