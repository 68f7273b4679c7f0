"""`mlsys quarantine list` and `mlsys quarantine replay`: messages the service could not parse."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from mlsys.errors import InvalidRequest, SettingsError
from mlsys.settings import ENVS

if TYPE_CHECKING:
    from mlsys.cloud.quarantine import Record

MAX_LISTED = 1_000


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
        help="publish them again, and remove them",
        description="Publish messages again to the topic that they came from, and remove them "
        "from quarantine. One that is still malformed comes back.",
    )
    again.set_defaults(run=_replay)
    again.add_argument("name", nargs="*", help="the message's object, as `list` shows it")
    again.add_argument("--all", action="store_true", help="all of them")
    listing.add_argument(
        "--limit",
        type=int,
        default=MAX_LISTED,
        metavar="N",
        help="show at most N, the oldest first (default: %(default)s)",
    )
    for parser in (listing, again):
        parser.add_argument("--env", required=True, choices=ENVS, help="the environment")


def _list(options: argparse.Namespace) -> int:
    from mlsys.cloud.clients import default_clients
    from mlsys.cloud.quarantine import objects, read

    if options.limit < 1:
        raise SettingsError(f"--limit is {options.limit}: pass a number above 0")
    clients = default_clients()
    names = objects(clients, options.env)
    listed = 0
    for name, record in read(clients, options.env, names[: options.limit]):
        if record is None:
            print(f"{name} is not a message: mlsys leaves it alone.", file=sys.stderr)
        else:
            listed += 1
            reason = "".join(c if c.isprintable() else " " for c in record.reason)
            print(f"{record.received_at}  {name}  {record.route}  {reason}")
    if (more := len(names) - options.limit) > 0:
        print(f"{more:,} more are not shown: pass a larger --limit.", file=sys.stderr)
    elif not listed:
        print("Nothing is in quarantine.", file=sys.stderr)
    return 0


def _replay(options: argparse.Namespace) -> int:
    from mlsys.cloud.clients import default_clients
    from mlsys.cloud.quarantine import objects, read, replay

    if bool(options.name) == options.all:
        raise SettingsError("name the messages to publish again, or pass --all")
    clients = default_clients()
    names = options.name or objects(clients, options.env)
    records: Iterable[tuple[str, Record | None]] = read(clients, options.env, names)
    if not options.all:
        records = list(records)
        known = {name for name, record in records if record is not None}
        if unknown := [name for name in names if name not in known]:
            raise SettingsError(f"not in quarantine: {', '.join(unknown)}")
    failed = 0
    for name, record in records:
        if record is None:
            continue  # not an object of mlsys
        try:
            replay(clients, options.env, record)
            print(f"published again: {name}")
        except InvalidRequest as exc:
            failed += 1
            print(f"mlsys: {exc}", file=sys.stderr)
        except ModuleNotFoundError as exc:
            raise SettingsError(
                f"publishing needs {exc.name}: pip install 'mlsys[service]'"
            ) from exc
    return 1 if failed else 0
