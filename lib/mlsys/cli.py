"""The `mlsys` command.

`mlsys predict` scores a table by the service, `mlsys local up` is Google Cloud on this machine.
"""

from __future__ import annotations

import argparse
import contextlib
import shlex
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from mlsys import __version__, cli_predict, cli_promote, cli_quarantine, cli_sign
from mlsys.errors import MlsysError, SettingsError
from mlsys.local.stack import TIME_SCALE, Ports, local_stack
from mlsys.settings import ENVS

_HEADER = "# Written by `mlsys local up`, removed when it stops."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 1 with one line on stderr for an MlsysError."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except MlsysError as exc:
        print(f"mlsys: {exc}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mlsys", description=__doc__)
    parser.add_argument("--version", action="version", version=f"mlsys {__version__}")
    groups = parser.add_subparsers(metavar="COMMAND", required=True)
    cli_predict.add_to(groups)
    cli_promote.add_to(groups)
    cli_quarantine.add_to(groups)
    cli_sign.add_to(groups)
    local = groups.add_parser("local", help="Google Cloud on this machine")
    commands = local.add_subparsers(metavar="COMMAND", required=True)
    up = commands.add_parser("up", help="start it, and stop it with Ctrl-C")
    up.set_defaults(run=_local_up)
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
    ):
        up.add_argument(f"--{name}", type=int, metavar="N", help=f"port of {what} (default: free)")
    up.add_argument("--samples", action="store_true", help="load the sample tables (titanic.*)")
    up.add_argument("--no-service", action="store_true", help="Google Cloud alone")
    up.add_argument(
        "--time-scale",
        type=float,
        default=TIME_SCALE,
        metavar="X",
        help="multiply the waits of 10 to 600 s before Pub/Sub delivers again "
        "(default: %(default)s, so half a second to 30 s; 1 is as on the cloud)",
    )
    up.add_argument("--env-file", help="write the variables here too, for `source` or as .env")
    return parser


def _local_up(options: argparse.Namespace) -> int:
    envs = tuple(env.strip() for env in options.envs.split(","))
    if unknown := [env for env in envs if env not in ENVS]:
        raise SettingsError(f"--envs names {unknown}: pass a comma-separated list of {list(ENVS)}")
    if options.env_file:
        _check_env_file(Path(options.env_file))
    ports = Ports(
        service=options.port,
        bigquery=options.bigquery_port,
        bigquery_storage=options.bigquery_storage_port,
        storage=options.storage_port,
        pubsub=options.pubsub_port,
    )
    _let_signals_interrupt()
    try:
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
            exports = _exports(stack.environment)
            if options.env_file:
                exits.callback(Path(options.env_file).unlink, missing_ok=True)
                Path(options.env_file).write_text(f"{_HEADER}\n{exports}\n", encoding="utf-8")
            print(f"\n{exports}\n\nLogs: {stack.logs}\nCtrl-C stops everything.", flush=True)
            stack.wait()
    except KeyboardInterrupt:
        print("\nStopped.", flush=True)
    return 0


def _exports(environment: Mapping[str, str]) -> str:
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in environment.items())


def _check_env_file(path: Path) -> None:
    """Refuse to write over anything that this command did not write itself."""
    if path.exists() and not path.read_text(encoding="utf-8").startswith(_HEADER):
        raise SettingsError(f"{path} is there and not ours to replace: pass another --env-file")
    if not path.parent.is_dir():
        raise SettingsError(f"there is no folder {path.parent} for the --env-file")


def _let_signals_interrupt() -> None:
    """Stop in an orderly way on Ctrl-C, SIGTERM or a closed terminal; only the first one counts."""
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def stop(_number: int, _frame: FrameType | None) -> NoReturn:
        for number in signals:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in signals:
        signal.signal(number, stop)


if __name__ == "__main__":
    sys.exit(main())
