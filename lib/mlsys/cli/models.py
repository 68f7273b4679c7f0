"""`mlsys models`: the registry's models and versions, and the removal of one."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from mlsys.cli.tables import moment, pairs, table
from mlsys.errors import InvalidRequest, ModelNotFound, SettingsError
from mlsys.plural import plural
from mlsys.settings import ENVS

USAGE = """mlsys models [NAME [VERSION]] --env ENV [--status S] [--json]
       mlsys models rm NAME VERSION --env ENV [--yes]"""
_TIMES = ("uploaded_at", "registered_at", "promoted_at")


def add_to(commands: Any) -> None:
    """Add the command to the parser's others."""
    parser = commands.add_parser(
        "models",
        usage=USAGE,
        help="list models, a model's versions or one version, and remove a version",
        description="List the registry's models, the versions of one, or all that is known of one "
        "version. `rm` deletes a version from the models bucket, unless an alias names it.",
    )
    parser.set_defaults(run=_models, stopped="Stopped. The same command finishes it.")
    parser.add_argument(
        "words", nargs="*", metavar="NAME VERSION", help="the model, and its version; or rm first"
    )
    parser.add_argument("--env", required=True, choices=ENVS, help="the environment")
    parser.add_argument("--status", choices=("ready", "rejected"), help="list only these")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--yes", action="store_true", help="rm: do not ask")
    parser.add_argument("--url", help="the service's address (default: MLSYS_URL)")
    _take_words_between_options(parser)


def _take_words_between_options(parser: Any) -> None:
    """Accept `rm --env dev NAME VERSION`; by default argparse takes such words in one piece."""
    plain = parser.parse_known_args

    def parse(arguments: Any = None, namespace: Any = None) -> Any:
        parser.parse_known_args = plain  # which the other one calls
        try:
            return parser.parse_known_intermixed_args(arguments, namespace)
        finally:
            parser.parse_known_args = parse

    parser.parse_known_args = parse


def _models(options: argparse.Namespace) -> int:
    words = options.words
    if words[:1] == ["rm"] and len(words) != 1:
        return _remove(options)
    if len(words) > 2:
        raise InvalidRequest(
            ("models", f"takes a name and a version, not {plural(len(words), 'word')}")
        )
    if options.yes:
        raise InvalidRequest(("yes", "is for `mlsys models rm NAME VERSION`"))
    rows = _rows(options, words[0] if words else None)
    if len(words) == 2:
        return _one(options, rows)
    if options.json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
    elif not rows:
        only = f" that is {options.status}" if options.status else ""
        of = f"{words[0]} has no version" if words else "The registry has no model"
        print(f"{of}{only} in {options.env}.", file=sys.stderr)
    else:
        print(_versions(rows) if words else _newest(rows))
    return 0


def _rows(options: argparse.Namespace, name: str | None) -> list[dict[str, Any]]:
    from mlsys.remote.lists import pages
    from mlsys.remote.service import Service, service_url
    from mlsys.remote.verdict import in_full

    params = {"env": options.env, "model_name": name, "status": options.status}
    given = {key: value for key, value in params.items() if value is not None}
    service = Service(service_url(options.url))
    with in_full():
        rows, _ = pages(service, "/models", "models", given, None)
    return rows


def _newest(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = []
    for name, versions in groupby(rows, key=lambda row: row["model_name"]):
        newest, *older = versions
        lines.append(
            [
                name,
                newest["model_version"],
                newest["status"],
                1 + len(older),
                moment(newest.get("uploaded_at")),
                newest.get("model_class"),
            ]
        )
    return table(["MODEL", "LATEST", "STATUS", "VERSIONS", "UPLOADED (UTC)", "CLASS"], lines)


def _versions(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        [
            row["model_version"],
            row["status"],
            ", ".join(row.get("aliases") or ()),
            moment(row.get("uploaded_at")),
            row.get("size_bytes"),
            row.get("model_class"),
            row.get("metrics") or row.get("status_reason"),
        ]
        for row in rows
    ]
    return table(
        ["VERSION", "STATUS", "ALIASES", "UPLOADED (UTC)", "BYTES", "CLASS", "METRICS"], lines
    )


def _one(options: argparse.Namespace, rows: Sequence[Mapping[str, Any]]) -> int:
    name, version = options.words
    row = next((row for row in rows if row["model_version"] == version), None)
    if row is None:
        known = ", ".join(row["model_version"] for row in rows[:20]) or "no version"
        raise ModelNotFound(f"{name} {version} is not in {options.env}: it has {known} there")
    if options.json:
        print(json.dumps(row, indent=2, ensure_ascii=False))
    else:
        # A generation is an id, not a count
        ids = {key: str(row[key]) for key in row if key.endswith("generation") and row[key]}
        print(pairs(dict(row) | ids | {key: moment(row.get(key)) or None for key in _TIMES}))
    return 0


def _remove(options: argparse.Namespace) -> int:
    from mlsys.cloud.clients import default_clients
    from mlsys.models import ModelRef
    from mlsys.registry.removal import look, remove

    if len(options.words) != 3:
        raise InvalidRequest(("rm", "takes a name and a version: mlsys models rm NAME VERSION"))
    ref = ModelRef(*options.words[1:])
    removal = look(default_clients(), options.env, ref)
    print("\n".join(removal.urls), file=sys.stderr)
    if not options.yes and not _agreed(f"Delete {ref} from {options.env}? [y/N] "):
        print("Nothing was deleted.", file=sys.stderr)
        return 1
    aliases = remove(removal)
    latest = f"latest means {removal.latest}" if removal.latest else "no version is left"
    print(f"{ref} is deleted from {options.env}; {latest}.")
    print(
        f"The registry removes its row in a moment, when it is notified; a rescan, GET "
        f"/model-registry?env={options.env}, does so too. Finished runs keep naming the version. A "
        "bucket with versioning keeps the deleted objects for a while: gcloud storage ls -a"
    )
    for alias in aliases:
        print(
            f"mlsys: the alias {alias} was moved to {ref.version} meanwhile, and names nothing "
            f"now: mlsys alias set {ref.name} {alias} VERSION --env {options.env}",
            file=sys.stderr,
        )
    return 1 if aliases else 0


def _agreed(question: str) -> bool:
    if not sys.stdin.isatty():
        raise SettingsError("nobody can be asked here: pass --yes to delete it")
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
