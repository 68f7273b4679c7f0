"""`mlsys runs`: the runs that still work and those that finished, or one run in any state."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from mlsys.cli.tables import moment, pairs, table
from mlsys.errors import InvalidRequest
from mlsys.settings import ENVS

STATES = ("running", "succeeded", "failed", "cancelled")
_FILTERS = ("model_name", "state")
_ONE = (
    *("run_id", "state", "failure", "model_name", "model_version", "input_table", "output_table"),
    *("rows_done", "rows_total", "rows_rejected", "rejects_table", "shards_done", "attempts"),
    *("seconds", "finished_at", "engine", "engine_reason"),
)


def add_to(commands: Any) -> None:
    """Add the command to the parser's others."""
    parser = commands.add_parser(
        "runs",
        help="list runs, or show one run",
        description="List the runs that still work, then those that finished, the latest first; or "
        "show one run.",
    )
    parser.set_defaults(run=_runs)
    parser.add_argument("run_id", nargs="?", help="one run")
    parser.add_argument("--env", required=True, choices=ENVS, help="the environment")
    parser.add_argument("--model-name", metavar="NAME", help="only the runs of this model")
    parser.add_argument("--state", choices=STATES, help="only these")
    parser.add_argument(
        "--limit", type=int, metavar="N", help="at most N that finished (default: 20)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--url", help="the service's address (default: MLSYS_URL)")


def _runs(options: argparse.Namespace) -> int:
    from mlsys.remote.lists import runs_of
    from mlsys.remote.service import Service, service_url
    from mlsys.remote.verdict import in_full

    given = {name: getattr(options, name) for name in (*_FILTERS, "limit")}
    given = {name: value for name, value in given.items() if value is not None}
    if options.run_id is not None and given:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise InvalidRequest(("run_id", f"names one run: leave out {names}"))
    service = Service(service_url(options.url))
    if options.run_id is not None:
        return _one(service, options)
    params = {"env": options.env} | {name: given[name] for name in _FILTERS if name in given}
    with in_full():
        rows, more = runs_of(service, params, given.get("limit", 20))
    if options.json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
    elif not rows:
        print(f"No run of {options.env} passes these filters.", file=sys.stderr)
    else:
        print(_listed(rows))
    if more:
        print("More runs are not shown: pass a larger --limit.", file=sys.stderr)
    return 0


def _listed(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        [
            row["run_id"],
            row["state"],
            row.get("model_version"),
            row.get("rows_scored"),
            row.get("seconds"),
            moment(row.get("finished_at")) or row.get("stage"),
            row.get("failure") or row.get("output_table"),
        ]
        for row in rows
    ]
    headings = ["RUN", "STATE", "VERSION", "ROWS", "SECONDS", "FINISHED (UTC)", "OUTPUT OR FAILURE"]
    return table(headings, lines)


def _one(service: Any, options: argparse.Namespace) -> int:
    from mlsys.remote.answers import STATUS
    from mlsys.remote.verdict import in_full

    with in_full():
        status = service.ask(f"/runs/{options.run_id}", {"env": options.env}, fields=[STATUS])
    if options.json:
        print(json.dumps(status, indent=2, ensure_ascii=False))
        return 0
    result, failure = status.get("result") or {}, status.get("failure") or {}
    known = dict(status.get("request") or {}) | dict(status) | dict(result)
    known |= {"failure": failure.get("detail"), "finished_at": None}
    known["finished_at"] = moment((result or failure).get("finished_at")) or None
    print(pairs({name: known.get(name) for name in _ONE}))
    for warning in result.get("warnings") or ():
        print(f"warning: {warning}", file=sys.stderr)
    return 0
