"""A scoring run from request to result; whoever repeats the request resumes or reuses it."""

from __future__ import annotations

import datetime as dt
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

from mlsys.bq import find_table
from mlsys.clients import TIMEOUT, Clients, bigquery_retry
from mlsys.errors import (
    Conflict,
    MlsysError,
    ModelUnusable,
    RunInterrupted,
    SchemaMismatch,
    TryAgain,
)
from mlsys.loading import LoadedModel
from workers.scoring.plan import Plan, load_pinned, make_plan, resolve
from workers.scoring.pool import Scoring, score_shards
from workers.scoring.publish import publish
from workers.scoring.request import ScoringRequest, check_run_id
from workers.scoring.session import current_session
from workers.scoring.shard import count_rows
from workers.scoring.status import progress
from workers.scoring.store import RunStore

log = logging.getLogger(__name__)

MAX_SUFFIX = 1000


@dataclass(frozen=True, slots=True)
class Prepared:
    """A run that is planned: ready to be worked on, or done already."""

    store: RunStore
    plan: Plan
    result: dict[str, Any] | None = None  # the run is done, and its rows are in the output table
    loaded: LoadedModel | None = None  # the model, if planning has loaded it just now


def prepare(clients: Clients, request: ScoringRequest, run_id: str | None = None) -> Prepared:
    """Find the run that `request` means, or plan it.

    The run is the caller's `run_id`, or follows from the request, the model's generation and the
    input's state. A run that is done counts only while the output table that it wrote still
    exists; else the next free suffix (`-2`, `-3`, ...) starts a new one.

    Raises:
        Conflict: `run_id` is taken by another request.
        TableNotFound, ModelNotFound, SchemaMismatch, ModelUnusable: see `resolve`, `make_plan`.
    """
    resolved = None
    if run_id is None:
        resolved = resolve(clients, request)
        run_id = resolved.run_id
    check_run_id(run_id)
    for suffix in range(1, MAX_SUFFIX):
        store = RunStore(clients, request.env, run_id if suffix == 1 else f"{run_id}-{suffix}")
        found = store.read("plan.json")
        loaded = None
        if found is None:
            resolved = resolved or resolve(clients, request)
            plan, loaded = make_plan(clients, resolved, store.run_id)
            if not store.create("plan.json", plan.to_dict()):
                found, loaded = store.read("plan.json"), None  # a twin was first: join it
        if found is not None:
            plan = Plan.from_dict(found)
        _check_same(plan, request)
        result = store.read("result.json")
        if result is None:
            return Prepared(store, plan, None, loaded)
        if _output_is_there(clients, plan, result):
            return Prepared(store, plan, result | {"reused": True})
    raise Conflict(f"{run_id} was run {MAX_SUFFIX} times: pass another run_id")


