"""`mlsys local up`: Google Cloud on this machine."""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import shlex
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlsys.cloud.loopback import has_proxy, without_proxies
from mlsys.errors import SettingsError
from mlsys.local.stack import TIME_SCALE, Ports, local_stack
from mlsys.settings import ENVS

_HEADER = "# Written by `mlsys local up`, removed when it stops."


def add_to(groups: Any) -> None:
    """Add the command to the parser's others."""
    local = groups.add_parser("local", help="Google Cloud on this machine")
    commands = local.add_subparsers(metavar="COMMAND", required=True)
    up = commands.add_parser("up", help="start it, and stop it with Ctrl-C")
    up.set_defaults(run=_up)
    up.add_argument("--data-dir", help="keep objects and tables here (default: nothing is kept)")
    up.add_argument(
        "--envs", default="dev", help="environments, comma-separated (default: %(default)s)"
    )
    for name, what in (
        ("port", "the service"),
        ("bigquery-port", "BigQuery (REST)"),
        ("bigquery-storage-port", "BigQuery's Storage API (gRPC)"),
        ("storage-port", "Cloud Storage"),
        ("pubsub-port", "Pub/Sub (gRPC)"),
        ("run-port", "Cloud Run's jobs (gRPC)"),
    ):
        up.add_argument(f"--{name}", type=int, metavar="N", help=f"port of {what} (default: free)")
    up.add_argument("--samples", action="store_true", help="load the sample tables (titanic.*)")
    up.add_argument("--no-service", action="store_true", help="start only Google Cloud")
    up.add_argument(
        "--time-scale",
        type=float,
        default=TIME_SCALE,
        metavar="X",
        help="multiply Pub/Sub's waits of 10 to 600 s before it delivers again "
        "(default: %(default)s, so half a second to 30 s; 1 is as in the cloud)",
    )
    up.add_argument("--env-file", help="also write the variables here, for `source` or as .env")


def _up(options: argparse.Namespace) -> int:
    envs = tuple(dict.fromkeys(env.strip() for env in options.envs.split(",")))
    if unknown := [env for env in envs if env not in ENVS]:
        raise SettingsError(f"--envs names {unknown}: pass a comma-separated list of {list(ENVS)}")
    if not (options.time_scale >= 0 and math.isfinite(options.time_scale)):
        raise SettingsError(f"--time-scale is {options.time_scale}: pass a number, 0 or more")
    for name in ("data_dir", "env_file"):
        if getattr(options, name) == "":
            raise SettingsError(
                f"--{name.replace('_', '-')} is empty: pass a path, or leave it out"
            )
    env_file = Path(options.env_file) if options.env_file else None
    if env_file and check_env_file(env_file):
        print(f"Replacing {env_file}, which another stack wrote", flush=True)
    ports = Ports(
        service=options.port,
        bigquery=options.bigquery_port,
        bigquery_storage=options.bigquery_storage_port,
        storage=options.storage_port,
        pubsub=options.pubsub_port,
        run=options.run_port,
    )
    with contextlib.ExitStack() as exits:
        stack = exits.enter_context(
            local_stack(
                data_dir=options.data_dir,
                ports=ports,
                envs=envs,
                with_service=not options.no_service,
                samples=options.samples,
                time_scale=options.time_scale,
                progress=lambda line: print(line, flush=True),
            )
        )
        # For curl and notebooks: requests to the stack must not go through a proxy.
        direct = without_proxies(os.environ) if has_proxy(os.environ) else {}
        exports = _exports(stack.environment | direct)
        if env_file:
            content = f"{_HEADER}\n{exports}\n"
            exits.callback(remove_env_file, env_file, content)
            write_env_file(env_file, content)
        print(f"\n{exports}\n\nLogs: {stack.logs}\nCtrl-C stops everything.", flush=True)
        stack.wait()
    return 0


def _exports(environment: Mapping[str, str]) -> str:
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in environment.items())


def check_env_file(path: Path) -> bool:
    """Tell whether a file that this command wrote exists already.

    Raises:
        SettingsError: another file exists, or the file cannot be written.
    """
    try:
        exists = path.exists()
        if exists and not path.is_file():
            raise SettingsError(f"--env-file {path} is not a regular file: pass the path of one")
        if exists:
            with path.open("rb") as file:
                if file.read(len(_HEADER.encode())) != _HEADER.encode():
                    raise SettingsError(
                        f"{path} exists, and mlsys did not write it: pass another --env-file"
                    )
        if not path.parent.is_dir():
            raise SettingsError(f"the folder {path.parent} of --env-file does not exist: create it")
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as exc:
        raise _not_writable(path, exc) from exc
    return exists


def write_env_file(path: Path, content: str) -> None:
    """Write the file in one step, so that no reader sees a part of it.

    Raises:
        SettingsError: it cannot be written.
    """
    path = path.resolve()  # a link stays one
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        new.write_text(content, encoding="utf-8")
        new.replace(path)
    except OSError as exc:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)
        raise _not_writable(path, exc) from exc


def remove_env_file(path: Path, content: str) -> None:
    """Remove the file, unless another stack has replaced it."""
    with contextlib.suppress(OSError, ValueError):
        if path.read_text(encoding="utf-8") == content:
            path.unlink()


def _not_writable(path: Path, exc: OSError) -> SettingsError:
    return SettingsError(f"{path} cannot be written ({exc.strerror}): pass another --env-file")
