"""`mlsys quarantine list` and `mlsys quarantine replay`: what the service could not understand."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from mlsys.errors import InvalidRequest, SettingsError
from mlsys.settings import ENVS


def add_to(commands: Any) -> None:
    """Add the command to the parser's others."""
    quarantine = commands.add_parser(
        "quarantine", help="pushed messages that the service could not understand"
    )
    verbs = quarantine.add_subparsers(metavar="COMMAND", required=True)
    listing = verbs.add_parser("list", help="show them: when, which, and why")
    listing.set_defaults(run=_list)
    again = verbs.add_parser(
        "replay",
        help="publish them again, and take them out",
        description="Publish messages again to the topic that they came from, and take them out "
        "of quarantine. One that is still not understood comes back.",
    )
    again.set_defaults(run=_replay)
    again.add_argument("name", nargs="*", help="the message's object, as `list` shows it")
    again.add_argument("--all", action="store_true", help="all of them")
    for parser in (listing, again):
        parser.add_argument("--env", required=True, choices=ENVS, help="the environment")


def _list(options: argparse.Namespace) -> int:
    from mlsys.clients import default_clients
    from mlsys.quarantine import records

    found = records(default_clients(), options.env)
    for record in found:
        print(f"{record.received_at}  {record.name}  {record.route}  {record.reason}")
    if not found:
        print("Nothing is in quarantine.", file=sys.stderr)
    return 0


def _replay(options: argparse.Namespace) -> int:
    from mlsys.clients import default_clients
    from mlsys.quarantine import records, replay

    if bool(options.name) == options.all:
        raise SettingsError("name the messages to publish again, or pass --all")
    clients = default_clients()
    found = {record.name: record for record in records(clients, options.env)}
    if unknown := [name for name in options.name if name not in found]:
        raise SettingsError(f"not in quarantine: {', '.join(unknown)}")
    failed = 0
    for name in options.name or found:
        try:
            replay(clients, options.env, found[name])
            print(f"published again: {name}")
        except InvalidRequest as exc:
            failed += 1
            print(f"mlsys: {exc}", file=sys.stderr)
        except ModuleNotFoundError as exc:
            raise SettingsError(
                f"publishing needs {exc.name}: pip install 'mlsys[service]'"
            ) from exc
    return 1 if failed else 0
