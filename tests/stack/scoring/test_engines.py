"""A run has the same output whichever engine scores it, and whatever happens to a job's tasks."""

from __future__ import annotations

import base64
import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from kill_cases import (
    BAD,
    OUTPUTS,
    PARTS,
    SCORED,
    Bench,
    differences,
    open_bench,
    read_in_small_parts,
)
from mlsys.errors import NoProgress, OthersAtWork, RunInterrupted
from mlsys.local.stack import LocalStack
from samples import sampled
from task_cases import planned, run_tasks
from workers import machine
from workers.scoring.engines import beam, cloud_run_job, local, task
from workers.scoring.journal.execution import latest_execution, look_up
from workers.scoring.journal.outcomes import read_failure, read_result
from workers.scoring.request.parsed import MaxRejects
from workers.scoring.shards import pool, pool_process, watch
from workers.scoring.shards.chain import Share

pytestmark = pytest.mark.slow

LONG_RUNS = 100


@pytest.fixture(scope="module")
def bench(stack: LocalStack) -> Iterator[Bench]:
    with open_bench(stack) as made:
        yield made


@pytest.fixture(autouse=True)
def small_parts(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    read_in_small_parts(bench, monkeypatch)


def params(bench: Bench, engine: str, **more: Any) -> dict[str, str]:
    options = {"outputs": ",".join(OUTPUTS), "max_rejects": len(BAD), "engine": engine} | more
    return bench.lab.params(bench.table, bench.name, output_table=bench.output(), **options)


@pytest.mark.parametrize("engine", ["inline", "pool", "job"])
def test_the_output_is_the_same_bits_by_every_engine(
    bench: Bench, stack: LocalStack, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    if engine == "pool":
        monkeypatch.setattr(pool, "INLINE_ROWS", 0)
        monkeypatch.setattr(pool, "_cores", lambda: 2)
    elif engine == "inline":
        monkeypatch.setattr(machine, "cores", lambda: 1)
    assert len(bench.challenger) == SCORED
    bench.lab.put_alias(bench.name, "champion", {"version": "v1"})
    options = {"shadow": "v2", "max_drift": "0.9", "model_version": "champion"}
    request = params(bench, "job" if engine == "job" else "service", **options)
    result = bench.lab.here(request).done()
    assert (result["model_version"], result["model_alias"]) == ("v1", "champion")
    assert (result["rows"], result["rows_rejected"]) == (SCORED, len(BAD))
    assert (result["streams"], result["shards"]) == (2, PARTS)
    assert result["engine"] == ("job" if engine == "job" else "service")
    assert differences(bench.lab.rows(request["output_table"]), bench.clean) == []
    assert bench.shadow_problems(request["output_table"], result["shadow"]) == []
    assert bench.lab.profile(request["output_table"]) == bench.profile
    if engine == "job":
        execution = latest_execution(bench.lab.store(result["run_id"]))
        assert execution is not None
        assert (execution.number, execution.tasks) == (0, 2)
        started = stack.jobs.executions[execution.name]
        assert started.arguments[0] == result["run_id"]
        assert started.arguments[-2:] == ("--max-drift", "0.9")
        assert look_up(bench.lab.clients, execution) in (None, look_up(stack.clients, execution))


def test_the_functions_of_a_beam_pipeline_write_the_same_bits_in_any_order_and_twice(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`tests/long/test_beam.py` runs them by Beam."""
    monkeypatch.setattr(beam, "_require_walls", lambda _: None)
    output = bench.output()
    store = planned(bench, output)
    scoring = beam.prepare(bench.lab.settings, store, MaxRejects(len(BAD)))
    try:
        assert beam.score_stream(scoring, 1) == 1
        with pytest.raises(OthersAtWork):  # Beam would deliver the count again
            beam.publish(scoring, 1)
        assert [beam.score_stream(scoring, stream) for stream in (0, 1, 0)] == [0, 1, 0]
        for _ in range(2):
            beam.publish(scoring, 4)
    finally:
        pool_process._forget()
    result = read_result(store)
    assert result is not None
    assert (result.rows, result.engine) == (SCORED, "beam")
    assert differences(bench.lab.rows(output), bench.clean) == []
    assert bench.lab.profile(output) == bench.profile


def test_a_push_that_is_too_slow_in_the_service_moves_to_the_job_and_is_acknowledged(
    bench: Bench, stack: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "cores", lambda: 1)
    monkeypatch.setattr(local, "too_slow", lambda rate, left: f"{left} rows left" if left else None)
    monkeypatch.setattr(watch, "EVERY", 0.0)
    monkeypatch.setattr(watch, "PACE_SECONDS", 0.0)
    request = params(bench, "auto")
    message = json.dumps(request).encode()
    body = {"message": {"data": base64.b64encode(message).decode(), "messageId": "1"}}
    earlier = set(stack.jobs.executions)
    assert bench.lab.push(json.dumps(body).encode()).status == 204
    (execution,) = (e for name, e in stack.jobs.executions.items() if name not in earlier)
    run_id = execution.arguments[0]
    before = bench.lab.here({"env": "dev"}, f"/runs/{run_id}").json
    assert before["state"] in ("running", "succeeded")
    assert before["rows_done"] > 0
    assert bench.lab.push(json.dumps(body).encode()).status == 204  # it joins the job
    until = time.monotonic() + 60
    while (state := bench.lab.here({"env": "dev"}, f"/runs/{run_id}").json)["state"] == "running":
        assert time.monotonic() < until, (stack.logs / "jobs.log").read_text()[-2000:]
        time.sleep(0.2)
    result = state["result"]
    assert (result["engine"], result["rows"]) == ("job", SCORED)
    assert result["engine_reason"].endswith("rows left")
    assert stack.rules.succeeded(request["output_table"]) == 1
    assert differences(bench.lab.rows(request["output_table"]), bench.clean) == []


@pytest.mark.long
def test_only_the_task_that_finds_all_parts_publishes(bench: Bench) -> None:
    output = bench.output()
    store = planned(bench, output)
    assert task.work(store, Share(1, 2), MaxRejects(3), lambda: False) == task.DONE
    assert read_result(store) is None
    parts = list(store.parts(0))
    assert len(parts) == PARTS // 2
    assert {name.split("/")[2][:5] for name in parts} == {"00001"}
    assert task.work(store, Share(0, 2), MaxRejects(3), lambda: False) == task.DONE
    result = read_result(store)
    assert result is not None
    assert (result.rows, result.engine) == (SCORED, "job")
    # Delivered again: nothing is left.
    assert task.work(store, Share(1, 2), MaxRejects(3), lambda: False) == task.DONE
    assert differences(bench.lab.rows(output), bench.clean) == []


@pytest.mark.long
def test_a_task_that_fails_for_good_stops_the_others(bench: Bench) -> None:
    store = planned(bench, bench.output())
    assert task.work(store, Share(0, 2), MaxRejects(0), lambda: False) == task.DONE
    failure = read_failure(store)
    assert failure is not None
    assert "max_rejects" in failure.detail
    before = len(store.parts(0))
    assert task.work(store, Share(1, 2), MaxRejects(0), lambda: False) == task.DONE
    assert len(store.parts(0)) == before
    assert read_failure(store) == failure


def test_a_task_that_is_told_to_end_is_to_be_repeated(bench: Bench) -> None:
    store = planned(bench, bench.output())
    assert task.work(store, Share(0, 2), MaxRejects(3), lambda: True) == task.REPEAT
    assert read_failure(store) is None


def test_requests_that_are_delivered_again_start_one_execution(
    bench: Bench, stack: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Any] = []
    real = stack.jobs.run
    monkeypatch.setattr(stack.jobs, "run", lambda *a: started.append(a) or real(a[0], a[1], 0))
    request = params(bench, "job")
    prepared = cloud_run_job_of(bench, request)
    for _ in range(3):
        with pytest.raises(RunInterrupted, match="job works on"):
            cloud_run_job.score(*prepared, **NO_TIME)
    assert [(arguments[0], tasks) for _, arguments, tasks in started] == [
        (prepared[1].store.run_id, 2)
    ]
    # It has ended without a result and without a part: the caller is told, the next starts another.
    execution = latest_execution(prepared[1].store)
    assert execution is not None
    stack.jobs.executions[execution.name].completed = stack.jobs.executions[execution.name].created
    with pytest.raises(NoProgress, match="job_memory"):
        cloud_run_job.score(*prepared, **NO_TIME | {"pushed": False})
    with pytest.raises(RunInterrupted, match="job works on"):
        cloud_run_job.score(*prepared, **NO_TIME)
    assert len(started) == 2


NO_TIME: dict[str, Any] = {"deadline": 0.0, "stopping": lambda: False, "pushed": True}


def cloud_run_job_of(bench: Bench, request: dict[str, str]) -> tuple[Any, Any, Any]:
    from workers.scoring.journal.outcomes import Engine
    from workers.scoring.planning.find_run import prepare

    prepared = prepare(bench.lab.clients, bench.lab.request(request))
    prepared.close()
    return bench.lab.clients, prepared, Engine("job", "a test")


@pytest.mark.long
@pytest.mark.parametrize("seed", sampled(range(6), 1, __file__))
def test_tasks_and_callers_that_are_killed_and_doubled_write_every_row_once(
    bench: Bench, seed: int
) -> None:
    run_tasks(bench, seed, tasks=3, kills=3, doubles=1, caller_kills=1)


@pytest.mark.parametrize(
    ("design", "doubles", "problem"),
    [
        ("publish early", 2, "ids missing|'rows': |Result"),
        ("random job id", 2, "load jobs succeeded"),
        # Without twins, which would score what the other leaves out.
        ("skip on retry", 0, "ids missing|'rows': "),
        ("skip a killed share", 0, "ended without progress"),
    ],
)
@pytest.mark.long
def test_weaker_designs_are_caught(bench: Bench, design: str, doubles: int, problem: str) -> None:
    with pytest.raises(AssertionError, match=problem):
        for seed in range(20):
            run_tasks(bench, seed, tasks=2, kills=4, doubles=doubles, design=design)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_hundred_runs_by_tasks_write_every_row_once(bench: Bench) -> None:
    phases: Counter[str] = Counter()
    for number in range(int(os.environ.get("RUNS", LONG_RUNS))):
        doubles, caller_kills = number % 3, 1 + number % 2
        phases += run_tasks(
            bench, 5_000 + number, 3 + number % 4, 5, doubles, caller_kills=caller_kills
        )
    print(f"\n{phases.total()} kills by phase: {dict(phases)}")
