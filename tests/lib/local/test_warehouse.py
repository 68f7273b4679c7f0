"""The in-memory stand-in for Google Cloud keeps the rules in its docstring."""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core.exceptions import BadRequest, PreconditionFailed

from turns import Killed, Turn, pause
from warehouse import QUEUED, RUNNING, Job, Registry, Warehouse

KEY = "m/v1"


def values(generation: int = 1) -> list[dict[str, Any]]:
    return [{"model_name": "m", "model_version": "v1", "generation": generation}]


@pytest.fixture
def registry() -> Registry:
    return Registry()


def replace(registry: Registry, generation: int) -> Job:
    return registry.begin([KEY], values(generation))


def generations(registry: Registry) -> list[int]:
    return [row.values["generation"] for row in registry.rows]


def test_statements_that_only_insert_do_not_conflict(registry: Registry) -> None:
    first, second = replace(registry, 1), replace(registry, 2)
    registry.end(second)
    registry.end(first)
    assert (first.state, second.state) == ("done", "done")
    assert generations(registry) == [2, 1]


def test_of_two_statements_that_change_one_partition_the_second_fails(registry: Registry) -> None:
    registry.end(replace(registry, 1))
    first, second = replace(registry, 2), replace(registry, 3)
    registry.end(first)
    registry.end(second)
    assert (first.state, second.state) == ("done", "failed")
    assert generations(registry) == [2]
    third = replace(registry, 4)
    registry.end(third)
    assert generations(registry) == [4]


def test_statements_that_change_different_partitions_do_not_conflict(registry: Registry) -> None:
    registry.end(replace(registry, 1))
    registry.today += 1
    other = [{"model_name": "m", "model_version": "v2", "generation": 5}]
    registry.end(registry.begin(["m/v2"], other))
    first, second = replace(registry, 2), registry.begin(["m/v2"], [])
    registry.end(first)
    registry.end(second)
    assert second.state == "done"
    assert generations(registry) == [2]


def test_a_statement_works_on_a_snapshot_of_its_start(registry: Registry) -> None:
    registry.end(replace(registry, 1))
    late = registry.begin([KEY], [])
    registry.end(registry.begin([], values(2)))
    registry.end(late)
    assert generations(registry) == [2]


def test_two_statements_run_twenty_wait_and_the_next_is_refused(registry: Registry) -> None:
    jobs = [replace(registry, n) for n in range(RUNNING + QUEUED)]
    assert [job.state for job in jobs] == ["running"] * RUNNING + ["queued"] * QUEUED
    with pytest.raises(BadRequest, match="Too many DML statements outstanding .* limit is 20"):
        replace(registry, 99)
    registry.end(jobs[0])
    assert jobs[RUNNING].state == "running"
    registry.end_all(jobs)
    assert registry.jobs == []


def test_generations_are_unique_and_may_go_down() -> None:
    bucket = Warehouse().bucket
    first = bucket.put("m/v1/model.pkl")
    lower = bucket.put("m/v1/model.pkl", lower=True)
    highest = bucket.put("m/v1/model.pkl")
    numbers = [lower.generation, first.generation, highest.generation]
    assert numbers == sorted(set(numbers), key=lambda n: n or 0)
    past = bucket.blob("m/v1/model.pkl", first.generation)
    assert past.download_as_bytes() == first.content  # the bucket keeps noncurrent generations
    with pytest.raises(PreconditionFailed):
        first.download_as_bytes(if_generation_match=first.generation)
    assert highest.download_as_bytes() == highest.content


def test_a_turn_runs_from_call_to_call_and_can_be_killed_between() -> None:
    steps: list[str] = []

    def work() -> None:
        steps.append("begun")
        pause("first")
        steps.append("further")
        pause("second")
        steps.append("never")

    turn = Turn(work)
    assert steps == []
    turn.step()
    assert (steps, turn.at) == (["begun"], "first")
    assert turn.run(to="second")
    turn.kill()
    assert turn.ended and isinstance(turn.error, Killed)
    assert steps == ["begun", "further"]
