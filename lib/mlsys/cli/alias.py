"""`mlsys alias set`, `list`, `history`, `rm`: which version a name such as champion stands for."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from mlsys.settings import ENVS

if TYPE_CHECKING:
    from mlsys.remote.aliases import Aliases, AliasMove

MAX_LISTED = 20


def add_to(commands: Any) -> None:
    """Add the command to the parser's others."""
    alias = commands.add_parser(
        "alias", help="move a name such as champion to a version, and see who moved it"
    )
    verbs = alias.add_subparsers(metavar="COMMAND", required=True)
    setting = verbs.add_parser(
        "set",
        help="have an alias name a version",
        description="Have an alias name a version. The service moves it in your account's name, "
        "and keeps who did it, when and why. With --expected, the move is refused if somebody else "
        "has moved the alias meanwhile.",
    )
    setting.set_defaults(run=_set, stopped="Stopped. `mlsys alias list` tells whether it moved.")
    removing = verbs.add_parser("rm", help="remove an alias; its history stays")
    removing.set_defaults(run=_remove, stopped="Stopped. `mlsys alias list` tells what is there.")
    listing = verbs.add_parser("list", help="show a model's aliases")
    listing.set_defaults(run=_list)
    history = verbs.add_parser("history", help="show which versions an alias named, when and why")
    history.set_defaults(run=_history)
    for parser in (setting, removing, listing, history):
        parser.add_argument("name", help="the model, such as titanic-survival")
        if parser is not listing:
            parser.add_argument("alias", help="the alias, such as champion")
        if parser is setting:
            parser.add_argument("version", help="v1, v2, ...")
        parser.add_argument("--env", required=True, choices=ENVS, help="the environment")
        parser.add_argument("--url", help="the service's address (default: MLSYS_URL)")
        parser.add_argument("--json", action="store_true", help="print JSON")
    history.add_argument(
        "--limit",
        type=int,
        default=MAX_LISTED,
        metavar="N",
        help="at most N (default: %(default)s)",
    )
    for parser in (setting, removing):
        parser.add_argument("--why", metavar="TEXT", help="the reason; the history keeps it")
        parser.add_argument(
            "--expected", metavar="VERSION", help="the version that it names now, or none"
        )
        parser.add_argument(
            "--force",
            action="store_true",
            help="although the version is not ready; needs --why, and overrides no guard",
        )
        parser.add_argument("--dry-run", action="store_true", help="only ask whether it would")


def _aliases(options: argparse.Namespace) -> Aliases:
    from mlsys.remote.aliases import Aliases
    from mlsys.remote.service import Service, service_url

    return Aliases(Service(service_url(options.url)), options.env)


def _names(options: argparse.Namespace) -> tuple[str, str]:
    """Return the model's name and the alias, both checked."""
    from mlsys.artifact.refs import AliasRef

    ref = AliasRef(options.name, options.alias)
    return ref.model, ref.alias


def _set(options: argparse.Namespace) -> int:
    from mlsys.artifact.refs import ModelRef

    model, alias = _names(options)
    version = ModelRef(model, options.version).version
    reasons = options.why, options.expected, options.force, options.dry_run
    return _print_move(options, _aliases(options).move(model, alias, version, *reasons))


def _remove(options: argparse.Namespace) -> int:
    reasons = options.why, options.expected, options.force, options.dry_run
    return _print_move(options, _aliases(options).remove(*_names(options), *reasons))


def _print_move(options: argparse.Namespace, move: AliasMove) -> int:
    from dataclasses import asdict

    if options.json:
        print(json.dumps(asdict(move), indent=2))
        return 0
    name = f"{move.alias} of {move.model_name} in {options.env}"
    before = move.previous_version or "none"
    change = "unchanged" if move.version == before else f"{before} -> {move.version or 'removed'}"
    if options.dry_run:
        print(f"{name}: {change} is allowed; nothing was moved")
        for clause in move.evidence.get("guard", ()):
            print(f"  {clause['name']}: {clause['seen']}")
    else:
        print(f"{name}: {change}, by {move.who}" if move.moved else f"{name}: {change}")
    return 0


def _list(options: argparse.Namespace) -> int:
    from mlsys.artifact.refs import ModelRef

    rows = _aliases(options).of_model(ModelRef(options.name, "v1").name)
    if options.json:
        print(json.dumps(rows, indent=2))
        return 0
    if not rows:
        print(f"{options.name} has no alias in {options.env}.")
    for row in rows:
        version = row["version"] or "no version"
        fault = f"  broken: {row['problem']}" if row.get("broken") else ""
        print(f"{row['alias']}  {version}  {_by(row, 'moved_at')}{fault}")
    return 0


def _history(options: argparse.Namespace) -> int:
    rows, more = _aliases(options).history(*_names(options), options.limit)
    if options.json:
        print(json.dumps(rows, indent=2))
        return 0
    if not rows:
        print(f"{options.alias} of {options.name} has no history in {options.env}.")
    for row in rows:
        end = _time(row["valid_to"]) if row["valid_to"] else "now"
        print(f"{row['version']}  until {end}  {_by(row, 'valid_from')}")
    if more:
        print("Earlier ones are not shown: pass a larger --limit.")
    return 0


def _by(row: dict[str, Any], since: str) -> str:
    who = row["who"] or "unknown: not by the service"
    why = "".join(c if c.isprintable() else " " for c in row["why"] or "")
    return f"since {_time(row[since])}  by {who}" + (f"  {why}" if why else "")


def _time(text: str) -> str:
    return text[:19].replace("T", " ")
