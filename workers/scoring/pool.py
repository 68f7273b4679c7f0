"""Score the shards of a run: in this process, or in one process a core for larger tables."""

from __future__ import annotations

import concurrent.futures as cf
import functools
import json
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from mlsys.clients import Clients, clients_for
from mlsys.errors import RunInterrupted, TryAgain
from mlsys.settings import Settings
from workers.scoring.model import load_pinned
from workers.scoring.part import Counts
from workers.scoring.plan import Plan
from workers.scoring.predictor import Predictor
from workers.scoring.request import MaxRejects
from workers.scoring.session import Session
from workers.scoring.shard import score_shard
from workers.scoring.store import RunStore

INLINE_ROWS = 2_000_000  # below this a pool costs more to start than it gains
POLL = 0.5  # seconds

# Two runs in two pools would be no faster than one after the other, and take twice the memory.
_one_pool = threading.Semaphore(1)


@dataclass(frozen=True, slots=True)
class Scoring:
    """What every process that scores shards of a run needs to know. Can be pickled."""

    settings: Settings
    env: str
    plan: Plan
    session: Session
    max_rejects: MaxRejects


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard that was scored, what became of its rows, and the seconds it took."""

    number: int
    counts: Counts
    seconds: float


def score_shards(
    clients: Clients,
    scoring: Scoring,
    model: Any,
    shards: Iterable[int],
    *,
    stop: Callable[[], bool],
    on_shard: Callable[[Shard], None],
) -> None:
    """Score `shards`, each into its part; `model` is the plan's, loaded here already.

    `on_shard` hears of each one as it is done.

    Raises:
        RunInterrupted: `stop` said so; the parts that are there stay.
        PredictionFailed: rows cannot be scored, more than `max_rejects`.
        TryAgain: a process of the pool died.
    """
    todo = list(shards)
    processes = min(len(todo), _cores())
    if processes < 2 or scoring.session.rows < INLINE_ROWS:
        predictor = Predictor(model, scoring.plan)
        for shard in todo:
            if stop():
                raise RunInterrupted("The run was stopped between two shards")
            on_shard(_score(clients, scoring, shard, predictor, stop))
        return
    while not _one_pool.acquire(timeout=POLL):
        if stop():
            raise RunInterrupted("The run was waiting for another one's processes")
    try:
        _in_processes(scoring, todo, processes, stop, on_shard)
    finally:
        _one_pool.release()


def _cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _in_processes(
    scoring: Scoring,
    todo: list[int],
    processes: int,
    stop: Callable[[], bool],
    on_shard: Callable[[Shard], None],
) -> None:
    pool = cf.ProcessPoolExecutor(
        processes,
        # Spawned: gRPC does not survive a fork (https://github.com/grpc/grpc/blob/master/doc/fork_support.md)
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
    )
    try:
        waiting = {pool.submit(_score_in_worker, scoring, shard) for shard in todo}
        while waiting:
            done, waiting = cf.wait(waiting, POLL, cf.FIRST_COMPLETED)
            for future in done:
                on_shard(future.result())
            if waiting and stop():
                raise RunInterrupted("The run was stopped between two shards")
    except cf.process.BrokenProcessPool as exc:
        raise TryAgain("A scoring process died, perhaps for want of memory") from exc
    finally:
        _end(pool)


def _end(pool: cf.ProcessPoolExecutor) -> None:
    """End the pool now: what its processes have in hand is not published, and not missed."""
    processes = list((pool._processes or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(5)


def _start_worker() -> None:
    """Die with the parent, in whatever way it dies; and use one thread for arithmetic."""
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _score_in_worker(scoring: Scoring, shard: int) -> Shard:
    from google.api_core.exceptions import GoogleAPICallError

    clients = clients_for(scoring.settings)
    try:
        predictor = _predictor(clients, json.dumps(scoring.plan.to_dict()))
        return _score(clients, scoring, shard, predictor, lambda: False)
    except GoogleAPICallError as exc:  # it may hold its connection, which cannot travel
        raise type(exc)(exc.message, errors=exc.errors) from None


def _score(
    clients: Clients,
    scoring: Scoring,
    shard: int,
    predictor: Predictor,
    stop: Callable[[], bool],
) -> Shard:
    began = time.monotonic()
    store = RunStore(clients, scoring.env, scoring.plan.run_id)
    counts = score_shard(
        clients, store, scoring.session, shard, predictor, scoring.max_rejects, stop=stop
    )
    return Shard(shard, counts, time.monotonic() - began)


@functools.lru_cache(maxsize=1)
def _predictor(clients: Clients, plan_json: str) -> Predictor:
    """The predictor of the run, whose model this process loads once."""
    plan = Plan.from_dict(json.loads(plan_json))
    return Predictor(load_pinned(clients, plan.model).model, plan)
