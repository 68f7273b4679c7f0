"""Cancel a run: decide, in the place of what it would publish, that it publishes nothing.

`publish.json` is created once. Either it names the parts that are loaded, or it is a
`Cancellation`, and everyone who works on the run does what it says: a try that looks between
batches stops, a try that has scored every row finds it instead of its own decision, and one that
comes later does nothing (docs/decisions/0082).
"""

from __future__ import annotations

import datetime as dt
import logging
import time
from dataclasses import asdict

from mlsys.cloud.clients import Clients
from mlsys.errors import RunNotFound, RunPublished, TryAgain
from workers.announcements import Event, announce
from workers.scoring.journal.at_work import mark, unmark
from workers.scoring.journal.decisions import Cancellation, read_decision
from workers.scoring.journal.execution import Execution, latest_execution
from workers.scoring.journal.outcomes import read_result
from workers.scoring.journal.store import RunStore, check_run_id
from workers.scoring.planning.of_plan import another_plan, cancellation_of, undo_of
from workers.scoring.planning.plan import Plan, read_plan
from workers.scoring.publishing.costs import costs_so_far
from workers.scoring.publishing.ledger import record
from workers.scoring.publishing.publication import seconds_since

log = logging.getLogger(__name__)

EVERY = 3.0  # seconds between two looks


def cancel(
    clients: Clients, env: str, run_id: str, *, by: str | None = None, why: str | None = None
) -> tuple[Cancellation, bool]:
    """Cancel a run, and return its cancellation and whether it is this one.

    A run that was cancelled before stays as it is. A failed run can be cancelled too: another
    caller may still work on it, and a repeated request would resume it.

    Raises:
        RunNotFound: this environment has no such run.
        RunPublished: what it publishes is decided.
        TryAgain: it is cancelled, and BigQuery is too busy for the ledger's row.
    """
    store = RunStore(clients, env, check_run_id(run_id))
    plan = read_plan(store)
    if plan is None:
        raise RunNotFound(f"The run {run_id} does not exist in {env}: there is nothing to cancel")
    if read_result(store) is not None:
        if (undo := undo_of(store, plan)) is not None:
            raise RunPublished(f"{undo.detail}: there is nothing to cancel")
        raise _published(plan, done=True)
    decision = read_decision(store)
    ours: Cancellation | None = None
    if decision is None:
        ours = _cancellation(store, plan, by, why)
        decision = ours if store.create(ours.NAME, ours.to_dict()) else read_decision(store)
    if decision is None:
        raise TryAgain(f"{store.uri(Cancellation.NAME)} was deleted just now: try again")
    if decision.token != plan.token:
        raise another_plan(store, Cancellation.NAME)
    if not isinstance(decision, Cancellation):
        raise _published(plan, done=False)
    is_ours = decision == ours
    if is_ours:
        mark(store, plan.ledger_row)  # of a run that had failed, and whose marker was removed
        event = {"event": "run.cancelled", "run_id": run_id}
        log.info("%s", decision.detail, extra=event)
        announce(clients, env, Event("run.cancelled", run_id, {"env": env} | decision.to_dict()))
    end_execution(store)
    record(clients, store, plan, just_ended=is_ours)
    unmark(store)
    return decision, is_ours


def cancel_unread(clients: Clients, env: str, run_id: str, token: str, why: str) -> None:
    """Cancel a run whose plan cannot be read, unless something is decided about it.

    The ledger does not get it: its row follows from the plan.
    """
    store, now = RunStore(clients, env, run_id), dt.datetime.now(dt.UTC).isoformat()
    store.create(Cancellation.NAME, Cancellation(token, run_id, now, 0.0, why=why).to_dict())


def end_execution(store: RunStore, execution: Execution | None = None) -> None:
    """Ask Cloud Run to end an execution of the run, its latest one if none is named.

    It saves money and decides nothing: tasks that go on find the cancellation, or the failure.
    """
    try:
        execution = execution or latest_execution(store)
        if execution is not None:
            execution.cancel(store.clients)
    except Exception:  # nothing depends on it
        about = {"run_id": store.run_id}
        log.warning("Cloud Run was not told to end the execution", exc_info=True, extra=about)


def check_not_cancelled(store: RunStore, plan: Plan) -> None:
    """Check that the run goes on.

    Raises:
        RunCancelled: it was cancelled.
        Conflict: an earlier plan of the same run was, which was deleted.
    """
    if (cancellation := cancellation_of(store, plan)) is not None:
        raise cancellation.error()


class Looks:
    """Looks now and then whether a run was cancelled while it is worked on."""

    def __init__(self, store: RunStore) -> None:
        self._store = store
        self._looked_at = time.monotonic()
        self._decided = False

    def __call__(self) -> None:
        """Look, if it is time to.

        Raises:
            RunCancelled: the run was cancelled.
        """
        if self._decided or time.monotonic() - self._looked_at < EVERY:
            return
        try:
            decision = read_decision(self._store)
        except Exception as exc:
            # A look costs no run: the decision is read again before anything is published.
            log.info("%s: a look failed: %s", self._store.run_id, exc)
            return
        finally:
            self._looked_at = time.monotonic()
        if isinstance(decision, Cancellation):
            raise decision.error()
        self._decided = decision is not None


def _cancellation(store: RunStore, plan: Plan, by: str | None, why: str | None) -> Cancellation:
    now = dt.datetime.now(dt.UTC)
    return Cancellation(
        token=plan.token,
        run_id=plan.run_id,
        finished_at=now.isoformat(),
        seconds=seconds_since(plan, now),
        by=by,
        why=why,
        attempts=store.attempts(),
        **asdict(costs_so_far(store, plan)),
    )


def _published(plan: Plan, *, done: bool) -> RunPublished:
    run_id = plan.run_id
    has = "has published its rows" if done else "has decided what it publishes"
    ask = "" if done else f"Look at GET /runs/{run_id} until it ends. "
    undo = f"To remove its rows, undo it: mlsys undo {run_id}, or POST /runs/{run_id}/undo."
    return RunPublished(f"{run_id} {has}, and can no longer be cancelled. {ask}{undo}")
