"""A caller may be killed at any point, any number of times: every row is written exactly once."""

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any

import numpy as np
import pytest

from kill_cases import BAD, PARTS, SCORED, Bench, killed_run, open_bench, random_point
from mlsys.local.stack import LocalStack
from process_kills import KINDS, run_with_killed_processes
from samples import sampled

pytestmark = pytest.mark.slow

KILL, STOP = int(signal.SIGKILL), int(signal.SIGSTOP)
LONG_RUNS, LONG_KILLS, LONG_PROCESS_KILLS = 200, 1_000, 300


@pytest.fixture(scope="module")
def bench(stack: LocalStack) -> Iterator[Bench]:
    with open_bench(stack) as made:
        yield made


@pytest.fixture(autouse=True)
def jobs_as_the_local_server_runs_them(bench: Bench) -> None:
    bench.rules.job_seconds = 0.0


def at(moment: str, name: str, number: int = 1, number_of_signal: int = KILL) -> dict[str, Any]:
    """Return a call at which a caller is killed, or stopped."""
    return {"signal": number_of_signal, "moment": moment, "name": name, "number": number}


def test_a_clean_run_writes_the_models_answers(bench: Bench) -> None:
    clean, frame = bench.clean.sort_values("id", ignore_index=True), bench.frame.drop(BAD)
    X = frame[["a", "b"]]
    assert clean["id"].tolist() == frame["id"].tolist()
    assert clean["word"].tolist() == frame["word"].tolist()
    assert clean["prediction"].tolist() == bench.model.predict(X).tolist()
    names = [f"probability_{c}" for c in bench.model.classes_]
    np.testing.assert_allclose(clean[names], bench.model.predict_proba(X), rtol=1e-9)


@pytest.mark.parametrize("seed", sampled(range(8), 1, __file__))
def test_a_run_whose_callers_are_killed_at_random_writes_every_row_once(
    bench: Bench, seed: int
) -> None:
    killed_run(bench, seed)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_two_hundred_runs_and_a_thousand_kills_write_every_row_once(bench: Bench) -> None:
    began = time.monotonic()
    phases: Counter[str] = Counter()
    runs = 0
    while runs < LONG_RUNS or phases.total() < LONG_KILLS:
        phases += killed_run(bench, 1_000 + runs, kills=7)
        runs += 1
    seconds = time.monotonic() - began
    print(f"\n{runs} runs, {phases.total()} kills in {seconds:.0f} s, by phase: {dict(phases)}")


CRITICAL = [
    pytest.param(at("after", "POST plan.json"), 0.0, id="the plan is written"),
    pytest.param(at("before", "PUT part"), 0.0, id="before the first part is sent"),
    pytest.param(at("after", "PUT part"), 0.0, id="after the first part was sent"),
    pytest.param(at("after", "PUT part", PARTS), 0.0, id="after the last part was sent"),
    pytest.param(at("before", "POST load"), 0.0, id="before the load job is inserted"),
    pytest.param(at("after", "POST load"), 0.0, id="after the load job was inserted"),
    pytest.param(at("after", "POST load"), 0.5, id="while the load job is running"),
    pytest.param(at("before", "POST load", 2), 0.0, id="between the two loads"),
    pytest.param(at("after", "POST load", 2), 0.0, id="after the rejects were inserted"),
    pytest.param(at("before", "POST reject"), 0.0, id="before the first rejects are sent"),
    pytest.param(at("after", "PUT reject"), 0.0, id="after the first rejects were sent"),
    pytest.param(at("before", "POST result.json"), 0.5, id="before the result is written"),
    pytest.param(at("after", "POST result.json"), 0.0, id="after the result was written"),
]


@pytest.mark.long
@pytest.mark.parametrize(
    ("point", "job_seconds"), sampled(CRITICAL, 2, __file__, kind=lambda p: p.values[0]["moment"])
)
def test_a_caller_killed_at_a_critical_call_is_followed_by_one_that_finishes(
    bench: Bench, point: dict[str, Any], job_seconds: float
) -> None:
    bench.rules.job_seconds = job_seconds
    output = bench.output()
    outcome = bench.start(output, at=point).end()
    assert outcome.kind == "killed"
    assert outcome.calls[-1] == (point["moment"], point["name"])
    assert bench.finish(output)["rows"] == SCORED
    assert bench.problems(output) == []


WITH_A_CHALLENGER = [
    at("after", "PUT shadow"),  # its part does not exist yet
    at("after", "PUT part", 2),
    at("before", "POST load", 3),  # the run's own rows are published
    at("after", "POST load", 3),
    at("before", "POST result.json"),
]


@pytest.mark.long
@pytest.mark.parametrize(
    "point",
    sampled(
        {f"{p['moment']} {p['name']} {p['number']}": p for p in WITH_A_CHALLENGER}, 1, __file__
    ),
)
def test_a_run_with_a_challenger_that_is_killed_writes_both_once_and_has_the_same_report(
    bench: Bench, point: dict[str, Any]
) -> None:
    assert len(bench.challenger) == SCORED
    output = bench.output()
    outcome = bench.start(output, at=point, shadow="v2").end()
    assert outcome.kind == "killed"
    assert outcome.calls[-1] == (point["moment"], point["name"])
    result = bench.finish(output, shadow="v2")
    assert bench.problems(output) + bench.shadow_problems(output, result["shadow"]) == []


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_fifty_killed_runs_with_a_challenger_write_both_once(bench: Bench) -> None:
    assert len(bench.challenger) == SCORED
    for seed in range(50):
        killed_run(bench, 5_000 + seed, shadow="v2")


