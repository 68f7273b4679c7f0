"""The state and progress of a run."""

from __future__ import annotations

import datetime as dt
import logging
from typing import Any

from mlsys.cloud.clients import Clients
from mlsys.errors import MlsysError, RunNotFound
from workers.scoring.journal.attempts import begun_after
from workers.scoring.journal.decisions import Cancellation, read_cancellation
from workers.scoring.journal.execution import latest_execution, look_up, without_result
from workers.scoring.journal.outcomes import Failure, read_failure, read_result
from workers.scoring.journal.store import RunStore, check_run_id
from workers.scoring.journal.undone import read_undo, read_undone
from workers.scoring.planning.plan import Plan, read_plan
from workers.scoring.planning.requested import requested
from workers.scoring.shards.part import readable_footers
from workers.scoring.shards.read_session import latest_session

log = logging.getLogger(__name__)


def planned(clients: Clients, env: str, run_id: str) -> tuple[RunStore, Plan]:
    """Return a run's objects and its plan.

    Raises:
        RunNotFound: this environment has no such run.
    """
    store = RunStore(clients, env, check_run_id(run_id))
    plan = read_plan(store)
    if plan is None:
        raise RunNotFound(
            f"The run {run_id} does not exist in {env}: GET /runs lists those that finished"
        )
    return store, plan


def status(clients: Clients, env: str, run_id: str) -> dict[str, Any]:
    """Return a run's state, progress, and result.

    The state is `running`, `failed`, `cancelled`, `succeeded` or `undone`.

    An interrupted run is `running` too: a repeated request resumes it. A run whose job ended
    without a result is `failed`: nothing works on it until somebody repeats the request.

    Raises:
        RunNotFound: this environment has no such run.
    """
    store, plan = planned(clients, env, run_id)
    result, failure = read_result(store), read_failure(store)
    answer = {"env": env, "request": requested(store, plan)}
    cancellation = read_cancellation(store) if result is None else None
    if cancellation is not None:
        return answer | _of_cancelled(store, cancellation) | progress(store, plan)
    if result is None and failure is None and (failure := _abandoned(clients, store, plan)):
        result = read_result(store)  # a task may have written it just before its execution ended
    if result is not None:
        return (
            answer
            | {
                "run_id": run_id,
                "state": "succeeded",
                "rows_done": result.rows_read,
                "rows_total": result.rows_read,
                "rows_rejected": result.rows_rejected,
                "shards_done": result.shards,
                "shards_total": result.shards,
                "attempts": result.attempts,
                "seconds": result.seconds,
                "result": result.to_dict(),
            }
            | _of_undone(store)
        )
    since = dt.datetime.now(dt.UTC) - dt.datetime.fromisoformat(plan.created_at)
    seconds = round(since.total_seconds(), 3)
    state = {"state": "failed", "failure": failure.to_dict()} if failure else {"state": "running"}
    if failure:  # time does not count after it failed
        seconds = failure.seconds
    attempts = {"attempts": store.attempts(), "seconds": seconds}
    return answer | state | attempts | progress(store, plan)


def _of_undone(store: RunStore) -> dict[str, Any]:
    """Return who has undone the run, when and why, and what was removed; {} if nobody has."""
    undo = read_undo(store)
    if undo is None:
        return {}
    undone = read_undone(store)
    about = (undone or undo).to_dict()
    kept = {name: about[name] for name in ("by", "why", "undone_at", "tables")}
    return {"state": "undone", "undo": kept | {"finished": undone is not None}}


def _of_cancelled(store: RunStore, cancellation: Cancellation) -> dict[str, Any]:
    return {
        "state": cancellation.state,
        "attempts": store.attempts(),
        "seconds": cancellation.seconds,
        "cancellation": {
            "by": cancellation.by,
            "why": cancellation.why,
            "cancelled_at": cancellation.finished_at,
            "detail": f"{cancellation.detail}: nothing was published",
        },
    }


def _abandoned(clients: Clients, store: RunStore, plan: Plan) -> Failure | None:
    """Return why nothing works on a run whose job has ended without a result, or None."""
    try:
        execution = latest_execution(store)
        ended = None if execution is None else look_up(clients, execution)
    except MlsysError:
        log.warning("The run's execution was not looked up", exc_info=True)
        return None
    if execution is None or ended is None or ended.at is None:
        return None
    if begun_after(store.names(), ended.at):  # the service has continued it
        return None
    began = dt.datetime.fromisoformat(plan.created_at)
    return Failure(
        run_id=store.run_id,
        state="failed",
        detail=without_result(store.run_id, execution, ended, "ended without a result"),
        max_rejects="",  # the caller's, which is not among the run's objects
        seconds=round((ended.at - began).total_seconds(), 3),
        finished_at=ended.at.isoformat(),
        attempts=store.attempts(),
    )


def progress(store: RunStore, plan: Plan) -> dict[str, Any]:
    """Return how many rows and shards (parts) are done, by the parts that exist.

    The number of rows that a filter lets through, or a view has, is unknown before they are read or
    copied: the total is None then. So is the number of parts until the run is done.
    """
    session = latest_session(store)
    parts = store.parts(session.number) if session else {}
    footers = readable_footers(parts.values())
    counts = [footer.counts for footer in footers]
    total = session.rows if session else plan.rows_expected
    return {
        "run_id": plan.run_id,
        "rows_done": sum(c.read for c in counts),
        "rows_total": None if plan.is_filtered else total,
        "rows_rejected": sum(c.rejected for c in counts),
        "shards_done": len(footers),
        "shards_total": None,
    }
