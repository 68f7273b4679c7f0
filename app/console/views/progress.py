"""How far a run is: a part of its page that is refreshed while the run works, and not after."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app import service
from app.console.pages import Page, env, page


@page("/runs/<run_id>/progress")
def progress(run_id: str) -> Page:
    """Show how far a run is. Once it has ended, the page that shows it is loaded again."""
    from workers.scoring.answers.status import status

    state = status(service().clients, env(), run_id)
    view = {"run_id": run_id, "state": state, "progress": progress_of(state)}
    ended = {} if state["state"] == "running" else {"HX-Refresh": "true"}
    return Page(f"Progress of {run_id}", "progress.html", view, headers=ended)


def progress_of(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return how far a run is: its share, rows a second, and when it is probably done.

    The share is None where the number of rows is unknown. The rate is that since the run was
    planned.
    """
    done, total, seconds = state["rows_done"], state["rows_total"], state["seconds"]
    rate = done / seconds if done and seconds else None
    left = None
    if state["state"] == "running" and rate and total is not None:
        left = max(total - done, 0) / rate
    share = min(done / total, 1.0) if total else (1.0 if total == 0 else None)
    return {
        "share": share,
        "rows_a_second": None if rate is None else round(rate, 1),
        "seconds_left": None if left is None else round(left, 1),
    }
