"""How long the tries of a run have lasted, by when its objects were written."""

import datetime as dt

import pytest

from workers.scoring.journal import attempts
from workers.scoring.publishing.costs import machine_seconds

NOW = dt.datetime(2026, 11, 27, 12, tzinfo=dt.UTC)


def at(minutes: float) -> dt.datetime:
    return NOW + dt.timedelta(minutes=minutes)


def name(minutes: float, task: int | None = None) -> str:
    return attempts._name(at(minutes), None if task is None else (task, 2))


def part(stream: int) -> str:
    return f"parts/0/{stream:05d}-000000000000.parquet"


def test_tries_last_until_they_end_or_until_the_run_was_last_seen() -> None:
    killed, failed, last = name(0), name(20), name(60)
    written = {
        "plan.json": at(-1),
        killed: at(0),
        "session-0.json": at(1),
        part(0): at(5),
        failed: at(30),
        "failure.json": at(31),
        last: at(60),
    }
    assert machine_seconds({"plan.json": at(-1)}, at(60)) == 0
    # Nothing shows that it lived.
    assert machine_seconds({"plan.json": at(-1), killed: at(0)}, at(60)) == 0
    assert machine_seconds(written, at(70)) == (5 + 11 + 0) * 60
    assert machine_seconds(written, at(70), running=last) == (5 + 11 + 10) * 60


def test_a_task_that_was_killed_lasted_until_its_last_part_before_its_own_next_try() -> None:
    plan = {"plan.json": at(-1), "execution-0.json": at(-0.5), "session-0.json": at(0.1)}
    first, second = name(0, 0), name(0.001, 1)
    ended = plan | {first: at(4), second: at(8), part(0): at(3), part(1): at(7)}
    ended |= {"publish.json": at(9), "result.json": at(10)}
    assert machine_seconds(ended, at(10)) == pytest.approx((4 + 8) * 60, abs=1)
    assert machine_seconds(ended, at(10), running=second) == pytest.approx((4 + 10) * 60, abs=1)

    killed = plan | {first: at(0), part(0): at(5), second: at(8), part(1): at(7)}
    assert machine_seconds(killed, at(9)) == pytest.approx((5 + 8) * 60, abs=1)
    repeated = killed | {name(6, 0): at(9), part(2): at(8.5)}
    assert machine_seconds(repeated, at(9)) == pytest.approx((5 + 8 + 3) * 60, abs=1)
    # The caller that starts the next execution a day later notes a try of the whole run.
    again = repeated | {"execution-1.json": at(1500), name(1501): at(1501)}
    again |= {name(1502, 0): at(1503), part(4): at(1502.5)}
    assert machine_seconds(again, at(1503)) == pytest.approx((5 + 8 + 3 + 1) * 60, abs=1)


def test_a_try_of_the_whole_run_lasts_at_most_until_a_task_begins() -> None:
    written = {name(0): at(0), part(0): at(4), "execution-0.json": at(60)}
    written |= {name(61, 1): at(61), part(1): at(65)}
    assert machine_seconds(written, at(70)) == (4 + 4) * 60
