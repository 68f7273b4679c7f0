"""`mlsys runs`: the runs that still work and those that finished, or one run in any state."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from mlsys.cli.tables import moment, pairs, table
from mlsys.errors import InvalidRequest
from mlsys.remote.lists import COSTS
from mlsys.settings import ENVS

STATES = ("running", "succeeded", "failed", "cancelled", "undone")
_FILTERS = ("model_name", "state")
_ONE = (
    *("run_id", "state", "failure", "model_name", "model_version", "input_table", "output_table"),
    *("rows_done", "rows_total", "rows_rejected", "rejects_table", "shards_done", "attempts"),
    *("seconds", "finished_at", "engine", "engine_reason"),
    *("undone_at", "undone_by", "undone_why"),
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
    parser.add_argument(
        "--costs", action="store_true", help="print what the runs cost, by month and model"
    )
    parser.add_argument(
        "--months", type=int, metavar="N", help="with --costs: the last N months (default: 12)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--url", help="the service's address (default: MLSYS_URL)")


def _runs(options: argparse.Namespace) -> int:
    from mlsys.remote.lists import runs_of
    from mlsys.remote.service import Service, service_url
    from mlsys.remote.verdict import in_full

    given = {name: getattr(options, name) for name in (*_FILTERS, "limit", "months")}
    given |= {"costs": True if options.costs else None}
    given = {name: value for name, value in given.items() if value is not None}
    if options.run_id is not None and given:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise InvalidRequest(("run_id", f"names one run: leave out {names}"))
    service = Service(service_url(options.url))
    if options.run_id is not None:
        return _one(service, options)
    _check_fit(given)
    if options.costs:
        return _costs(service, options, given)
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


def _check_fit(given: Mapping[str, Any]) -> None:
    """Check that the options are about one thing: a list, or costs.

    Raises:
        InvalidRequest: they are not.
    """
    if "months" in given and "costs" not in given:
        raise InvalidRequest(("months", "works only with --costs: pass both"))
    if "costs" in given and (others := [name for name in ("state", "limit") if name in given]):
        names = ", ".join(f"--{name}" for name in others)
        raise InvalidRequest(("costs", f"adds up all runs: leave out {names}"))


def _costs(service: Any, options: argparse.Namespace, given: Mapping[str, Any]) -> int:
    from mlsys.remote.lists import costs
    from mlsys.remote.verdict import in_full

    with in_full():
        rows, basis = costs(service, options.env, given.get("model_name"), given.get("months"))
    if options.json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
    elif not rows:
        print(f"No run of {options.env} has finished in these months.", file=sys.stderr)
    else:
        headings = ["MONTH", "MODEL", "RUNS", "ROWS", "BYTES", "USD", "VCPU SECONDS"]
        print(table(headings, [[_figure(row.get(name)) for name in COSTS] for row in rows]))
        print(f"USD: {basis}.", file=sys.stderr)
    return 0


def _figure(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value


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
    result, undo = status.get("result") or {}, status.get("undo") or {}
    end = result or status.get("failure") or status.get("cancellation") or {}
    known = dict(status.get("request") or {}) | dict(status) | dict(result)
    known |= {"state": status.get("state"), "failure": end.get("detail")}  # it may be undone since
    known["finished_at"] = moment(end.get("finished_at") or end.get("cancelled_at")) or None
    known["undone_at"] = moment(undo.get("undone_at")) or None
    known |= {"undone_by": undo.get("by"), "undone_why": undo.get("why")}
    print(pairs({name: known.get(name) for name in _ONE}))
    for warning in result.get("warnings") or ():
        print(f"warning: {warning}", file=sys.stderr)
    return 0
