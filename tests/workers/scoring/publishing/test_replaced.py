"""The moment whose rows an undo puts back: just before the run's load job took effect."""

from __future__ import annotations

import datetime as dt
import json
from types import SimpleNamespace
from typing import Any

import pytest

from console_cloud import NOW, RUNS, World, plan_of, put_working
from mlsys.cloud.tables import TableRef
from workers.scoring.journal.decisions import Decision
from workers.scoring.journal.store import RunStore
from workers.scoring.journal.undone import Removal, Undo
from workers.scoring.publishing import replaced
from workers.scoring.publishing.replaced import MILLISECOND, created_by, replaced_at

START = dt.datetime(2026, 11, 29, 3, tzinfo=dt.UTC)
SECOND = dt.timedelta(seconds=1)
JOB: Any = SimpleNamespace(started=START, ended=START + 30 * SECOND)
NOBODY: Any = None


class Counter:
    """Counts the run's rows, which are in the table from a moment on."""

    def __init__(self, since: dt.datetime) -> None:
        self.since, self.calls = since, 0

    def __call__(self, at: dt.datetime) -> dict[str, int]:
        self.calls += 1
        return {"own": 11 if at >= self.since else 0}


def table(created: dt.datetime) -> Any:
    return SimpleNamespace(created=created)


def alone(patch: pytest.MonkeyPatch, is_alone: bool) -> None:
    patch.setattr(replaced, "_is_alone", lambda *_: is_alone)


def test_a_run_that_nobody_wrote_beside_has_replaced_the_rows_of_its_jobs_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alone(monkeypatch, True)
    count = Counter(START + 20 * SECOND)
    assert replaced_at(NOBODY, NOBODY, JOB, table(START - SECOND), count) == START
    assert count.calls == 0


@pytest.mark.parametrize("seconds", [0.001, 0.5, 17.3, 29.9995, 30.0])
def test_otherwise_the_last_moment_before_the_effect_is_found_to_the_millisecond(
    monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    alone(monkeypatch, False)
    count = Counter(START + seconds * SECOND)
    at = replaced_at(NOBODY, NOBODY, JOB, table(START - SECOND), count)
    assert count.since - MILLISECOND <= at < count.since
    assert count.calls <= 16


def test_a_moment_before_another_run_created_the_table_is_not_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alone(monkeypatch, False)
    created, asked = START + 8 * SECOND, []

    def count(at: dt.datetime) -> dict[str, int]:
        asked.append(at)
        return {"own": 11 if at > START + 9 * SECOND else 0}

    replaced_at(NOBODY, NOBODY, JOB, table(created), count)
    assert min(asked) > created


@pytest.mark.parametrize(
    ("created", "is_alone", "since", "is_its"),
    [
        (-1.0, True, 20.0, False),
        (20.0, True, 20.0, True),
        (20.0, False, 20.0, True),
        (5.0, False, 20.0, False),  # another run created it meanwhile
    ],
)
def test_a_table_that_was_created_while_the_job_ran_may_be_another_runs(
    monkeypatch: pytest.MonkeyPatch, created: float, is_alone: bool, since: float, is_its: bool
) -> None:
    alone(monkeypatch, is_alone)
    made = table(START + created * SECOND)
    assert created_by(NOBODY, NOBODY, JOB, made, Counter(START + since * SECOND)) == is_its


def at(seconds: float) -> str:
    return (START + seconds * SECOND).isoformat()


HOURS = 3600.0
LOADS = {"created_at": at(-5), "ended_at": at(5)}
EARLIER = {"created_at": at(-50), "ended_at": at(-5)}
UNDO = Undo("t", "r", at(-30), None, "wrong", (Removal("p.d.t", "output", "delete", 1),))


@pytest.mark.parametrize(
    ("planned", "loads", "decided", "undo", "ended", "changed"),
    [
        (-60, [LOADS], True, None, None, True),
        (-60, [EARLIER], True, None, None, False),
        (-60, None, True, None, None, True),  # it loads
        (-60, None, False, None, None, False),  # it scores
        (2 * HOURS, None, True, None, None, False),  # it was planned afterwards
        (-60, [EARLIER], True, UNDO, None, True),  # its rows are being removed
        (-60, [EARLIER], True, UNDO, at(-2 * HOURS), False),  # they were before
        (-60, [EARLIER], True, UNDO, at(10), True),
    ],
)
def test_who_may_have_changed_the_table_while_the_job_ran(
    monkeypatch: pytest.MonkeyPatch,
    planned: float,
    loads: list[dict[str, str]] | None,
    decided: bool,
    undo: Undo | None,
    ended: str | None,
    changed: bool,
) -> None:
    result = None if loads is None else SimpleNamespace(loads=loads)
    decision = object.__new__(Decision) if decided else None
    undone = None if ended is None else SimpleNamespace(finished_at=ended)
    plan = SimpleNamespace(created_at=at(planned), output=TableRef("p", "d", "t"))
    for name, value in {
        "read_plan": plan,
        "read_result": result,
        "read_decision": decision,
        "read_undo": undo,
        "read_undone": undone,
    }.items():
        monkeypatch.setattr(replaced, name, lambda _, value=value: value)
    assert replaced._may_have_changed(NOBODY, JOB) == changed


GARBAGE = b'{"number": 0}'  # instead of a plan


def marked(world: World, table: str) -> list[str]:
    """Return the runs that are marked to write the table."""
    stores: Any = replaced._marked(world, "dev", TableRef.parse(table))  # type: ignore[arg-type]
    return [store.run_id for store in stores]


def test_a_damaged_plan_of_another_run_prevents_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    put_working(world, "ours", 30)
    put_working(world, "others", 10, output_table="my-project.titanic.others$20261122")
    world.objects[RUNS, "others/plan.json"] = (GARBAGE, NOW)
    assert marked(world, "my-project.titanic.scored") == ["ours"]
    assert marked(world, "my-project.titanic.others") == ["others"]
    newer = json.dumps(plan_of("others").to_dict() | {"sampled": 0.5}).encode()
    for plan in (newer, GARBAGE):
        world.objects[RUNS, "others/plan.json"] = (plan, NOW)
        assert marked(world, "my-project.titanic.others") == ["others"]
    world.objects[RUNS, "_running/others.json"] = (b"{}", NOW)  # nobody knows the table
    assert marked(world, "my-project.titanic.scored") == ["others", "ours"]
    # It may have changed the table at any time, and its rows count as long as nobody undid it.
    others = RunStore(world, "dev", "others")  # type: ignore[arg-type]
    assert replaced._may_have_changed(others, JOB)
    assert not replaced._is_void(others)
    world.objects[RUNS, "others/undo.json"] = (GARBAGE, NOW)
    assert replaced._is_void(others)
