"""`mlsys cancel`: end a run of the service that has not published anything yet."""

from __future__ import annotations

import argparse
import json
from typing import Any

from mlsys.cli.errors import print_refusal
from mlsys.settings import ENVS


def add_to(commands: Any) -> None:
    """Add the command to the parser's others."""
    parser = commands.add_parser(
        "cancel",
        help="cancel a run: it publishes nothing",
        description="Cancel a run of the service or of its job, of any caller. It publishes "
        "nothing then, and who waits for it is told. A run that has published its rows, or has "
        "decided to, cannot be cancelled: the answer says how to remove them. To score the rows "
        "after all, repeat the request without a run_id, or with another one.",
    )
    parser.set_defaults(
        run=_cancel, stopped="Stopped. The run may be cancelled: the same command says so."
    )
    parser.add_argument("run_id", metavar="RUN_ID", help="the run, as mlsys predict prints it")
    parser.add_argument("--env", required=True, choices=ENVS, help="the environment")
    parser.add_argument("--why", metavar="TEXT", help="the reason, for those who wait for the run")
    parser.add_argument("--url", help="the service's address (default: MLSYS_URL)")
    parser.add_argument("--json", action="store_true", help="print only the service's JSON answer")


def _cancel(options: argparse.Namespace) -> int:
    from mlsys.remote.service import RefusedByService, Service, service_url

    service = Service(service_url(options.url))
    try:
        answer = _ask(service, options)
    except RefusedByService as exc:
        return print_refusal(exc, options.json)
    if options.json:
        print(json.dumps(answer, indent=2, ensure_ascii=False))
        return 0
    by = f" by {answer['by']}" if answer["by"] else ""
    why = f": {answer['why']}" if answer["why"] else ""
    if answer["already"]:
        print(f"{options.run_id} was cancelled already, at {answer['cancelled_at']}{by}{why}")
    else:
        print(f"{options.run_id} is cancelled, and publishes nothing")
    return 0


def _ask(service: Any, options: argparse.Namespace) -> dict[str, Any]:
    """Return the service's answer; what it postpones is repeated, which changes nothing."""
    from urllib.parse import quote

    from mlsys.remote.answers import CANCELLED
    from mlsys.remote.patience import repeated

    path = f"/runs/{quote(options.run_id, safe='')}"
    params = {"env": options.env} | ({"why": options.why} if options.why else {})
    return dict(repeated(lambda: service.ask(path, params, method="DELETE", fields=[CANCELLED])))
