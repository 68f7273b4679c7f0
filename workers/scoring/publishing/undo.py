"""Undo a run: remove its rows, put back those that it replaced, and let no request reuse it.

`undo.json` is the decision, written once after everything that could refuse it was looked at. From
then on the run is void, and every call takes the undo to its end: each change has a job id that
follows from the run, so it is made once. `undone.json` says that the rows are gone, and the ledger
follows (docs/decisions/0140).
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable

from mlsys.cloud.clients import Clients
from mlsys.errors import Conflict, RunNotFound, TryAgain
from workers.announcements import Event, announce
from workers.query import run
from workers.scoring.journal.at_work import mark, unmark
from workers.scoring.journal.decisions import read_cancellation
from workers.scoring.journal.outcomes import Result, read_failure, read_result
from workers.scoring.journal.queries import OF_UNDO, Notes, bytes_queried, noting
from workers.scoring.journal.store import RunStore, check_run_id
from workers.scoring.journal.undone import Removal, Undo, Undone, read_undone
from workers.scoring.planning.of_plan import check_result, undo_of
from workers.scoring.planning.plan import Plan, read_plan
from workers.scoring.planning.price import price_of
from workers.scoring.planning.removed_rows import note_removed
from workers.scoring.publishing.ledger import record
from workers.scoring.publishing.removable import check_removal
from workers.scoring.publishing.removal import bytes_of_removal, remove
from workers.scoring.publishing.written import written_by
from workers.sql import statement

log = logging.getLogger(__name__)


def undo(
    clients: Clients,
    env: str,
    run_id: str,
    *,
    by: str | None,
    why: str,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[Undo, Undone, bool]:
    """Undo a run; return the decision, what was removed, and whether this call has decided it.

    A run that was undone before stays as it is.

    Raises:
        RunNotFound: this environment has no such run.
        Conflict: the run has published nothing; others have changed the table since; or BigQuery
            does not keep the rows any more that the run replaced. Nothing was changed.
        RunInterrupted: `stop` returned True; the next call goes on.
        TryAgain: it is decided, and BigQuery is too busy.
    """
    decision, is_new = decide_undo(clients, env, run_id, by=by, why=why)
    return decision, finish_undo(clients, env, run_id, stop), is_new


def preview_undo(clients: Clients, env: str, run_id: str) -> tuple[Undo | None, list[Removal]]:
    """Return what an undo would do to each table, and the decision if it was made already.

    Raises:
        RunNotFound, Conflict: as `undo`.
    """
    return _decided_or_checked(clients, *_published(clients, env, run_id), notes=False)


def decide_undo(
    clients: Clients, env: str, run_id: str, *, by: str | None, why: str, notes: bool = True
) -> tuple[Undo, bool]:
    """Decide that a run is undone, if nothing is against it; no row is touched yet.

    Return the decision, and whether it is this one. Without `notes` the queries are not noted, and
    not part of what the undo costs: the console's account may write nothing but the decision.

    Raises:
        RunNotFound, Conflict: as `undo`.
    """
    store, plan, result = _published(clients, env, run_id)
    decision, tables = _decided_or_checked(clients, store, plan, result, notes=notes)
    if decision is not None:
        return decision, False
    mark(store, plan.ledger_row)
    now = dt.datetime.now(dt.UTC).isoformat()
    ours = Undo(plan.token, plan.run_id, now, by, why, tuple(tables))
    if store.create(Undo.NAME, ours.to_dict()):
        event = {"event": "run.undone", "run_id": run_id}
        log.info("%s", ours.detail, extra=event)
        return ours, True
    decision = undo_of(store, plan)
    if decision is None:
        raise TryAgain(f"{store.uri(Undo.NAME)} was deleted just now: try again")
    return decision, decision == ours


def finish_undo(
    clients: Clients, env: str, run_id: str, stop: Callable[[], bool] = lambda: False
) -> Undone:
    """Take an undo that was decided to its end, and return what was removed.

    Raises:
        RunNotFound: this environment has no such run.
        Conflict: the undo was not decided, or the table was deleted since.
        RunInterrupted, TryAgain: as `undo`.
    """
    store, plan, result = _published(clients, env, run_id)
    decision = undo_of(store, plan)
    if decision is None:
        raise Conflict(f"Nobody has decided to undo {run_id}: POST /runs/{run_id}/undo does")
    undone = read_undone(store)
    if undone is None:
        decided = {removal.role: removal for removal in decision.tables}
        changed = [each for each in written_by(plan, result) if each.role in decided]
        tables = tuple(remove(clients, plan, each, decided[each.role], stop) for each in changed)
        size = bytes_queried(store, store.names(), OF_UNDO)
        size += sum(bytes_of_removal(clients, plan, written) for written in changed)
        _remove_profile(clients, env, plan)
        note_removed(clients, env, plan)
        now = dt.datetime.now(dt.UTC).isoformat()
        said = decision.undone_at, decision.by, decision.why
        undone = Undone(plan.token, plan.run_id, *said, now, tables, size, price_of(0, size))
        if store.create(Undone.NAME, undone.to_dict()):
            announce(clients, env, Event("run.undone", run_id, {"env": env} | undone.to_dict()))
        else:
            undone = read_undone(store) or undone
    record(clients, store, plan)
    unmark(store)
    return undone


def _published(clients: Clients, env: str, run_id: str) -> tuple[RunStore, Plan, Result]:
    """Return a run that has published its rows.

    Raises:
        RunNotFound: this environment has no such run.
        Conflict: it has not published anything.
    """
    store = RunStore(clients, env, check_run_id(run_id))
    plan, result = read_plan(store), read_result(store)
    if plan is None:
        raise RunNotFound(f"The run {run_id} does not exist in {env}: there is nothing to undo")
    if result is not None:
        check_result(store, plan, result)
        return store, plan, result
    if (cancellation := read_cancellation(store)) is not None:
        raise Conflict(f"{cancellation.detail}, and published nothing: there is nothing to undo")
    if read_failure(store) is not None:
        raise Conflict(f"{run_id} failed, and published nothing: there is nothing to undo")
    raise Conflict(
        f"{run_id} has published nothing yet: to stop it, cancel it (mlsys cancel {run_id}, "
        f"DELETE /runs/{run_id}); to undo it, wait for its end"
    )


def _decided_or_checked(
    clients: Clients, store: RunStore, plan: Plan, result: Result, *, notes: bool
) -> tuple[Undo | None, list[Removal]]:
    """Return the decision if there is one, and what is or would be removed.

    Raises:
        Conflict: nothing is decided, and the rows cannot be removed.
    """
    if (decision := undo_of(store, plan)) is None:
        try:
            with noting(store, OF_UNDO) as noted:
                return None, _check(clients, plan, result, noted if notes else None)
        except Conflict:
            if (decision := undo_of(store, plan)) is None:  # else its rows were removed meanwhile
                raise
    return decision, list(decision.tables)


def _check(clients: Clients, plan: Plan, result: Result, notes: Notes | None) -> list[Removal]:
    checked = (check_removal(clients, plan, each, notes) for each in written_by(plan, result))
    return [removal for removal in checked if removal is not None]


def _remove_profile(clients: Clients, env: str, plan: Plan) -> None:
    """Remove the columns that the run has counted: no run is to be compared with them."""
    from google.cloud import bigquery

    at = dt.datetime.fromisoformat(plan.created_at)
    run(
        clients,
        env,
        statement("remove_profile"),
        bigquery.ScalarQueryParameter("run_id", "STRING", plan.run_id),
        bigquery.ScalarQueryParameter("predicted_at", "TIMESTAMP", at),
    )
