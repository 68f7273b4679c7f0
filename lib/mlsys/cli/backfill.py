"""`mlsys backfill`: score a table partition by partition, a run each, and only what is not done."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from typing import TYPE_CHECKING, Any

from mlsys.cli.predict import FLAGS, OPTIONAL, add_options, flag
from mlsys.cli.tables import moment, table
from mlsys.plural import plural
from mlsys.settings import ENVS

if TYPE_CHECKING:
    from mlsys.remote.backfill import Backfill, Outcome

_NOT_OF_ALL = ("run_id", "write_disposition")  # each partition has its own run, and is replaced
_OPTIONS = {name: about for name, about in OPTIONAL.items() if name not in _NOT_OF_ALL}
_OWN = ("first", "last", "only", "parallel", "url")


def add_to(commands: Any) -> None:
    """Add the command to the parser's others."""
    parser = commands.add_parser(
        "backfill",
        help="score a table partition by partition, and only what is not done",
        description="Score the partitions of a table, each by a run of its own into the same "
        "partition of the output table, several at a time. Only partitions that are not done are "
        "scored, so the same command goes on after an interruption. Ctrl-C stops the waiting, not "
        "the runs that have begun. GET /docs describes the options.",
    )
    parser.set_defaults(run=_backfill)
    parser.add_argument("model_name", metavar="MODEL", help="the model, such as titanic-survival")
    parser.add_argument("--env", required=True, choices=ENVS, help="the environment")
    parser.add_argument("--from", dest="first", required=True, metavar="DAY", help=_RANGE)
    parser.add_argument("--to", dest="last", required=True, metavar="DAY", help="the last one")
    parser.add_argument("--input-table", required=True, metavar="P.D.T", help="the table to score")
    parser.add_argument(
        "--output-table", required=True, metavar="P.D.T", help="the table of the predictions"
    )
    add_options(parser, _OPTIONS, version="champion")
    parser.add_argument(
        "--only",
        default="failed,missing,stale,running",
        metavar="STATES",
        help="score only partitions in these states (default: %(default)s); stale: scored by "
        "another version, or the input was written since",
    )
    parser.add_argument(
        "--parallel", type=int, default=4, metavar="N", help="how many at a time (default: 4)"
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--status", action="store_true", help="only show the state of each")
    how.add_argument(
        "--dry-run", action="store_true", help="only check whether the first one would work"
    )
    how.add_argument("--no-wait", action="store_true", help="start the runs and do not wait")
    parser.add_argument("--url", help="the service's address (default: MLSYS_URL)")
    parser.add_argument("--json", action="store_true", help="print the board as JSON")


_RANGE = "the first partition: 2026-10-01, 2026-10, yesterday; of integer ranges, a number"
NAMED = 10  # partitions that changed while the backfill worked
_REQUEST = ("env", "input_table", "output_table", "model_name", "model_version")


def _backfill(options: argparse.Namespace) -> int:
    from mlsys.remote.backfill import Backfill, check_parallel, read_only, selected
    from mlsys.remote.service import Service, service_url
    from mlsys.remote.verdict import in_full

    given = {name: getattr(options, name) for name in (*_REQUEST, *_OPTIONS, *FLAGS)}
    params = {name: value for name, value in given.items() if value is not None}
    only, parallel = read_only(options.only), check_parallel(options.parallel)
    service = Service(service_url(options.url))
    backfill = Backfill(service, params, options.first, options.last)
    with in_full():
        if options.no_wait:
            board = backfill.start(only)
            _say(f"Requested: {_partitions(board['published'] or ())}.")
            return _shown(board, options)
        board = backfill.board()
        if options.status:
            return _shown(board, options)
        todo = selected(board, only)
        if options.dry_run:
            return _checked(backfill, todo, options)
    options.stopped = _how_to_go_on(options, "No longer waiting; runs that have begun go on.")
    _say(f"{_model(board)}: {len(todo):,} of {_partitions(board['partitions'])} to be scored")
    outcomes = list(_followed(backfill.score(todo, parallel), len(todo)))
    failed = [outcome.label for outcome in outcomes if outcome.problem]
    with in_full():
        after = backfill.board()
    if options.json:
        _shown(after, options)
    else:
        print(_totals(after))
    if failed:
        _say(f"mlsys: {_partitions(failed)} not scored: {', '.join(failed)}.")
        _say(_how_to_go_on(options, "The lines above say why."))
        return 1
    return _changed_meanwhile(board, outcomes, after)


def _changed_meanwhile(
    before: Mapping[str, Any], outcomes: Sequence[Outcome], after: Mapping[str, Any]
) -> int:
    """Say which partitions are not done although they were scored, and return the exit code.

    It is 1 if the version is another one by now, so that the table has rows of both.
    """
    reused = {outcome.label: bool((outcome.result or {}).get("reused")) for outcome in outcomes}
    again = [
        entry
        for entry in after["partitions"]
        if entry["label"] in reused and entry["state"] not in ("done", "empty")
    ]
    if not again:
        return 0
    for entry in again[:NAMED]:
        _say(f"{entry['label']}  {entry['state']}: {entry['reason']}")
    is_moved = any(before.get(n) != after.get(n) for n in ("model_version", "model_generation"))
    advice = "by what changed meanwhile. Repeat the command."
    if not is_moved and all(reused[entry["label"]] for entry in again):
        advice = "and a repeat would reuse the same runs. To score all rows again, leave out "
        advice += "--incremental; to add those that the output lacks, pass --incremental ids."
    _say(f"mlsys: {_partitions(again)} not done, {advice}")
    return 1 if is_moved else 0


def _followed(outcomes: Iterable[Outcome], total: int) -> Iterator[Outcome]:
    """Yield the outcomes, and print a line about each."""
    for number, outcome in enumerate(outcomes, 1):
        _say(f"{number:,} of {total:,}  {outcome.label}  {outcome}")
        yield outcome


def _checked(
    backfill: Backfill, todo: Sequence[Mapping[str, Any]], options: argparse.Namespace
) -> int:
    """Print whether the run of the first partition would work."""
    from mlsys.remote.verdict import headline, problems

    if not todo:
        print("Nothing is to be scored.")
        return 0
    call = backfill.call(todo[0]["partition"])
    verdict = call.verdict()
    if options.json:
        print(json.dumps(verdict, indent=2, ensure_ascii=False))
    else:
        print(f"To be scored: {_partitions(todo)}. The first one:")
        print(headline(call, verdict))
        print("It would work." if verdict["ok"] else "It would not work.")
    _say(*(line if line.startswith(" ") else f"mlsys: {line}" for line in problems(verdict)))
    return 0 if verdict["ok"] else 1


def _shown(board: Mapping[str, Any], options: argparse.Namespace) -> int:
    if options.json:
        print(json.dumps(board, indent=2, ensure_ascii=False))
        return 0
    rows = [
        [
            entry["label"],
            entry["state"],
            entry.get("model_version"),
            entry.get("rows"),
            moment(entry.get("finished_at")),
            entry.get("reason"),
        ]
        for entry in board["partitions"]
    ]
    print(table(["PARTITION", "STATE", "VERSION", "ROWS", "FINISHED (UTC)", "WHY"], rows))
    print(_totals(board))
    return 0


def _totals(board: Mapping[str, Any]) -> str:
    counts = {k: v for k, v in board["totals"].items() if k not in ("partitions", "rows") and v}
    states = ", ".join(f"{count:,} {state}" for state, count in counts.items())
    return f"{_model(board)}: {_partitions(board['partitions'])}: {states}"


def _model(board: Mapping[str, Any]) -> str:
    alias = f" ({board['model_alias']})" if board.get("model_alias") else ""
    return f"{board.get('model_name')} {board.get('model_version')}{alias}"


def _partitions(some: Sized) -> str:
    return plural(len(some), "partition")


def _how_to_go_on(options: argparse.Namespace, why: str) -> str:
    names = {"first": "--from", "last": "--to"}
    words = ["mlsys", "backfill", options.model_name]
    for name in (*_REQUEST, *_OWN, *_OPTIONS):
        value = getattr(options, name)
        if name != "model_name" and value is not None:
            words += [names.get(name, flag(name)), str(value)]
    words += [flag(name) for name in FLAGS if getattr(options, name)]
    words += ["--json"] if options.json else []
    return f"{why}\nTo go on with what is not done: {shlex.join(words)}"


def _say(*lines: str) -> None:
    for line in lines:
        print(line, file=sys.stderr, flush=True)
