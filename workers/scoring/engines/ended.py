"""What an execution that has ended, or failed, means to a request of its run."""

from __future__ import annotations

import datetime as dt

from mlsys.cloud.clients import Clients
from mlsys.errors import MlsysError, NoProgress, PredictionFailed, RunFailed
from workers.scoring.journal.attempts import progress_of
from workers.scoring.journal.execution import Ended, Execution, look_up, without_result
from workers.scoring.journal.outcomes import Failure, read_failure
from workers.scoring.planning.find_run import Prepared
from workers.scoring.publishing.cancellation import end_execution
from workers.scoring.publishing.unpublished import record_failure

TASKS_END = dt.timedelta(seconds=30)  # after a failure; those who wait for it have read it then


def look_up_for(clients: Clients, prepared: Prepared, execution: Execution) -> Ended | None:
    """Return how the execution ended, or None while it works.

    One that has failed by another tolerance than the request's is over for the request. Its tasks
    end within seconds; where one stalls, Cloud Run is asked to end it.
    """
    ended = look_up(clients, execution)
    if ended is not None or execution.tolerance is None:
        return ended
    failure = read_failure(prepared.store)
    if failure is None or failure.tolerance != execution.tolerance or failure.finished_at is None:
        return None
    age = dt.datetime.now(dt.UTC) - dt.datetime.fromisoformat(failure.finished_at)
    if failure.counts_for(prepared.tolerance) or age < TASKS_END:
        return None
    end_execution(prepared.store, execution)
    return Ended(f"it failed: {failure.detail}")


def check_ended(
    clients: Clients,
    prepared: Prepared,
    execution: Execution,
    ended: Ended,
    *,
    is_ours: bool,
    is_known: bool,
) -> None:
    """Check that another execution is worth starting after one that ended without a result.

    It is if the run is further than before, or if its failure was recorded or `is_known`, and the
    request was sent since. `is_ours` says that this request waited for it.

    Raises:
        RunFailed, PredictionFailed: a task wrote why, and the caller does not know yet.
        NoProgress: it has the same parts as before.
    """
    store = prepared.store
    failure = read_failure(store)
    if failure is not None:
        if is_ours and failure.counts_for(prepared.tolerance):
            raise error_of(failure)
        return
    if execution.refused or not execution.name or is_known:
        return
    if progress_of(store.names()) == execution.progress:
        exc = NoProgress(without_result(store.run_id, execution, ended, "ended without progress"))
        record_failure(clients, prepared, exc)
        raise exc


def error_of(failure: Failure) -> MlsysError:
    """Return the error for a caller that is answered with the failure."""
    if failure.rows is not None:
        return PredictionFailed(failure.detail, failure.rows)
    return RunFailed(failure.detail)
