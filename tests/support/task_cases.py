"""Score a run by the tasks of a job, and kill the caller and the tasks, and start them twice."""

from __future__ import annotations

import contextlib
import queue
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

from kill_cases import BAD, OUTPUTS, SCORED, Bench, random_point
from mlsys.local.executions import Execution, Task
from mlsys.local.jobs import Jobs
from workers.scoring.journal.store import RunStore
from workers.scoring.planning.find_run import prepare
from zygote import Caller, Outcome

TRIES = 12  # of a task, until it exits with 0
# The calls by which a caller starts an execution, at which it is killed, beside any other. The
# objects are `execution-0.json` without a name, then with it.
CALLS = (
    *(("POST plan.json", 1), ("create_read_session", 1), ("POST session", 1)),
    *(("POST object", 1), ("run_job", 1), ("POST object", 2)),
)


def planned(bench: Bench, output: str) -> RunStore:
    """Plan a run that writes to `output`, and return its store."""
    lab = bench.lab
    params = lab.params(bench.table, bench.name, output_table=output, max_rejects=len(BAD))
    prepared = prepare(lab.clients, lab.request(params | {"outputs": ",".join(OUTPUTS)}))
    prepared.close()
    return prepared.store


@contextlib.contextmanager
def started_executions(jobs: Jobs) -> Iterator[queue.Queue[Execution]]:
    """Yield the executions that are started meanwhile; their tasks are the test's to start."""
    real, started = jobs.run, queue.Queue[Execution]()

    def run(job: str, arguments: list[str], tasks: int) -> Execution:
        execution = real(job, arguments, 0)
        execution.tasks[:] = [Task(index) for index in range(tasks)]
        started.put(execution)
        return execution

    jobs.run = run  # type: ignore[method-assign]
    try:
        yield started
    finally:
        jobs.run = real  # type: ignore[method-assign]


class JobCaller:
    """A caller that has a job score a run: killed `kills` times, and started again each time."""

    def __init__(self, bench: Bench, output: str, seed: int, tasks: int, kills: int) -> None:
        self._bench, self._output, self._tasks, self._kills = bench, output, tasks, kills
        self._rng = random.Random(seed)
        self._caller: Caller | None = None
        self._over = False
        self.outcome: Outcome | None = None
        self.phases: Counter[str] = Counter()
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    @property
    def at_work(self) -> bool:
        return self._thread.is_alive()

    def _work(self) -> None:
        rng = self._rng
        while not self._over:
            killed = self._kills > 0
            self._kills -= killed
            timed, point = killed and rng.random() < 0.3, None
            if killed and not timed:
                point = {"signal": int(signal.SIGKILL), "moment": rng.choice(["before", "after"])}
                if rng.random() < 0.6:
                    point["name"], point["number"] = rng.choice(CALLS)
                else:
                    point["number"] = rng.randint(1, 40)
            self._caller = self._bench.start(
                self._output, at=point, streams=self._tasks, tasks=self._tasks
            )
            if timed:
                time.sleep(rng.uniform(0, self._bench.seconds))
            self.outcome = self._caller.end(force=timed)
            self.phases[f"caller, {self.outcome.phase}"] += self.outcome.kind == "killed"
            self._over |= self.outcome.kind in ("result", "error")

    def stop(self) -> None:
        """End it."""
        self._over = True
        if self.at_work and self._caller is not None:
            with contextlib.suppress(ProcessLookupError):
                self._caller.signal(signal.SIGKILL)
        self._thread.join()


def run_tasks(
    bench: Bench,
    seed: int,
    tasks: int,
    kills: int,
    doubles: int,
    design: str = "",
    caller_kills: int = 0,
) -> Counter[str]:
    """Score a table by the tasks of a job and return the kills by phase; check what was written.

    `kills` of the tasks are killed, at a random time or call, and started again, as Cloud Run
    does; the first `doubles` tasks of the first execution belong to a second one too. The caller
    is killed and repeated `caller_kills` times.
    """
    rng = random.Random(seed)
    bench.rules.job_seconds = rng.choice([0.0, 0.0, 0.15])
    output = bench.output()
    phases: Counter[str] = Counter()
    at_work: list[tuple[Execution, Task, Caller, bool]] = []
    tries: Counter[tuple[str, int]] = Counter()
    left = {"kills": kills, "doubles": doubles}

    def start(execution: Execution, task: Task) -> None:
        key = (execution.name, task.index)
        tries[key] += 1
        assert tries[key] <= TRIES, f"seed {seed}: task {task.index} does not end"
        killed = left["kills"] > 0 and rng.random() < 0.7
        left["kills"] -= killed
        timed = killed and rng.random() < 0.4
        point = random_point(rng, Counter({"POST plan.json": 1})) if killed and not timed else None
        share = (task.index, len(execution.tasks))
        run_id = execution.arguments[0]
        process = bench.start(output, at=point, design=design, share=share, run_id=run_id)
        at_work.append((execution, task, process, timed))

    with started_executions(bench.lab.stack.jobs) as started:
        caller = JobCaller(bench, output, seed, tasks, caller_kills)
        try:
            while at_work or caller.at_work or not started.empty():
                with contextlib.suppress(queue.Empty):
                    execution = started.get(timeout=0.0 if at_work else 0.1)
                    more = min(left["doubles"], len(execution.tasks))
                    left["doubles"] -= more
                    for task in [*execution.tasks, *execution.tasks[:more]]:
                        start(execution, task)
                if not at_work:
                    continue
                execution, task, process, timed = at_work.pop(rng.randrange(len(at_work)))
                if timed:
                    time.sleep(rng.uniform(0, 0.5 * bench.seconds))
                outcome = process.end(force=timed)
                assert outcome.kind != "error", f"seed {seed}: {outcome.value}"
                phases[outcome.phase] += outcome.kind == "killed"
                task.codes.append(0 if outcome.kind == "result" else 1)
                if outcome.kind != "result":
                    start(execution, task)
                if not any(other is execution for other, *_ in at_work):
                    execution.completed = datetime.now(UTC)  # the caller may see it
        finally:
            caller.stop()
            for *_, process, _ in at_work:
                process.end(force=True)
    outcome = caller.outcome
    assert outcome is not None and outcome.kind == "result", f"seed {seed}: {outcome}"
    found = (outcome.value["rows"], outcome.value["engine"])
    assert found == (SCORED, "job"), f"seed {seed}: {outcome.value}"
    problems = bench.problems(output)
    assert problems == [], f"seed {seed}: {problems}"
    bench.forget(output)
    return phases + caller.phases
