"""The engine `job`: the tasks of a Cloud Run job score the rows (`task`).

The caller opens the read session, starts an execution, and waits for the run's objects. The tasks
need no caller: one of them takes the run to its result. An execution whose tasks all failed needs
one, which starts another or records the failure, so a push waits too, by one message after the
other (docs/decisions/0083).
"""

from __future__ import annotations

import datetime as dt
import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict

from mlsys.cloud.clients import Clients
from mlsys.errors import MlsysError, RunInterrupted, TryAgain
from workers.monitoring.contract import ENFORCE
from workers.scoring.answers.status import progress
from workers.scoring.engines.ended import check_ended, error_of, look_up_for
from workers.scoring.engines.run import execute, finish_before
from workers.scoring.engines.run_job import run_job
from workers.scoring.journal.attempts import count_again, progress_of
from workers.scoring.journal.decisions import read_cancellation, read_decision
from workers.scoring.journal.execution import Execution, latest_execution
from workers.scoring.journal.outcomes import Engine, Failure, Result, read_failure, read_result
from workers.scoring.journal.store import RunStore
from workers.scoring.planning.find_run import Prepared
from workers.scoring.planning.of_plan import check_result
from workers.scoring.publishing.cancellation import Looks, check_not_cancelled, end_execution
from workers.scoring.publishing.unpublished import record_failure
from workers.scoring.shards.chain import all_complete
from workers.scoring.shards.read_session import current_session, is_given_up, latest_session

log = logging.getLogger(__name__)

POLL = 1.0  # seconds between two looks at the run's objects, at first
POLL_MOST = 10.0  # and at last
POLL_SHARE = 20  # of the time that a caller has waited
LOOK = 10.0  # seconds between two looks at the execution


def score(
    clients: Clients,
    prepared: Prepared,
    engine: Engine,
    *,
    deadline: float | None,
    stopping: Callable[[], bool],
    pushed: bool = False,
) -> Result:
    """Have a job work on a prepared run until it is done, and return its result.

    An execution that is at work is joined. `pushed`: the request is a message, whose sender looks
    at `GET /runs/{run_id}`.

    Raises:
        RunCancelled: the run was cancelled; Cloud Run is told to end the execution.
        RunInterrupted: out of time; the job works on.
        RunFailed, PredictionFailed: a task wrote why the run failed.
        NoProgress: the execution ended without any.
        PermissionMissing, ObjectNotFound, Conflict, TryAgain: Cloud Run does not start the job.
    """
    store = prepared.store

    def stop() -> bool:
        return stopping() or (deadline is not None and time.monotonic() > deadline)

    joined: Execution | None = None
    while True:
        execution = latest_execution(store)
        ended = None if execution is None else look_up_for(clients, prepared, execution)
        if execution is None or ended is not None:
            if (result := _result(prepared)) is not None:
                return result
            check_not_cancelled(store, prepared.plan)
            if _is_scored(store):  # its publication needs no job
                return execute(
                    clients, prepared, deadline=deadline, stopping=stopping, engine=engine
                )
            if execution is not None and ended is not None:
                is_ours = execution == joined
                is_known = pushed and not is_ours
                check_ended(clients, prepared, execution, ended, is_ours=is_ours, is_known=is_known)
            execution = _start(clients, prepared, engine, execution, stop, deadline)
        if execution is not None:  # None: another request starts one
            joined = execution
            if (result := _wait_for(clients, prepared, execution, stop)) is not None:
                return result
        elif stop():
            raise RunInterrupted(f"{store.run_id} was being started in a job: repeat the request")


def _start(
    clients: Clients,
    prepared: Prepared,
    engine: Engine,
    before: Execution | None,
    stop: Callable[[], bool],
    deadline: float | None,
) -> Execution | None:
    """Start an execution and return it, or None if another request was first.

    Raises:
        RunCancelled, RunWaiting: another run scores rows of this one, see `finish_before`.
        PermissionMissing, ObjectNotFound, Conflict, TryAgain: Cloud Run does not start it.
    """
    store, plan, settings = prepared.store, prepared.plan, clients.settings
    cores = settings.job_tasks * settings.job_cpus
    finish_before(clients, store, plan, deadline=deadline, stopping=stop)
    session = current_session(clients, store, plan, stop, deadline, cores)
    tasks = min(settings.job_tasks, math.ceil(session.shards / settings.job_cpus))
    number = 0 if before is None else before.number + 1
    now = dt.datetime.now(dt.UTC).isoformat()
    execution = Execution(
        *(number, tasks, engine.reason, now, progress_of(store.names())),
        tolerance=asdict(prepared.tolerance),
    )
    store.forget(Failure.NAME)
    if not execution.claim(store):
        return None
    if before is not None:
        count_again(store)
    try:
        arguments = [store.run_id, "--env", store.env, "--max-rejects", str(prepared.max_rejects)]
        if prepared.max_drift is not None:
            arguments += ["--max-drift", str(prepared.max_drift)]
        if prepared.contract != ENFORCE:
            arguments += ["--contract", prepared.contract]
        name = run_job(clients, arguments, tasks)
    except Exception as exc:
        execution.not_started(store, str(exc) if isinstance(exc, MlsysError) else "refused")
        if isinstance(exc, MlsysError) and not isinstance(exc, TryAgain):
            record_failure(clients, prepared, exc)
        raise
    log.info(
        "%s: the job works on it with %s tasks: %s",
        *(store.run_id, tasks, engine.reason),
        extra={"run_id": store.run_id},
    )
    execution = execution.started(store, name)
    if read_cancellation(store) is not None:  # it was cancelled before Cloud Run gave the name
        end_execution(store)
    return execution


def _wait_for(
    clients: Clients, prepared: Prepared, execution: Execution, stop: Callable[[], bool]
) -> Result | None:
    """Return the run's result once it is there, or None if the execution has ended without one.

    A task of an execution that another request started may have written why the run failed for
    that one: a request that tolerates more waits for the execution's end.

    Raises:
        RunCancelled: the run was cancelled.
        RunInterrupted: `stop` returned True; the job works on.
        RunFailed, PredictionFailed: a task wrote why the run failed.
    """
    store = prepared.store
    began = looked_at = time.monotonic()
    look = Looks(store)
    while True:
        if (result := _result(prepared)) is not None:
            return result
        look()
        failure = read_failure(store)
        if failure is not None and failure.counts_for(prepared.tolerance):
            check_not_cancelled(store, prepared.plan)
            raise error_of(failure)
        if stop():
            raise RunInterrupted(
                f"A job works on {store.run_id}: repeat the same request to see its result",
                progress(store, prepared.plan),
            )
        waited = time.monotonic() - began
        time.sleep(min(POLL_MOST, max(POLL, waited / POLL_SHARE)))
        if time.monotonic() - looked_at > LOOK:
            looked_at = time.monotonic()
            if look_up_for(clients, prepared, execution) is not None:
                return _result(prepared)


def _result(prepared: Prepared) -> Result | None:
    result = read_result(prepared.store)
    if result is not None:
        check_result(prepared.store, prepared.plan, result)
    return result


def _is_scored(store: RunStore) -> bool:
    """Tell whether nothing is left to be scored."""
    if read_decision(store) is not None:
        return True
    session = latest_session(store)
    if session is None or is_given_up(store, session.number):
        return False
    return all_complete(store, session)
