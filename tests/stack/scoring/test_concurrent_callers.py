"""Several processes may work on one request at once: every row is written exactly once."""

import time
from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from kill_cases import SCORED, Bench, open_bench
from mlsys.local.stack import LocalStack
from zygote import Outcome

LONG_RUNS = 500


@pytest.fixture(scope="module")
def bench(stack: LocalStack) -> Iterator[Bench]:
    with open_bench(stack) as made:
        yield made


@pytest.fixture(autouse=True)
def jobs_as_the_local_server_runs_them(bench: Bench) -> None:
    bench.rules.job_seconds = 0.0


def plain(result: dict[str, Any]) -> dict[str, Any]:
    """The result without whether it was made just now."""
    return {k: v for k, v in result.items() if k != "reused"}


def check(bench: Bench, output: str, outcomes: list[Outcome]) -> None:
    """All callers have one result, or none yet; a repetition has it, and every row is there."""
    result = bench.finish(output)
    assert result["rows"] == SCORED
    for outcome in outcomes:
        assert outcome.kind in ("result", "again"), outcome.value
        if outcome.kind == "result":
            assert plain(outcome.value) == plain(result)
    assert bench.problems(output) == []
    bench.forget(output)


def doubled_run(bench: Bench, seed: int) -> Counter[str]:
    """Let two to four callers work on a request, begun within a moment; how they ended."""
    rng = Random(seed)
    bench.rules.job_seconds = rng.choice([0.0, 0.0, 0.2])
    output = bench.output()
    callers = []
    try:
        for _ in range(rng.randint(2, 4)):
            callers.append(bench.start(output))
            time.sleep(rng.choice([0.0, rng.uniform(0, bench.seconds)]))
    finally:
        outcomes = [caller.end() for caller in callers]
    check(bench, output, outcomes)
    return Counter(outcome.kind for outcome in outcomes)


@pytest.mark.parametrize("seed", range(5))
def test_callers_of_one_request_at_once_write_every_row_once(bench: Bench, seed: int) -> None:
    doubled_run(bench, seed)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_five_hundred_doubled_runs_write_every_row_once(bench: Bench) -> None:
    began = time.monotonic()
    ends: Counter[str] = Counter()
    for seed in range(LONG_RUNS):
        ends += doubled_run(bench, 1_000 + seed)
    seconds = time.monotonic() - began
    print(f"\n{LONG_RUNS} runs of {ends.total()} callers in {seconds:.0f} s, ends: {dict(ends)}")


def at_the_same_point(bench: Bench, output: str, name: str, design: str = "") -> list[Outcome]:
    """Let three callers come to the same call, and only then let it through."""
    callers = []
    with bench.rules.holding(name) as held:
        try:
            callers += [bench.start(output, design=design) for _ in range(3)]
            assert [caller.until("before", name) for caller in callers] == [name] * 3
        finally:
            held.release.set()
            outcomes = [caller.end() for caller in callers]
    return outcomes


@pytest.mark.parametrize(
    ("name", "job_seconds"),
    [
        ("POST plan.json", 0.0),
        ("POST session", 0.0),
        ("PUT part", 0.0),
        ("POST load", 0.0),
        ("POST load", 0.5),
        ("POST result.json", 0.0),
    ],
)
def test_callers_that_write_the_same_at_the_same_time_write_it_once(
    bench: Bench, name: str, job_seconds: float
) -> None:
    bench.rules.job_seconds = job_seconds
    output = bench.output()
    outcomes = at_the_same_point(bench, output, name)
    assert "result" in {outcome.kind for outcome in outcomes}
    check(bench, output, outcomes)


@pytest.mark.parametrize("design", ["random job id", "checkpoint after append", "fresh run id"])
def test_a_weaker_design_doubles_rows_when_callers_meet(bench: Bench, design: str) -> None:
    output = bench.output()
    at_the_same_point(bench, output, "POST load", design)
    assert any("more than once" in problem for problem in bench.problems(output))
