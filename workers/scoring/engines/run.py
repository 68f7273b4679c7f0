"""Take a prepared run to its result; a repeated request resumes or reuses it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from weakref import WeakValueDictionary

from mlsys.cloud.clients import Clients, is_passing
from mlsys.errors import (
    OthersAtWork,
    RunCancelled,
    RunInterrupted,
    RunWaiting,
    TryAgain,
)
from workers.announcements import Event, announce
from workers.monitoring.drift import DRIFT
from workers.scoring.answers.status import progress
from workers.scoring.engines.turns import claim_turn, wait_for_others
from workers.scoring.journal.at_work import unmark
from workers.scoring.journal.attempts import HOUR, End, begin, end
from workers.scoring.journal.decisions import Cancellation, Decision, read_decision
from workers.scoring.journal.outcomes import Engine, Failure, Result, read_result
from workers.scoring.journal.store import RunStore
from workers.scoring.planning.find_run import Prepared
from workers.scoring.planning.of_plan import another_plan, check_result
from workers.scoring.planning.plan import Plan, read_plan
from workers.scoring.publishing.cancellation import Looks, check_not_cancelled
from workers.scoring.publishing.decision import decide
from workers.scoring.publishing.ledger import record
from workers.scoring.publishing.publication import publish
from workers.scoring.publishing.unpublished import record_cancelled, record_failure
from workers.scoring.request.parsed import SERVICE, MaxRejects
from workers.scoring.shards.agreement import Agreements
from workers.scoring.shards.chain import WHOLE, Share
from workers.scoring.shards.unscored import score_unscored

IN_SERVICE = Engine(SERVICE)


def execute(
    clients: Clients,
    prepared: Prepared,
    *,
    deadline: float | None = None,
    stopping: Callable[[], bool] = lambda: False,
    share: Share = WHOLE,
    engine: Engine = IN_SERVICE,
    pace: Callable[[float, int], None] = lambda rate, left: None,
) -> Result:
    """Work on a prepared run until it is done, and return its result.

    `deadline` is a `time.monotonic()` moment to stop at; `stopping` returns True once the process
    is to end. Finished work stays, and the same request resumes the run. With a `share`, only its
    streams are scored: the task that finds all parts there takes the run to its result. `engine`
    is for the result, `pace` as for `Watch`.

    Raises:
        OthersAtWork: the share is scored, and other shares are not.
        RunCancelled: the run was cancelled, before or meanwhile.
        RunInterrupted: out of time; carries the progress.
        PredictionFailed: more rows than `max_rejects` cannot be scored; nothing was published.
        InputDrifted: a column is further from the training data than `max_drift`; nor was then.
        ContractBroken: the rows break the model's contract; nothing was published.
        NoProgress: the last tries ended without any.
        SchemaMismatch, ModelUnusable, Conflict, InvalidRequest: nothing was published.
    """
    store, plan = prepared.store, prepared.plan
    look = Looks(store)

    def stop() -> bool:
        look()
        return stopping() or (deadline is not None and time.monotonic() > deadline)

    def done(result: Result) -> Result:
        record(clients, store, plan, just_ended=not result.reused)
        if not result.reused:
            announce(clients, store.env, *_events(result))
        unmark(store)
        return result

    if prepared.result is not None:
        return done(prepared.result)
    with _only_one_here(store, stop):
        result = read_result(store)  # another request of this process may have done it
        if result is not None:
            check_result(store, plan, result)
            return done(replace(result, reused=True))
        check_not_cancelled(store, plan)
        if share == WHOLE:  # a failure tells the other tasks to stop
            store.forget(Failure.NAME)
        attempt = None
        try:
            seconds = HOUR if deadline is None else deadline - time.monotonic()
            task = None if share == WHOLE else (share.index, share.count)
            attempt = begin(store, seconds, task, asdict(prepared.tolerance))
            work = _Work(
                *(clients, prepared, stop, stopping, deadline, share, engine, pace, attempt.name)
            )
            result = _work(work)
        except RunCancelled:
            if attempt is not None:
                end(store, attempt, "cancelled")
            if share.index == 0:
                record_cancelled(clients, store, plan)
            raise
        except Exception as exc:
            passing = isinstance(exc, TryAgain) or is_passing(exc)
            if attempt is not None:
                end(store, attempt, _end(exc, stopping()) if passing else "failed")
            if isinstance(exc, OthersAtWork):
                raise
            if isinstance(exc, RunInterrupted):
                raise RunInterrupted(
                    f"{exc}: repeat the same request to resume", progress(store, plan)
                ) from exc
            if not passing:
                record_failure(clients, prepared, exc)
            raise
        done(result)
        end(store, attempt, "done")
        return result


def finish_before(
    clients: Clients,
    store: RunStore,
    plan: Plan,
    *,
    deadline: float | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> None:
    """Take the runs to their end that an incremental run goes on from, before it opens a session.

    Raises:
        RunCancelled, RunWaiting, Conflict: see `wait_for_others`; or as `execute` does.
    """

    def finish(run_id: str) -> None:
        other = RunStore(clients, store.env, run_id)
        decided = read_plan(other)
        if decided is not None:
            prepared = Prepared(other, decided, MaxRejects())
            execute(clients, prepared, deadline=deadline, stopping=stopping)

    wait_for_others(clients, store, plan, finish)


def _events(result: Result) -> list[Event]:
    """Return what is announced of a run that has just ended."""
    data = result.to_dict()
    events = [Event("run.finished", result.run_id, data)]
    if result.drift is not None and result.drift["level"] == DRIFT:
        events.append(Event("run.drifted", result.run_id, data))
    return events


def _end(exc: Exception, stopping: bool) -> End:
    """Return how a try ended that others follow."""
    if not isinstance(exc, RunInterrupted):
        return "passing"
    return "waiting" if isinstance(exc, RunWaiting) else "stopped" if stopping else "suspended"


@dataclass(frozen=True, slots=True)
class _Work:
    """One try of a run: `execute` with its parameters."""

    clients: Clients
    prepared: Prepared
    stop: Callable[[], bool]  # also looks whether the run was cancelled
    stopping: Callable[[], bool]
    deadline: float | None
    share: Share
    engine: Engine
    pace: Callable[[float, int], None]
    attempt: str  # its name


def _work(work: _Work) -> Result:
    """Score what has no part yet, decide what is published, publish it, and write the result.

    The decision is written before the first load job: from then on nothing else counts, neither
    the session, which may expire, nor the input or the model, which may be deleted.
    """
    clients, prepared, stop = work.clients, work.prepared, work.stop
    store, plan = prepared.store, prepared.plan
    decision, agreements = read_decision(store), Agreements()
    if decision is None:
        finish_before(clients, store, plan, deadline=work.deadline, stopping=work.stopping)
        session, agreements = score_unscored(
            *(clients, prepared, work.share, stop), deadline=work.deadline, pace=work.pace
        )
        limits = prepared.max_rejects, prepared.max_drift, prepared.contract
        decision = decide(clients, store, plan, session, *limits)
        decision = replace(decision, tolerance=asdict(prepared.tolerance))
        claim_turn(clients, store, plan, decision.counts)
        if not store.create(Decision.NAME, decision.to_dict()):
            decision = read_decision(store)  # another was first: it counts
    if decision is None:
        raise TryAgain(f"{store.uri(Decision.NAME)} was deleted just now: try again")
    if decision.token != plan.token:
        raise another_plan(store, Decision.NAME)
    if isinstance(decision, Cancellation):
        raise decision.error()
    return publish(
        *(clients, store, plan, decision, agreements, stop),
        engine=work.engine,
        attempt=work.attempt,
    )


_locks: WeakValueDictionary[str, threading.Lock] = WeakValueDictionary()
_locks_guard = threading.Lock()


@contextmanager
def _only_one_here(store: RunStore, stop: Callable[[], bool]) -> Iterator[None]:
    """Let one thread of this process work on a run: it saves work, and is not needed otherwise."""
    with _locks_guard:
        lock = _locks.setdefault(f"{store.env}/{store.run_id}", threading.Lock())
    while not lock.acquire(timeout=0.5):
        if stop():
            raise RunInterrupted(f"{store.run_id} is running already: repeat the request later")
    try:
        yield
    finally:
        lock.release()
