"""Several processes may work on one request at once: every row is written exactly once."""

import time
from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from kill_cases import SCORED, Bench, open_bench
from mlsys.local.stack import LocalStack
from samples import sampled
from zygote import Outcome

pytestmark = pytest.mark.slow

LONG_RUNS = 500


@pytest.fixture(scope="module")
def bench(stack: LocalStack) -> Iterator[Bench]:
    with open_bench(stack) as made:
        yield made


@pytest.fixture(autouse=True)
def jobs_as_the_local_server_runs_them(bench: Bench) -> None:
    bench.rules.job_seconds = 0.0


def plain(result: dict[str, Any]) -> dict[str, Any]:
    """Return the result without the field `reused`."""
    return {k: v for k, v in result.items() if k != "reused"}


def check(bench: Bench, output: str, outcomes: list[Outcome]) -> None:
    """Check that finished callers and a retry have one result, and that every row is there once."""
    result = bench.finish(output)
    assert result["rows"] == SCORED
    for outcome in outcomes:
        assert outcome.kind in ("result", "again"), outcome.value
        if outcome.kind == "result":
            assert plain(outcome.value) == plain(result)
    assert bench.problems(output) == []
    bench.forget(output)


def concurrent_run(bench: Bench, seed: int) -> Counter[str]:
    """Let two to four callers start on one request almost together; return how they ended."""
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


@pytest.mark.long
@pytest.mark.parametrize("seed", sampled(range(5), 1, __file__))
def test_concurrent_callers_of_one_request_write_every_row_once(bench: Bench, seed: int) -> None:
    concurrent_run(bench, seed)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_five_hundred_concurrent_runs_write_every_row_once(bench: Bench) -> None:
    began = time.monotonic()
    ends: Counter[str] = Counter()
    for seed in range(LONG_RUNS):
        ends += concurrent_run(bench, 1_000 + seed)
    seconds = time.monotonic() - began
    print(f"\n{LONG_RUNS} runs of {ends.total()} callers in {seconds:.0f} s, ends: {dict(ends)}")


def at_the_same_point(bench: Bench, output: str, name: str, design: str = "") -> list[Outcome]:
    """Hold three callers at the same call until all have reached it, then release them."""
    callers = []
    with bench.rules.holding(name) as held:
        try:
            callers += [bench.start(output, design=design) for _ in range(3)]
            assert [caller.until("before", name) for caller in callers] == [name] * 3
        finally:
            held.release.set()
            outcomes = [caller.end() for caller in callers]
    return outcomes


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "job_seconds"),
    sampled(
        [
            ("POST plan.json", 0.0),
            ("POST session", 0.0),
            ("PUT part", 0.0),
            ("POST load", 0.0),
            ("POST load", 0.5),
            ("POST result.json", 0.0),
        ],
        *(2, __file__),
    ),
)
def test_callers_that_reach_the_same_write_together_write_it_once(
    bench: Bench, name: str, job_seconds: float
) -> None:
    bench.rules.job_seconds = job_seconds
    output = bench.output()
    outcomes = at_the_same_point(bench, output, name)
    assert "result" in {outcome.kind for outcome in outcomes}
    check(bench, output, outcomes)


@pytest.mark.long
@pytest.mark.parametrize("design", ["random job id", "checkpoint after append", "fresh run id"])
def test_a_weaker_design_duplicates_rows_of_concurrent_callers(bench: Bench, design: str) -> None:
    output = bench.output()
    at_the_same_point(bench, output, "POST load", design)
    assert any("more than once" in problem for problem in bench.problems(output))