@pytest.mark.long
@pytest.mark.parametrize(
    ("design", "expected"),
    [
        ("", []),
        ("checkpoint after append", ["799 ids more than once"]),
        ("fresh run id", ["2 load jobs succeeded", f"{SCORED} ids more than once"]),
        ("random job id", ["2 load jobs succeeded", f"{SCORED} ids more than once"]),
    ],
)
def test_weaker_designs_fail_the_kill_test_and_ours_passes(
    bench: Bench, design: str, expected: list[str]
) -> None:
    output = bench.output()
    outcome = bench.start(output, at=at("after", "POST load"), design=design).end()
    assert outcome.kind == "killed"
    bench.finish(output, design=design)
    problems = bench.problems(output)
    assert set(expected) <= set(problems) if expected else problems == []


@pytest.mark.long
@pytest.mark.parametrize("design", ["checkpoint after append", "fresh run id", "random job id"])
def test_random_kills_expose_a_weaker_design_too(bench: Bench, design: str) -> None:
    for seed in range(30):
        try:
            killed_run(bench, seed, design=design)
        except AssertionError as caught:
            assert "more than once" in str(caught)
            return
    pytest.fail("no seed caught it")


ZOMBIES = [
    at("before", "POST plan.json", 1, STOP),
    at("before", "POST session", 1, STOP),
    at("before", "PUT part", 2, STOP),
    at("before", "POST load", 1, STOP),
    at("after", "POST load", 1, STOP),
    at("before", "POST result.json", 1, STOP),
]


def stopped_run(bench: Bench, point: dict[str, Any]) -> bool:
    """Stop a caller, let another finish, then continue the first; return False if none stopped."""
    output = bench.output()
    zombie = bench.start(output, at=point)
    try:
        stopped = zombie.until("at") is not None
        result = bench.finish(output)
    finally:
        zombie.signal(signal.SIGCONT)
        outcome = zombie.end()
    assert outcome.kind in ("result", "again"), f"{point}: {outcome.value}"
    if outcome.kind == "result":
        assert outcome.value["job_id"] == result["job_id"]
    assert bench.problems(output) == [], point
    assert bench.finish(output) == result | {"reused": True}
    bench.forget(output)
    return stopped


@pytest.mark.long
@pytest.mark.parametrize(
    "point", sampled({f"{p['moment']} {p['name']}": p for p in ZOMBIES}, 1, __file__)
)
def test_a_caller_that_resumes_after_another_has_finished_changes_nothing(
    bench: Bench, point: dict[str, Any]
) -> None:
    assert stopped_run(bench, point)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_hundred_callers_that_resume_late_change_nothing(bench: Bench) -> None:
    began, stopped = time.monotonic(), 0
    for seed in range(100):
        rng = Random(seed)
        bench.rules.job_seconds = rng.choice([0.0, 0.15])
        stopped += stopped_run(bench, random_point(rng, Counter()) | {"signal": STOP})
    print(f"\n100 runs, {stopped} callers stopped in {time.monotonic() - began:.0f} s")
    assert stopped > 50


def run_with_a_dying_process(bench: Bench, seconds: float) -> None:
    """Kill a process of the pool while the first part is being sent, and repeat the request."""
    output = bench.output()
    with bench.rules.holding("PUT part") as held:
        caller = bench.start(output, pool=True)
        try:
            process = caller.until("worker")
            assert held.reached.wait(60)
            time.sleep(seconds)
            os.kill(process, signal.SIGKILL)
        finally:
            held.release.set()
            outcome = caller.end()
    assert (outcome.kind, "process died" in str(outcome.value)) == ("again", True), outcome
    assert bench.finish(output)["rows"] == SCORED
    assert bench.problems(output) == []


def test_a_killed_scoring_process_costs_a_retry_and_no_row(bench: Bench) -> None:
    run_with_a_dying_process(bench, 0.0)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_ten_killed_scoring_processes_cost_no_row(bench: Bench) -> None:
    for seed in range(10):
        run_with_a_dying_process(bench, Random(seed).uniform(0, 1))


@pytest.mark.skipif(sys.platform != "linux", reason="needs the fork server")
@pytest.mark.parametrize("seed", sampled(range(3), 1, __file__))
def test_killed_sandboxes_nurseries_and_scoring_processes_cost_no_row(
    bench: Bench, seed: int
) -> None:
    killed = run_with_killed_processes(bench, seed)
    print(dict(killed))
    assert killed.total()  # a caller may end before its process is killed


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_three_hundred_killed_processes_of_runs_cost_no_row(bench: Bench) -> None:
    killed: Counter[str] = Counter()
    seed = 1_000
    while killed.total() < LONG_PROCESS_KILLS:
        killed += run_with_killed_processes(bench, seed)
        seed += 1
    print(f"\n{dict(killed)}")
    assert set(killed) == set(KINDS)
