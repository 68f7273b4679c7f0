"""A prepared run to its result; whoever repeats the request resumes or reuses it."""

from __future__ import annotations

import datetime as dt
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from mlsys.clients import Clients, is_passing
from mlsys.errors import (
    Conflict,
    MlsysError,
    PredictionFailed,
    RunInterrupted,
    SchemaMismatch,
    SessionOver,
    TableNotFound,
    TryAgain,
    bounded,
)
from workers.announcements import Event, announce
from workers.scoring.destination import rejects_destination
from workers.scoring.ledger import record
from workers.scoring.model import load_pinned
from workers.scoring.part import Counts, Footer, PartDamaged, PartGone, read_footers
from workers.scoring.plan import Plan
from workers.scoring.pool import Scoring, Shard, score_shards
from workers.scoring.prepare import Prepared, another_plan, check_result
from workers.scoring.publish import publish_output, publish_rejects
from workers.scoring.rejects import read_rejects, too_many
from workers.scoring.session import Session, current_session, give_up
from workers.scoring.status import progress
from workers.scoring.store import DECISION, RunStore

if TYPE_CHECKING:
    from google.cloud.storage import Blob

log = logging.getLogger(__name__)


def execute(
    clients: Clients,
    prepared: Prepared,
    *,
    deadline: float | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Work on a prepared run until it is done, and return its result.

    `deadline` is a `time.monotonic()` moment to stop at, `stopping` is asked now and then whether
    the process is to end; what is done by then stays, and the same request resumes it.

    Raises:
        RunInterrupted: out of time; carries the progress.
        PredictionFailed: more rows than `max_rejects` cannot be scored; nothing was published.
        SchemaMismatch, ModelUnusable, Conflict, InvalidRequest: nothing was published.
    """
    store, plan = prepared.store, prepared.plan

    def stop() -> bool:
        return stopping() or (deadline is not None and time.monotonic() > deadline)

    def done(result: dict[str, Any]) -> dict[str, Any]:
        record(clients, store, plan, just_ended=not result["reused"])
        if not result["reused"]:
            announce(clients, store.env, Event("run.finished", plan.run_id, result))
        return result

    if prepared.result is not None:
        return done(prepared.result)
    with _only_one_here(store, stop):
        result = store.read("result.json")  # another request of this process may have done it
        if result is not None:
            check_result(store, plan, result)
            return done(result | {"reused": True})
        store.forget("failure.json")
        store.begin_attempt()
        try:
            result = _work(clients, prepared, stop)
        except RunInterrupted as exc:
            raise RunInterrupted(
                f"{exc}: repeat the same request to resume", progress(store, plan)
            ) from exc
        except Exception as exc:
            if not isinstance(exc, TryAgain) and not is_passing(exc):
                _fail(clients, prepared, exc)
            raise
        return done(result)


def _work(clients: Clients, prepared: Prepared, stop: Callable[[], bool]) -> dict[str, Any]:
    """Score what is still to be scored, decide what is published, publish it, and say so.

    The decision is written down before the first load job: from then on nothing else counts,
    neither the session, which may expire, nor the input or the model, which may go.
    """
    store, plan = prepared.store, prepared.plan
    decided = store.read(DECISION)
    if decided is None:
        decided = _score(clients, prepared, stop)
        if not store.create(DECISION, decided):
            decided = store.read(DECISION) or decided  # a twin was first: its parts are loaded
    total = store.parse(DECISION, decided, _counts_of)
    if decided.get("token", plan.token) != plan.token:
        raise another_plan(store, DECISION)
    rejects = decided["rejects"]
    try:
        uris = [store.uri(name) for name in decided["parts"]]
        job, table = publish_output(clients, plan, uris, total.scored, stop)
        if rejects:
            uris = [store.uri(name) for name in rejects]
            publish_rejects(clients, plan, uris, total.rejected, stop)
    except (SchemaMismatch, TableNotFound, TryAgain) as exc:
        if missing := store.missing([*decided["parts"], *rejects]):
            raise Conflict(
                f"{store.uri(missing[0])} was deleted before it was loaded, and the run "
                f"{plan.run_id} cannot be finished: pass a run_id of your own to start another one"
            ) from exc
        raise
    finished_at = dt.datetime.now(dt.UTC)
    result = {
        "run_id": plan.run_id,
        "state": "succeeded",
        "env": store.env,
        "model_name": plan.model.name,
        "model_version": plan.model.version,
        "model_generation": plan.model.generation,
        "input_table": str(plan.input_table),
        "output_table": str(plan.output.table),
        "rejects_table": str(plan.rejects.table) if rejects else None,
        "write_disposition": plan.output.write_disposition,
        "rows": total.scored,
        "rows_read": total.read,
        "rows_rejected": total.rejected,
        "max_rejects": decided["max_rejects"],
        "bytes_read": total.bytes,
        "path": decided.get("path", ""),
        "shards": len(decided["parts"]),
        "attempts": store.attempts(),
        "seconds": _seconds(plan, finished_at),
        "predicted_at": plan.created_at,
        "snapshot_at": plan.snapshot_at,
        "job_id": job.job_id,
        "output_created": table.created.isoformat() if table.created else None,
        "finished_at": finished_at.isoformat(),
        "labels": dict(plan.labels),
        "warnings": [*plan.warnings, *_odd(plan, total)],
        "reused": False,
    }
    if not store.create("result.json", result):
        return (store.read("result.json") or result) | {"reused": True}
    return result


def _score(clients: Clients, prepared: Prepared, stop: Callable[[], bool]) -> dict[str, Any]:
    """Score the shards that have no part yet, and return what is to be published.

    Raises:
        PredictionFailed: more rows than `max_rejects` cannot be scored.
        SchemaMismatch: the table of rejects is none any more.
        Conflict: rows were read and neither scored nor rejected.
    """
    store, plan, max_rejects = prepared.store, prepared.plan, prepared.max_rejects
    session = current_session(clients, store, plan, stop)
    names = [store.part_name(session.number, i) for i in range(session.parts)]
    there = store.parts(session.number)
    todo = [shard for shard, name in enumerate(names) if name not in there]
    done = len(names) - len(todo)

    def on_shard(shard: Shard) -> None:
        nonlocal done
        done += 1
        log.info(
            "%s: shard %s scored %s of %s rows in %.1f s, %s of %s shards are done",
            plan.run_id,
            shard.number,
            shard.counts.scored,
            shard.counts.read,
            shard.seconds,
            done,
            len(names),
            extra={"run_id": plan.run_id},
        )

    if todo:
        loaded = prepared.loaded or load_pinned(clients, plan.model)
        scoring = Scoring(clients.settings, store.env, plan, session, max_rejects)
        try:
            score_shards(clients, scoring, loaded.model, todo, stop=stop, on_shard=on_shard)
        except SessionOver:
            give_up(store, session)
            raise
        there = store.parts(session.number)
    footers = _footers(store, session, there)
    total = sum((footer.counts for footer in footers), Counts())
    if total.read != total.scored + total.rejected:
        raise Conflict(  # a part never changes, so no other try could do better
            f"{plan.run_id}: {total.read} rows were read, {total.scored} scored and "
            f"{total.rejected} rejected: pass a run_id of your own to start another run"
        )
    rejects = [footer.rejects for footer in footers if footer.rejects]
    if total.rejected > max_rejects.limit(total.read):
        examples = read_rejects(store, rejects)
        raise too_many(plan, examples, max_rejects, total.rejected, total.read)
    if rejects:  # nothing is published if they could not be
        rejects_destination(clients, plan.output.table)
    return {
        "token": plan.token,
        "parts": names,
        "rejects": rejects,
        "counts": asdict(total),
        "max_rejects": str(max_rejects),
        "path": "; ".join(sorted({footer.path for footer in footers if footer.path})),
    }


def _footers(store: RunStore, session: Session, there: Mapping[str, Blob]) -> list[Footer]:
    """Return the footers of the session's parts, each of which has the rows of its stream.

    Raises:
        TryAgain: a part is gone, or not what was written: the next try scores it again.
    """
    names = [store.part_name(session.number, i) for i in range(session.parts)]
    if gone := [name for name in names if name not in there]:
        raise PartGone(f"{store.uri(gone[0])} was deleted. Repeat the request to score it again.")
    try:
        footers = read_footers(there[name] for name in names)
        for name, stream, footer in zip(names, session.streams, footers, strict=False):
            if footer.stream and footer.stream != stream:  # the session's object was deleted
                raise PartDamaged(f"{store.uri(name)} is of another session. Repeat the request.")
    except PartDamaged:
        give_up(store, session)
        raise
    return footers


def _counts_of(decided: dict[str, Any]) -> Counts:
    """Read a `publish.json`: its counts, with all else that it has to hold."""
    for name in ("parts", "rejects"):
        if not all(isinstance(part, str) for part in decided[name]):
            raise TypeError(f"{name} are not names")
    str(decided["max_rejects"])
    return Counts(**decided["counts"])


def _fail(clients: Clients, prepared: Prepared, exc: Exception) -> None:
    """Note why the run failed: who polls it must hear of it. Foreign texts stay in the log."""
    store, plan = prepared.store, prepared.plan
    foreign = f"{type(exc).__name__}: the service's log has the reason"
    finished_at = dt.datetime.now(dt.UTC)
    failure = {
        "run_id": plan.run_id,
        "state": "failed",
        "detail": bounded(str(exc)) if isinstance(exc, MlsysError) else foreign,
        "max_rejects": str(prepared.max_rejects),
        "seconds": _seconds(plan, finished_at),
        "finished_at": finished_at.isoformat(),
    }
    if isinstance(exc, PredictionFailed):
        failure["rows"] = exc.rows
    try:
        store.note("failure.json", failure | {"attempts": store.attempts()})
        record(clients, store, plan, just_ended=True)
    except Exception:  # the run's own failure is what the caller must hear of
        log.exception("That the run failed was not recorded", extra={"run_id": plan.run_id})
    told = {"event": "run.failed", "run_id": plan.run_id}  # alerts look for it
    log.error("%s failed: %s", plan.run_id, failure["detail"], extra=told)
    announce(clients, store.env, Event("run.failed", plan.run_id, {"env": store.env} | failure))


def _odd(plan: Plan, total: Counts) -> list[str]:
    return ["no row fulfils the condition of where"] if plan.where and not total.read else []


def _seconds(plan: Plan, finished_at: dt.datetime) -> float:
    """The seconds from the plan to the end, with all pauses between tries."""
    return round((finished_at - dt.datetime.fromisoformat(plan.created_at)).total_seconds(), 3)


_locks: WeakValueDictionary[str, threading.Lock] = WeakValueDictionary()
_locks_guard = threading.Lock()


@contextmanager
def _only_one_here(store: RunStore, stop: Callable[[], bool]) -> Iterator[None]:
    """Let one thread of this process work on a run. It saves work; nothing rests on it."""
    with _locks_guard:
        lock = _locks.setdefault(f"{store.env}/{store.run_id}", threading.Lock())
    while not lock.acquire(timeout=0.5):
        if stop():
            raise RunInterrupted(f"{store.run_id} is being worked on: repeat the request later")
    try:
        yield
    finally:
        lock.release()
