"""Score the streams of a run: in this process, or in one process a core for larger tables.

The processes stay for the next run, with their connections and their model.
"""

from __future__ import annotations

import concurrent.futures as cf
import multiprocessing
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

from mlsys.cloud.clients import Clients, clients_for
from mlsys.errors import RunInterrupted, RunWaiting, TryAgain
from mlsys.settings import Settings
from workers import admission, logs, machine
from workers.forking import context, kill
from workers.monitoring.contract import ENFORCE
from workers.sandbox import died, nursery, walls
from workers.sandbox.client import SandboxedModel
from workers.sandbox.died import Cause
from workers.scoring.planning.model_pin import ModelPin, load_pinned
from workers.scoring.planning.plan import Plan
from workers.scoring.records import Counts
from workers.scoring.request import MaxRejects
from workers.scoring.shards.agreement import Agreements
from workers.scoring.shards.chain import Chain
from workers.scoring.shards.challenger import Challenger
from workers.scoring.shards.part import Footer
from workers.scoring.shards.read_session import ROWS_FOR_A_CORE, Session
from workers.scoring.shards.remote_error import RemoteError
from workers.scoring.shards.scorer import Scorer
from workers.scoring.shards.shard import score_shard
from workers.scoring.store import RunStore

INLINE_ROWS = 2 * ROWS_FOR_A_CORE  # below this even a slow model gains little by more processes
WAIT_ROWS = 2_000_000  # from here on waiting for another run's processes is better
IDLE_SECONDS = 300.0  # after which the processes exit, and release their memory
POLL = 0.5  # seconds


@dataclass(frozen=True, slots=True)
class Scoring:
    """What every process that scores streams of a run needs to know. Can be pickled."""

    settings: Settings
    env: str
    plan: Plan
    session: Session
    max_rejects: MaxRejects
    max_drift: float | None = None  # both for the process that decides what is published
    contract: str = ENFORCE


@dataclass(frozen=True, slots=True)
class Shard:
    """A stream that was scored to its end: what became of its rows, and the seconds it took."""

    number: int
    counts: Counts
    seconds: float
    deaths: Mapping[Cause, int] = field(default_factory=dict)  # of the process's sandboxes
    agreements: Agreements = field(default_factory=Agreements)  # of its parts with a challenger


def score_shards(
    clients: Clients,
    scoring: Scoring,
    model: SandboxedModel | None,
    chains: Iterable[Chain],
    *,
    stop: Callable[[], bool],
    look: Callable[[], None],
    challenger: SandboxedModel | None = None,
) -> Agreements:
    """Score the rows that the streams' chains lack; `model` is the plan's, if it is loaded already.

    So is `challenger`, the model of the plan's shadow. Return how far both agree on new parts.
    `look` is called often meanwhile; what it raises ends the work.

    Raises:
        RunInterrupted: `stop` returned True; the existing parts stay.
        PredictionFailed: rows cannot be scored, more than `max_rejects`.
        TryAgain: a process of the pool died.
    """
    todo = list(chains)
    models = _models(scoring.plan)
    fitting = _processes_that_fit(models)
    processes = min(_cores(), fitting)
    rows = scoring.session.rows
    many = min(len(todo), processes) > 1 and rows >= INLINE_ROWS
    if many and _pool.take(wait=rows >= WAIT_ROWS, stop=stop):
        for loaded in (model, challenger):
            if loaded is not None:
                loaded.close()  # each process has its own, and this one's memory is needed
        try:
            # Other runs may have taken the memory of some.
            granted = admission.fit(_pool.place, [pin.size for pin in models], processes)
            if granted > 1:
                return _in_processes(scoring, todo, granted, stop, look)
            _pool.end()
        except BaseException:
            _pool.end()  # with their unfinished work
            raise
        finally:
            _pool.give_back()
        model = challenger = None  # they are closed
    if fitting < 2:
        _pool.end_if_idle()  # their models' memory is needed here
    plan, agreements = scoring.plan, Agreements()
    with (
        closing(Scorer(plan, lambda: load_pinned(clients, plan.model), model)) as scorer,
        closing(_challenger(clients, scoring, challenger)) as second,
    ):
        for chain in todo:
            if stop():
                raise RunInterrupted("The run was stopped between two parts")
            shard = _score(clients, scoring, chain, scorer, second, stop, lambda _: look())
            agreements.merge(shard.agreements)
    return agreements


