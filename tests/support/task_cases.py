"""Score a run by the tasks of a job, and kill tasks and start them twice at random."""

from __future__ import annotations

import random
import time
from collections import Counter

from kill_cases import BAD, OUTPUTS, SCORED, Bench, random_point
from workers.scoring.planning.find_run import prepare
from workers.scoring.records import read_result
from workers.scoring.store import RunStore
from zygote import Caller

TRIES = 12  # of a task, until it exits with 0


def planned(bench: Bench, output: str) -> RunStore:
    """Plan a run that writes to `output`, and return its store."""
    lab = bench.lab
    params = lab.params(bench.table, bench.name, output_table=output, max_rejects=len(BAD))
    prepared = prepare(lab.clients, lab.request(params | {"outputs": ",".join(OUTPUTS)}))
    prepared.close()
    return prepared.store


def run_tasks(
    bench: Bench, seed: int, tasks: int, kills: int, doubles: int, design: str = ""
) -> Counter[str]:
    """Score a table by tasks and return the kills by phase; check what was written.

    `kills` of them are killed, at a random time or call, and started again, as Cloud Run does; the
    first `doubles` tasks belong to two executions.
    """
    rng = random.Random(seed)
    bench.rules.job_seconds = rng.choice([0.0, 0.0, 0.15])
    output = bench.output()
    store = planned(bench, output)
    phases: Counter[str] = Counter()
    at_work: list[tuple[int, Caller, bool]] = []
    tries: Counter[int] = Counter()

    def start(index: int) -> None:
        nonlocal kills
        tries[index] += 1
        assert tries[index] <= TRIES, f"seed {seed}: task {index} does not end"
        killed = kills > 0 and rng.random() < 0.7
        kills -= killed
        timed = killed and rng.random() < 0.4
        point = random_point(rng, Counter({"POST plan.json": 1})) if killed and not timed else None
        caller = bench.start(
            output, at=point, design=design, share=(index, tasks), run_id=store.run_id
        )
        at_work.append((index, caller, timed))

    for index in [*range(tasks), *range(doubles)]:
        start(index)
    while at_work:
        index, caller, timed = at_work.pop(rng.randrange(len(at_work)))
        if timed:
            time.sleep(rng.uniform(0, 0.5 * bench.seconds))
        outcome = caller.end(force=timed)
        assert outcome.kind != "error", f"seed {seed}: {outcome.value}"
        phases[outcome.phase] += outcome.kind == "killed"
        if outcome.kind != "result":
            start(index)
    result = read_result(store)
    assert result is not None, f"seed {seed}: every task exited with 0, without a result"
    assert (result.rows, result.engine) == (SCORED, "job"), f"seed {seed}: {result}"
    problems = bench.problems(output)
    assert problems == [], f"seed {seed}: {problems}"
    bench.forget(output)
    return phases
