"""Score the streams of a run: in this process, or in one process a core for larger tables.

The processes stay for the next run, with their connections and their model (`pool_process`).
"""

from __future__ import annotations

import concurrent.futures as cf
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from typing import Any

from mlsys.cloud.clients import Clients
from mlsys.errors import RunInterrupted, RunWaiting, TryAgain
from workers import admission, logs, machine
from workers.forking import context, kill
from workers.sandbox import died
from workers.sandbox.client import SandboxedModel
from workers.scoring.planning.model_pin import ModelPin, load_pinned
from workers.scoring.planning.plan import Plan
from workers.scoring.shards.agreement import Agreements
from workers.scoring.shards.chain import Chain
from workers.scoring.shards.pool_process import score_in_process, start_process
from workers.scoring.shards.read_session import ROWS_FOR_A_CORE
from workers.scoring.shards.remote_error import RemoteError
from workers.scoring.shards.scorer import Scorer
from workers.scoring.shards.stream import Scoring, challenger_of, score_chain

INLINE_ROWS = 2 * ROWS_FOR_A_CORE  # below this even a slow model gains little by more processes
WAIT_ROWS = 2_000_000  # from here on waiting for another run's processes is better
IDLE_SECONDS = 300.0  # after which the processes exit, and release their memory
POLL = 0.5  # seconds


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
        closing(challenger_of(clients, scoring, challenger)) as second,
    ):
        for chain in todo:
            if stop():
                raise RunInterrupted("The run was stopped between two parts")
            shard = score_chain(clients, scoring, chain, scorer, second, stop, lambda _: look())
            agreements.merge(shard.agreements)
    return agreements


def _cores() -> int:
    return machine.cores()


def _models(plan: Plan) -> list[ModelPin]:
    """Return the models that each scoring process holds: the run's, and the challenger's."""
    shadow = plan.shadow.plan if plan.shadow is not None else None
    return [plan.model] if shadow is None else [plan.model, shadow.model]


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
                initializer=start_process,
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