def _cores() -> int:
    return machine.cores()


def _models(plan: Plan) -> list[ModelPin]:
    """Return the models that each scoring process holds: the run's, and the challenger's."""
    shadow = plan.shadow.plan if plan.shadow is not None else None
    return [plan.model] if shadow is None else [plan.model, shadow.model]


def _challenger(
    clients: Clients, scoring: Scoring, model: SandboxedModel | None = None
) -> Challenger:
    store = RunStore(clients, scoring.env, scoring.plan.run_id)
    return Challenger(clients, store, scoring.plan, scoring.session, scoring.max_rejects, model)


def _processes_that_fit(models: Sequence[ModelPin]) -> int:
    """Return how many more processes with these models fit into memory beside this one."""
    room = machine.room_for_models() - machine.MODEL_BYTES * sum(m.size for m in models)
    return max(
        0, room // (machine.WORKER_BYTES + sum(machine.model_memory(m.size) for m in models))
    )


class _Pool:
    """The processes, which are one run's at a time.

    Two runs in them would be no faster than one after the other, and need two models in each.
    """

    def __init__(self) -> None:
        self._taken = threading.Semaphore(1)
        self._executor: cf.ProcessPoolExecutor | None = None
        self._processes = 0
        self._idle: threading.Timer | None = None
        self.place = admission.Place(is_run=False)  # the memory of the processes' models

    def take(self, *, wait: bool, stop: Callable[[], bool]) -> bool:
        """Reserve the pool. Return False if another run holds it; on True, call `give_back()`.

        Raises:
            RunWaiting: `stop` returned True while another run held it.
        """
        while not self._taken.acquire(blocking=wait, timeout=POLL if wait else None):
            if not wait:
                return False
            if stop():
                raise RunWaiting("The run was waiting for another one's processes")
        if self._idle is not None:
            self._idle.cancel()
        return True

    def give_back(self) -> None:
        """Release the pool; its processes exit if no run reserves it in time."""
        try:
            self._idle = threading.Timer(IDLE_SECONDS, self.end_if_idle)
            self._idle.daemon = True
            self._idle.start()
        finally:
            self._taken.release()

    def executor(self, processes: int) -> cf.ProcessPoolExecutor:
        """Return up to `processes` processes: the last run's, if as many were allowed and all live.

        They start as there is work for them.
        """
        if self._processes != processes or not all(p.is_alive() for p in self._started()):
            self._end()
        if self._executor is None:
            admission.reclaim_by(self.end_if_idle)
            self._executor = cf.ProcessPoolExecutor(
                processes,
                mp_context=context(),
                initializer=_start_worker,
                initargs=(logs.is_configured(),),
            )
            self._processes = processes
        return self._executor

    def check(self) -> None:
        """Check that all processes live.

        The executor watches the processes that it had when it last woke up. One that it started
        since can end unnoticed until another one has scored a whole stream.

        Raises:
            BrokenProcessPool: one has ended.
        """
        if not all(process.is_alive() for process in self._started()):
            raise cf.process.BrokenProcessPool("a process has ended")

    def end(self) -> None:
        """End the processes now: their unfinished work is not published, and not missed."""
        self._end()
        admission.release(self.place)

    def _end(self) -> None:
        if self._executor is None:
            return
        processes = self._started()
        executor, self._executor = self._executor, None  # which lives until they have ended
        executor.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            kill(process)
        for process in processes:
            process.join(5)

    def _started(self) -> list[Any]:
        return list((self._executor._processes or {}).values()) if self._executor else []

    def end_if_idle(self) -> None:
        """End the processes if no run holds the pool."""
        if self._taken.acquire(blocking=False):
            try:
                self.end()
            finally:
                self._taken.release()


_pool = _Pool()


