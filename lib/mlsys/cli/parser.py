"""The `mlsys` command.

`mlsys predict` scores a table by the service, `mlsys local up` runs Google Cloud on this machine.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

from mlsys import __version__
from mlsys.cli import alias, cancel, doctor, local, predict, promote, quarantine, sign
from mlsys.cli.errors import EXIT_CODES, FAILED, SIGNALLED, exit_code, explain, signals_stop
from mlsys.cli.output import Output


class _Parser(argparse.ArgumentParser):
    """A parser whose help, and that of its commands, ends with the exit codes."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"epilog": EXIT_CODES} | options)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code; `mlsys.cli.errors` lists them.

    After a signal a process ends here: Python would wait for threads that wait for answers.
    """
    output = Output()
    try:
        with output:
            code = _run(_parser().parse_args(arguments))
    except SystemExit as exc:  # --help, --version, or an invalid command line
        if output.failure is None or exc.code:
            raise
        raise SystemExit(FAILED) from None
    if arguments is None and code > SIGNALLED:
        os._exit(code)
    return code if output.failure is None else code or FAILED


def _run(options: argparse.Namespace) -> int:
    try:
        with signals_stop():
            return int(options.run(options))
    except KeyboardInterrupt as exc:
        print("", getattr(options, "stopped", "Stopped."), sep="\n", file=sys.stderr)
        return exit_code(exc)
    except Exception as exc:
        print(f"mlsys: {explain(exc)}", file=sys.stderr)
        return FAILED


def _parser() -> argparse.ArgumentParser:
    from mlsys.cli import backfill, compare, contract, drift, evaluate, models, runs, undo

    parser = _Parser(prog="mlsys", description=__doc__)
    parser.add_argument("--version", action="version", version=f"mlsys {__version__}")
    groups = parser.add_subparsers(metavar="COMMAND", required=True)
    predict.add_to(groups)
    backfill.add_to(groups)
    cancel.add_to(groups)
    undo.add_to(groups)
    promote.add_to(groups)
    alias.add_to(groups)
    quarantine.add_to(groups)
    sign.add_to(groups)
    doctor.add_to(groups)
    runs.add_to(groups)
    models.add_to(groups)
    compare.add_to(groups)
    contract.add_to(groups)
    evaluate.add_to(groups)
    drift.add_to(groups)
    local.add_to(groups)
    return parser


if __name__ == "__main__":
    sys.exit(main())
