"""Take a prepared run to its result; a repeated request resumes or reuses it."""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any
from weakref import WeakValueDictionary

from mlsys.cloud.clients import Clients, is_passing
from mlsys.errors import (
    Conflict,
    OthersAtWork,
    RunCancelled,
    RunInterrupted,
    RunWaiting,
    SchemaMismatch,
    SessionOver,
    TableNotFound,
    TryAgain,
)
from workers import machine
from workers.announcements import Event, announce
from workers.monitoring.drift import DRIFT
from workers.scoring.answers.status import progress
from workers.scoring.ending.cancellation import Looks, check_not_cancelled
from workers.scoring.ending.unpublished import record_cancelled, record_failure, seconds_since
from workers.scoring.journal.at_work import unmark
from workers.scoring.journal.attempts import HOUR, End, begin, end
from workers.scoring.journal.records import (
    Cancellation,
    Counts,
    Decision,
    Engine,
    Failure,
    Result,
    read_decision,
    read_result,
)
from workers.scoring.journal.store import RunStore
from workers.scoring.planning.find_run import Prepared, another_plan, check_result
from workers.scoring.planning.plan import Plan, read_plan
from workers.scoring.publishing.costs import costs_so_far
from workers.scoring.publishing.decision import decide
from workers.scoring.publishing.ledger import record
from workers.scoring.publishing.load import (
    load_times,
    publish_output,
    publish_rejects,
    written_at,
)
from workers.scoring.publishing.profile import record_profile
from workers.scoring.publishing.shadow import publish_shadow
from workers.scoring.request.parsed import MaxRejects
from workers.scoring.shards.agreement import Agreements
from workers.scoring.shards.chain import Share, all_complete, read_chains
from workers.scoring.shards.part import PartDamaged
from workers.scoring.shards.pool import Scoring, score_shards
from workers.scoring.shards.read_session import MARGIN, Session, current_session, give_up
from workers.scoring.shards.watch import Watch
from workers.scoring.turns import claim_turn, wait_for_others

WHOLE = Share()
IN_SERVICE = Engine()


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
            attempt = begin(store, HOUR if deadline is None else deadline - time.monotonic())
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
        session, agreements = _score(work)
        limits = prepared.max_rejects, prepared.max_drift, prepared.contract
        decision = decide(clients, store, plan, session, *limits)
        claim_turn(clients, store, plan, decision.counts)
        if not store.create(Decision.NAME, decision.to_dict()):
            decision = read_decision(store)  # another was first: it counts
    if decision is None:
        raise TryAgain(f"{store.uri(Decision.NAME)} was deleted just now: try again")
    if decision.token != plan.token:
        raise another_plan(store, Decision.NAME)
    if isinstance(decision, Cancellation):
        raise decision.error()
    total = decision.counts
    try:
        uris = [store.uri(name) for name in decision.parts]
        job, table = publish_output(clients, plan, uris, total.scored, stop)
        loads = [load_times("output", job)]
        if decision.rejects:
            uris = [store.uri(name) for name in decision.rejects]
            aside, _ = publish_rejects(clients, plan, uris, total.rejected, stop)
            loads.append(load_times("rejects", aside))
    except (SchemaMismatch, TableNotFound, TryAgain) as exc:
        if missing := store.missing([*decision.parts, *decision.rejects]):
            raise Conflict(
                f"{store.uri(missing[0])} was deleted before it was loaded, and the run "
                f"{plan.run_id} cannot be finished: pass a run_id of your own to start another one"
            ) from exc
        raise
    shadow = publish_shadow(clients, store, plan, decision, agreements, stop)
    record_profile(clients, store.env, plan, decision)
    finished_at = dt.datetime.now(dt.UTC)
    result = Result(
        run_id=plan.run_id,
        state="succeeded",
        env=store.env,
        model_name=plan.model.name,
        model_version=plan.model.version,
        model_generation=plan.model.generation,
        model_alias=plan.model.alias,
        input_table=str(plan.input_table),
        output_table=str(plan.output.table),
        rejects_table=str(plan.rejects.table) if decision.rejects else None,
        write_disposition=plan.output.write_disposition,
        rows=total.scored,
        rows_read=total.read,
        rows_rejected=total.rejected,
        max_rejects=decision.max_rejects,
        bytes_read=total.bytes,
        path=decision.path,
        loader=plan.model.loader,
        shards=len(decision.parts),
        streams=decision.streams,
        streams_requested=decision.streams_requested,
        attempts=store.attempts(),
        seconds=seconds_since(plan, finished_at),
        predicted_at=plan.created_at,
        snapshot_at=plan.snapshot_at,
        job_id=job.job_id,
        output_created=table.created.isoformat() if table.created else None,
        finished_at=finished_at.isoformat(),
        labels=dict(plan.labels),
        warnings=(*plan.warnings, *decision.warnings, *_result_warnings(plan, total)),
        engine=work.engine.name,
        engine_reason=work.engine.reason,
        shadow=shadow,
        drift=decision.drift,
        contract=decision.contract,
        loads=tuple(loads),
        **asdict(costs_so_far(store, plan, work.attempt)),
        output_modified=written_at(job, table),
        **_watermarks(plan),
    )
    if store.create(Result.NAME, result.to_dict()):
        return result
    return replace(read_result(store) or result, reused=True)


def _score(work: _Work) -> tuple[Session, Agreements]:
    """Score the rows that have no part yet, and return the session that all parts belong to.

    And how far the model and its challenger agree on the parts of this try.

    Raises:
        OthersAtWork: rows of other shares have no part yet.
    """
    clients, prepared, stop, share = work.clients, work.prepared, work.stop, work.share
    store, plan = prepared.store, prepared.plan
    cores = None if share == WHOLE else share.count * machine.cores()
    session = current_session(clients, store, plan, stop, work.deadline, cores)
    agreements = Agreements()
    try:
        chains = read_chains(store, session, share.parts(store.parts(session.number)))
        if todo := [chain for chain in chains if share.has(chain.shard) and not chain.complete]:
            scoring = Scoring(clients.settings, store.env, plan, session, prepared.max_rejects)
            watch = Watch(store, plan, session, chains, work.pace)
            # One task watches for all: each look reads the new parts of every task.
            look = watch.look if share.index == 0 else _look_nowhere
            agreements = score_shards(
                *(clients, scoring, prepared.model, todo),
                stop=stop,
                look=look,
                challenger=prepared.challenger,
            )
        if share != WHOLE and not all_complete(store, session):
            raise OthersAtWork(f"Task {share.index} of {store.run_id} has scored its rows")
    except (PartDamaged, SessionOver) as exc:
        give_up_for(exc, store, session)
        raise
    return session, agreements


def give_up_for(exc: PartDamaged | SessionOver, store: RunStore, session: Session) -> None:
    """Give up a session that no try can continue with: the next one opens another."""
    if isinstance(exc, PartDamaged):
        give_up(store, session, str(exc), "damaged")
    elif not session.expired(dt.datetime.now(dt.UTC) + MARGIN):  # else the next try judges it
        give_up(store, session, str(exc), "ended")


def _look_nowhere() -> None:
    pass


def _watermarks(plan: Plan) -> dict[str, Any]:
    """Return the fields of an incremental run's result."""
    if plan.incremental is None:
        return {}
    return {"incremental": plan.incremental.by} | plan.incremental.outcome()


def _result_warnings(plan: Plan, total: Counts) -> list[str]:
    return ["no row matches where"] if plan.where and not total.read else []


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
