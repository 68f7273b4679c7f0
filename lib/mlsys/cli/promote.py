"""`mlsys promote`: take a model version to the next environment."""

from __future__ import annotations

import argparse
import getpass
import os
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mlsys.errors import InvalidRequest
from mlsys.settings import ENVS

if TYPE_CHECKING:
    from mlsys.artifact.refs import ModelRef
    from mlsys.cloud.clients import Clients
    from mlsys.remote.aliases import AliasMove


def add_to(commands: Any) -> None:
    """Add the command to the parser's others."""
    parser = commands.add_parser(
        "promote",
        help="take a model version to the next environment",
        description="Copy a model version with its metadata and signature to the bucket of another "
        "environment, where the copy registers itself. Only a version that is ready in "
        "the registry is promoted; the new registry row tells who did it, when and from where. "
        "With --alias, the target's service then moves the alias to the version.",
    )
    parser.set_defaults(run=_promote, stopped="Stopped. The same command finishes it.")
    parser.add_argument("name", help="the model, such as titanic-survival")
    parser.add_argument("version", help="v1, v2, ...")
    parser.add_argument("--from", dest="source", required=True, choices=ENVS, help="where it is")
    parser.add_argument("--to", dest="target", required=True, choices=ENVS, help="where it goes")
    parser.add_argument(
        "--by", help="who promotes it (default: GITHUB_ACTOR, or the user of this machine)"
    )
    parser.add_argument("--from-project", help="the source's project (default: GCP_PROJECT_ID)")
    parser.add_argument("--to-project", help="the target's project (default: GCP_PROJECT_ID)")
    parser.add_argument(
        "--confirm", metavar="NAME/VERSION", help="repeat the version; required for prod"
    )
    parser.add_argument("--alias", help="move this alias too, such as champion")
    parser.add_argument(
        "--why",
        metavar="TEXT",
        help="the reason for the alias (default: who moved it in the source, and why)",
    )
    parser.add_argument("--url", help="the target's service, for --alias (default: MLSYS_URL)")


def _promote(options: argparse.Namespace) -> int:
    from mlsys.cloud.clients import clients_for, default_clients
    from mlsys.models import ModelRef
    from mlsys.registry.promotion import promote

    ref = ModelRef(options.name, options.version)
    if (options.target == "prod" or options.confirm) and options.confirm != str(ref):
        raise InvalidRequest(("confirm", f"is required for prod: pass --confirm {ref}"))
    settings = default_clients().settings
    source, target = (
        clients_for(replace(settings, project=project or settings.project))
        for project in (options.from_project, options.to_project)
    )
    if options.why is not None and options.alias is None:
        raise InvalidRequest(("why", "is the reason for an alias: pass --alias"))
    move = None if options.alias is None else _move(options, ref, source)
    by = options.by or os.environ.get("GITHUB_ACTOR") or _user()
    row = promote(
        ref, options.source, options.target, by=by, from_clients=source, to_clients=target
    )
    reason = f" ({row.status_reason})" if row.status_reason else ""
    print(f"{ref} is in {options.target}, {row.status}{reason}")
    if move is not None:
        moved = move()
        before = moved.previous_version or "none"
        print(f"{moved.alias}: {before} -> {moved.version}, by {moved.who}")
    return 0


def _move(options: argparse.Namespace, ref: ModelRef, source: Clients) -> Callable[[], AliasMove]:
    """Return the move of the alias, after the version that it names in the target was looked up."""
    from mlsys.artifact.refs import AliasRef
    from mlsys.registry.promotion import reason_in
    from mlsys.remote.aliases import Aliases, move_to_new
    from mlsys.remote.service import Service, service_url

    alias = AliasRef(ref.name, options.alias).alias
    aliases = Aliases(Service(service_url(options.url)), options.target)
    expected = aliases.versions(ref.name).get(alias) or "none"
    why = options.why or reason_in(source, options.source, ref, alias)
    done = f"in {options.target}"
    return lambda: move_to_new(aliases, ref, alias, why, expected, done)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError) as exc:  # a container's user may have no name
        raise InvalidRequest(("by", "this machine's user has no name: pass --by")) from exc