def _in_processes(
    scoring: Scoring,
    todo: list[Chain],
    processes: int,
    stop: Callable[[], bool],
    look: Callable[[], None],
) -> Agreements:
    """Score the streams in the pool, which the caller has reserved."""
    agreements = Agreements()
    try:
        executor = _pool.executor(processes)
        fields = logs.about() | {"run_id": scoring.plan.run_id}
        try:
            waiting = {
                executor.submit(logs.within, fields, score_in_process, scoring, chain)
                for chain in todo
            }
        except (EOFError, OSError) as exc:
            raise TryAgain("A scoring process cannot be started: try again") from exc
        while waiting:
            done, waiting = cf.wait(waiting, POLL, cf.FIRST_COMPLETED)
            for future in done:
                shard = future.result()
                died.add(shard.deaths)
                if isinstance(shard, RemoteError):
                    raise shard.error()
                agreements.merge(shard.agreements)
            if waiting:
                _pool.check()
                if stop():
                    raise RunInterrupted("The run was stopped between two parts")
                look()
    except cf.process.BrokenProcessPool as exc:
        raise TryAgain(
            "A scoring process died, perhaps for lack of memory: try again, or give the service "
            "more memory (memory in Terraform, job_memory for a job)"
        ) from exc
    return agreements


def _start_worker(logs_json: bool) -> None:
    """Fork the nursery of sandboxes before this process has a client; exit with the parent."""
    logs.configure_child(logs_json)
    nursery.fork_own()
    walls.protect_memory()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def score_in_process(scoring: Scoring, chain: Chain) -> Shard | RemoteError:
    """Score the rows that a stream's chain lacks, with the model that this process keeps.

    For one thread of a process at a time. What it raises is returned.
    """
    clients = clients_for(scoring.settings)
    before = Counter(died.deaths())
    try:
        scorer = _scorer(clients, scoring.plan)
        second = _second(clients, scoring)
        scored = _score(clients, scoring, chain, scorer, second, lambda: False, lambda _: None)
        return replace(scored, deaths=Counter(died.deaths()) - before)
    except Exception as exc:  # the parent handles it
        _forget()  # rows may lie in the sandbox's memory that nobody asks for any more
        return replace(RemoteError.of(exc), deaths=Counter(died.deaths()) - before)


def _score(
    clients: Clients,
    scoring: Scoring,
    chain: Chain,
    scorer: Scorer,
    challenger: Challenger,
    stop: Callable[[], bool],
    on_part: Callable[[Footer], None],
) -> Shard:
    began = time.monotonic()
    store = RunStore(clients, scoring.env, scoring.plan.run_id)
    counts = score_shard(
        *(clients, store, scoring.session, chain, scorer, scoring.max_rejects, challenger),
        stop=stop,
        on_part=on_part,
    )
    seconds = time.monotonic() - began
    return Shard(chain.shard, counts, seconds, agreements=challenger.take_agreements())


_kept: list[Scorer] = []  # by a process of the pool: the scorer of its last run


def _scorer(clients: Clients, plan: Plan) -> Scorer:
    """Return the run's scorer. Runs of one model share its sandbox while they follow each other."""
    last = _kept[0] if _kept else None
    if last is not None and last.plan == plan:
        return last
    _forget_second()  # another run's
    if last is not None and last.plan.model != plan.model:
        _forget()  # so that there are not two models while one is loaded
    model = _kept.pop().model if _kept else None
    _kept[:] = [Scorer(plan, lambda: load_pinned(clients, plan.model), model)]
    return _kept[0]


_kept_second: list[tuple[Scoring, Challenger]] = []  # its challenger


def _second(clients: Clients, scoring: Scoring) -> Challenger:
    """Return the run's challenger, which is kept for its other streams."""
    if _kept_second and _kept_second[0][0] == scoring:
        return _kept_second[0][1]
    _forget_second()
    _kept_second[:] = [(scoring, _challenger(clients, scoring))]
    return _kept_second[0][1]


def _forget_second() -> None:
    while _kept_second:
        _kept_second.pop()[1].close()


def _forget() -> None:
    _forget_second()
    while _kept:
        _kept.pop().close()
