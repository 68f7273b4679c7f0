"""A failure is the answer of those requests that tolerate what its own request tolerated."""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict, replace
from types import SimpleNamespace
from typing import Any

import pytest

from mlsys.errors import PredictionFailed
from workers.scoring.engines import ended, task
from workers.scoring.journal.execution import Ended, Execution
from workers.scoring.journal.outcomes import Failure, Tolerance

NONE, FIVE = Tolerance("0"), Tolerance("5")
NOW = dt.datetime.now(dt.UTC)
OF_NONE = Execution(0, 2, "a test", NOW.isoformat(), "reading, 0 parts", "e", "", asdict(NONE))


def failure(tolerance: Tolerance | None, age: float = 60.0) -> Failure:
    at = NOW - dt.timedelta(seconds=age)
    by = None if tolerance is None else asdict(tolerance)
    return Failure("r", "failed", "why", "0", 1.0, at.isoformat(), rows=[{}], tolerance=by)


@pytest.mark.parametrize(
    "other",
    [FIVE, Tolerance("0", 0.3), Tolerance("0", contract="warn")],
    ids=["max_rejects", "max_drift", "contract"],
)
def test_a_failure_by_a_tolerance_counts_for_requests_with_the_same(other: Tolerance) -> None:
    by_none = Failure.from_dict(failure(NONE).to_dict())
    assert by_none.counts_for(NONE) and not by_none.counts_for(other)
    assert not failure(other).counts_for(NONE)


def test_another_failure_counts_for_all_of_them() -> None:
    for_all = failure(None)
    assert "tolerance" not in for_all.to_dict()
    assert for_all.counts_for(NONE) and for_all.counts_for(FIVE)


@pytest.mark.parametrize(
    ("written", "execution", "is_over"),
    [
        (failure(NONE), OF_NONE, True),
        (failure(NONE, age=-3600.0), OF_NONE, False),  # just now: its tasks are ending
        (failure(None), OF_NONE, False),  # it is the answer
        (failure(FIVE), replace(OF_NONE, tolerance=asdict(FIVE)), False),
        (failure(NONE), replace(OF_NONE, tolerance=asdict(FIVE)), False),  # of another engine
        (failure(NONE), replace(OF_NONE, tolerance=None), False),  # of another release
        (None, OF_NONE, False),
    ],
)
def test_an_execution_that_failed_by_another_tolerance_is_over_for_the_request(
    monkeypatch: pytest.MonkeyPatch,
    written: Failure | None,
    execution: Execution,
    is_over: bool,
) -> None:
    asked_to_end: list[Execution] = []
    monkeypatch.setattr(ended, "look_up", lambda *_: None)
    monkeypatch.setattr(ended, "read_failure", lambda _: written)
    monkeypatch.setattr(ended, "end_execution", lambda _, one: asked_to_end.append(one))
    prepared: Any = SimpleNamespace(store=None, tolerance=FIVE)
    how = ended.look_up_for(SimpleNamespace(), prepared, execution)  # type: ignore[arg-type]
    assert (how is not None) == is_over
    assert asked_to_end == ([execution] if is_over else [])


def test_a_request_that_waited_is_answered_only_with_its_own_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ended, "read_failure", lambda _: failure(NONE))

    def check(tolerance: Tolerance) -> None:
        prepared: Any = SimpleNamespace(store=None, tolerance=tolerance)
        clients: Any = None
        ended.check_ended(clients, prepared, OF_NONE, Ended("-"), is_ours=True, is_known=False)

    check(FIVE)  # another execution is started
    with pytest.raises(PredictionFailed):
        check(NONE)


def test_tasks_go_on_after_a_failure_of_a_request_that_tolerates_less(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(task, "read_failure", lambda _: failure(NONE))
    store: Any = None
    assert task._Failed(store, NONE)()
    assert not task._Failed(store, FIVE)()
