"""`POST /runs/{run_id}/undo`, repeated until the rows are gone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from mlsys.plural import plural
from mlsys.remote.answers import UNDONE
from mlsys.remote.patience import repeated
from mlsys.remote.service import Service
from mlsys.remote.verdict import row_count

SECONDS = 3900.0  # a request to Cloud Run lasts at most an hour


def undo_run(
    service: Service, env: str, run_id: str, why: str, *, dry_run: bool = False
) -> dict[str, Any]:
    """Undo a run, or only say what would be removed, and return the service's answer.

    What the service postpones is repeated, which changes nothing twice.

    Raises:
        RefusedByService, CredentialsMissing, Unreachable: see `Service.ask`.
        TryAgain: the service kept postponing it.
    """
    path = f"/runs/{quote(run_id, safe='')}/undo"
    params = {"env": env, "why": why} | ({"dry_run": "true"} if dry_run else {})
    options: Any = {"method": "POST", "timeout": SECONDS, "fields": [UNDONE]}
    return dict(repeated(lambda: service.ask(path, params, **options)))


def undone_lines(answer: dict[str, Any]) -> Sequence[str]:
    """Return what an answer says, a line for the run and one for each table."""
    run_id, by = answer["run_id"], f" by {answer['by']}" if answer["by"] else ""
    if answer["already"]:
        first = f"{run_id} was undone already, at {answer['undone_at']}{by}: {answer['why']}"
    elif answer["dry_run"]:
        first = f"{run_id} can be undone; nothing was changed"
    else:
        first = f"{run_id} is undone"
    would = "would be" if answer["dry_run"] else "were"
    return [first, *(_line(table, would) for table in answer["tables"])]


def _line(table: dict[str, Any], would: str) -> str:
    back = table.get("rows_restored")
    also = f", {plural(back, 'earlier row')} brought back" if back else ""
    if kept := table.get("copy"):
        also = f"; others replaced them meanwhile: {kept} has the earlier rows for seven days"
    removed = table.get("rows_removed") or 0
    verb = would.replace("were", "was") if removed == 1 else would
    return f"  {table.get('table')}: {row_count(removed)} {verb} removed{also}"
