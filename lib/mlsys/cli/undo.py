"""`mlsys undo`: remove the rows of a run that has published them."""

from __future__ import annotations

import argparse
import json
from typing import Any

from mlsys.cli.errors import print_refusal
from mlsys.settings import ENVS


def add_to(commands: Any) -> None:
    """Add the command to the parser's others."""
    parser = commands.add_parser(
        "undo",
        help="undo a run: its rows are removed, and those that it replaced return",
        description="Undo a run that has published its rows. What it appended is deleted; a table "
        "or partition whose rows it replaced becomes what it was before, within BigQuery's time "
        "travel. Its rejects and its challenger's rows go too. It is refused, and nothing is "
        "changed, if others have written to the table since. The run is not reused afterwards.",
    )
    parser.set_defaults(
        run=_undo, stopped="Stopped. The run may be undone: the same command goes on with it."
    )
    parser.add_argument("run_id", metavar="RUN_ID", help="the run, as mlsys predict prints it")
    parser.add_argument("--env", required=True, choices=ENVS, help="the environment")
    parser.add_argument("--why", required=True, metavar="TEXT", help="the reason, for the ledger")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    parser.add_argument("--url", help="the service's address (default: MLSYS_URL)")
    parser.add_argument("--json", action="store_true", help="print only the service's JSON answer")


def _undo(options: argparse.Namespace) -> int:
    from mlsys.remote.service import RefusedByService, Service, service_url
    from mlsys.remote.undo import undo_run, undone_lines

    service = Service(service_url(options.url))
    try:
        answer = undo_run(
            service, options.env, options.run_id, options.why, dry_run=options.dry_run
        )
    except RefusedByService as exc:
        return print_refusal(exc, options.json)
    if options.json:
        print(json.dumps(answer, indent=2, ensure_ascii=False))
    else:
        print(*undone_lines(answer), sep="\n")
    return 0