def dry_run(clients: Clients, request: ScoringRequest, run_id: str | None = None) -> dict[str, Any]:
    """Return the verdict on `request` without writing anything or loading a row.

    `ok` tells whether the run would start; if not, `problems` says why, with the columns.

    Raises:
        TableNotFound, ModelNotFound: see `resolve`.
    """
    resolved = resolve(clients, request)
    run_id = check_run_id(run_id or resolved.run_id)
    found = RunStore(clients, request.env, run_id).read("plan.json")
    verdict: dict[str, Any] = {
        "run_id": run_id,
        "run_exists": found is not None,
        "model_name": resolved.ref.name,
        "model_version": resolved.ref.version,
        "model_generation": int(resolved.blob.generation),
        "rows": resolved.table.num_rows,
        "bytes": resolved.table.num_bytes,
    }
    try:
        if found is not None:
            _check_same(Plan.from_dict(found), request)
        plan, _ = make_plan(clients, resolved, run_id)
    except (SchemaMismatch, ModelUnusable, Conflict) as exc:
        columns = [{"name": c, "problem": p} for c, p in getattr(exc, "columns", ())]
        problem = {"detail": str(exc), "columns": columns}
        return verdict | {"ok": False, "problems": [problem]}
    return verdict | {
        "ok": True,
        "problems": [],
        "reads": list(plan.read_columns),
        "writes": [{"name": c.name, "type": c.type} for c in plan.output],
        "output_table_exists": plan.output_exists,
        "warnings": list(plan.warnings),
    }


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
        PredictionFailed, SchemaMismatch, ModelUnusable: nothing was published.
    """
    if prepared.result is not None:
        return prepared.result
    store, plan = prepared.store, prepared.plan

    def stop() -> bool:
        return stopping() or (deadline is not None and time.monotonic() > deadline)

    with _only_one_here(store, stop):
        result = store.read("result.json")  # another request of this process may have done it
        if result is not None:
            return result | {"reused": True}
        store.forget("failure.json")
        try:
            return _work(clients, store, plan, prepared.loaded, stop)
        except RunInterrupted as exc:
            raise RunInterrupted(
                f"{exc}: repeat the same request to resume", progress(store, plan)
            ) from exc
        except TryAgain:
            raise
        except Exception as exc:
            # Whatever it is, who polls the run must hear of it; foreign texts stay in the log.
            foreign = f"{type(exc).__name__}: the service's log has the reason"
            detail = str(exc) if isinstance(exc, MlsysError) else foreign
            at = dt.datetime.now(dt.UTC).isoformat()
            store.note("failure.json", {"detail": detail, "at": at})
            raise


def _work(
    clients: Clients,
    store: RunStore,
    plan: Plan,
    loaded: LoadedModel | None,
    stop: Callable[[], bool],
) -> dict[str, Any]:
    started = time.monotonic()
    session = current_session(clients, store, plan)
    names = [store.part_name(session.number, i) for i in range(session.parts)]
    there = store.parts(session.number)
    todo = [shard for shard, name in enumerate(names) if name not in there]
    done = {"rows": 0}

    def on_rows(rows: int) -> None:
        done["rows"] += rows
        log.info(
            "%s: %s rows scored by this try, of %s",
            plan.run_id,
            done["rows"],
            plan.rows_expected,
            extra={"run_id": plan.run_id},
        )

    if todo:
        loaded = loaded or load_pinned(clients, plan.model)
        scoring = Scoring(clients.settings, store.env, plan, session)
        score_shards(clients, scoring, loaded.model, todo, stop=stop, on_rows=on_rows)
        there = store.parts(session.number)
    read, scored = count_rows(there[name] for name in names)
    if read != scored:
        raise TryAgain(f"{plan.run_id}: {read} rows were read and {scored} scored")
    job, table = publish(clients, plan, [store.uri(name) for name in names], scored, stop)
    result = {
        "run_id": plan.run_id,
        "state": "succeeded",
        "env": store.env,
        "model_name": plan.model.name,
        "model_version": plan.model.version,
        "model_generation": plan.model.generation,
        "input_table": str(plan.input_table),
        "output_table": str(plan.output_table),
        "write_disposition": plan.write_disposition,
        "rows": scored,
        "shards": len(names),
        "seconds": round(time.monotonic() - started, 3),
        "predicted_at": plan.created_at,
        "snapshot_at": plan.snapshot_at,
        "job_id": job.job_id,
        "output_created": table.created.isoformat() if table.created else None,
        "finished_at": dt.datetime.now(dt.UTC).isoformat(),
        "warnings": list(plan.warnings),
        "reused": False,
    }
    if not store.create("result.json", result):
        return (store.read("result.json") or result) | {"reused": True}
    return result


def _check_same(plan: Plan, request: ScoringRequest) -> None:
    """Refuse a run_id that is another request's; `latest` may have meant the plan's version."""
    asked = request.to_dict()
    if asked["model_version"] == "latest":
        asked["model_version"] = plan.request["model_version"]
    differing = sorted(
        k for k in asked.keys() | plan.request.keys() if asked.get(k) != plan.request.get(k)
    )
    if differing:
        raise Conflict(
            f"{plan.run_id} is the run of another request, which differs in "
            f"{', '.join(differing)}: pass another run_id, or none"
        )


def _output_is_there(clients: Clients, plan: Plan, result: dict[str, Any]) -> bool:
    """Tell whether the run's rows are in the output table still, as far as it shows.

    The table must not be gone or made anew since; where the run replaced its rows, it must not
    hold another run's.
    """
    table = find_table(clients, plan.output_table)
    created = table.created.isoformat() if table is not None and table.created else None
    if table is None or created != result["output_created"]:
        return False
    if plan.write_disposition != "WRITE_TRUNCATE":
        return True
    fields = [f for f in table.schema if f.name.casefold() == "run_id"]
    rows = clients.bigquery.list_rows(
        table, selected_fields=fields, max_results=1, timeout=TIMEOUT, retry=bigquery_retry()
    )
    first = next(iter(rows), None)
    return result["rows"] == 0 if first is None else first[0] == plan.run_id


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
