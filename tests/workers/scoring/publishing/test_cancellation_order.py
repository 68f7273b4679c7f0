"""Exactly one of cancellation and publication is decided, whatever the store answers."""

import datetime as dt
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from mlsys.errors import Conflict, RunCancelled, RunNotFound, RunPublished, TryAgain
from workers.scoring.journal.decisions import Cancellation, Counts, Decision, read_decision
from workers.scoring.journal.store import RunStore
from workers.scoring.publishing import cancellation
from workers.scoring.publishing.cancellation import Looks, cancel, check_not_cancelled

NOW = dt.datetime.now(dt.UTC).isoformat()
DECISION = Decision("token", ("parts/0/00000-0.parquet",), (), Counts(1, 1), "0")


class Objects(RunStore):
    """A run's objects in memory; `before` is called before one is created, `after` afterwards."""

    objects: ClassVar[dict[str, Any]] = {}  # of the run that a test works on
    before: ClassVar[Callable[[], None]] = staticmethod(lambda: None)
    lost: ClassVar[bool] = False  # the answer of a creation, which is then repeated by the client

    def read(self, name: str) -> dict[str, Any] | None:
        return Objects.objects.get(name)

    def create(self, name: str, value: Mapping[str, Any]) -> bool:
        Objects.before()
        is_new = name not in Objects.objects
        Objects.objects.setdefault(name, dict(value))
        return is_new and not Objects.lost

    def attempts(self) -> int:
        return 1

    def created(self) -> dict[str, dt.datetime]:
        return {}


@pytest.fixture(autouse=True)
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keep the runs in memory, and return what is announced and recorded."""
    into = SimpleNamespace(
        write_disposition="WRITE_APPEND", table=SimpleNamespace(base="p.d.t", partition=None)
    )
    about = {"created_at": NOW, "output": into, "is_copied": False}
    plan = SimpleNamespace(token="token", run_id="a-run", ledger_row={}, **about)
    done: list[str] = []
    monkeypatch.setattr(Objects, "objects", {"plan.json": {}})
    monkeypatch.setattr(Objects, "before", staticmethod(lambda: None))
    monkeypatch.setattr(Objects, "lost", False)
    monkeypatch.setattr(cancellation, "RunStore", Objects)
    monkeypatch.setattr(
        *(cancellation, "read_plan"),
        lambda store: None if store.read("plan.json") is None else plan,
    )
    monkeypatch.setattr(cancellation, "end_execution", lambda _: done.append("ended"))
    monkeypatch.setattr(cancellation, "announce", lambda *_: done.append("announced"))
    monkeypatch.setattr(cancellation, "record", lambda *_, **__: done.append("recorded"))
    monkeypatch.setattr(cancellation, "mark", lambda *_: None)
    return done


CLIENTS: Any = SimpleNamespace(settings=SimpleNamespace(runs_bucket=lambda _: "runs"))


def call() -> tuple[Cancellation, bool]:
    return cancel(CLIENTS, "dev", "a-run", by="me@example.com", why="a typo")


def test_the_first_of_two_cancellations_counts(recorded: list[str]) -> None:
    first, is_new = call()
    assert is_new and (first.by, first.why) == ("me@example.com", "a typo")
    assert call() == (first, False)
    assert recorded == ["announced", "ended", "recorded", "ended", "recorded"]


def test_a_lost_answer_is_the_same_cancellation(
    recorded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client repeats the creation, and is told that the object exists: it is its own."""
    monkeypatch.setattr(Objects, "lost", True)
    assert call()[1]
    assert recorded == ["announced", "ended", "recorded"]


@pytest.mark.parametrize("when", ["before", "just before"])
def test_a_decision_to_publish_that_is_first_wins(
    recorded: list[str], monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    def decide() -> None:
        Objects.objects["publish.json"] = DECISION.to_dict()

    if when == "before":
        decide()
    else:  # between the look and the creation
        monkeypatch.setattr(Objects, "before", staticmethod(decide))
    with pytest.raises(RunPublished, match="undo it: mlsys undo a-run"):
        call()
    assert recorded == []
    assert read_decision(Objects(CLIENTS, "dev", "a-run")) == DECISION


def test_a_run_that_is_done_or_unknown_is_not_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancellation, "read_result", lambda _: "a result")
    with pytest.raises(RunPublished, match="has published its rows"):
        call()
    Objects.objects.clear()
    with pytest.raises(RunNotFound):
        call()


def test_the_decision_of_an_earlier_plan_is_not_taken_for_this_ones() -> None:
    call()
    Objects.objects["publish.json"]["token"] = "another"
    with pytest.raises(Conflict, match="earlier plan"):
        call()


def test_a_decision_that_is_deleted_meanwhile_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Objects, "create", lambda *_: False)
    with pytest.raises(TryAgain, match="deleted just now"):
        call()


def test_a_look_that_fails_costs_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    store, plan = Objects(CLIENTS, "dev", "a-run"), SimpleNamespace(token="token")
    monkeypatch.setattr(cancellation, "EVERY", 0.0)
    look = Looks(store)
    look()
    Objects.objects["publish.json"] = {"state": "?"}  # damaged: nothing is published by it
    look()
    del Objects.objects["publish.json"]
    call()
    with pytest.raises(RunCancelled, match="by me@example.com"):
        look()
    with pytest.raises(RunCancelled, match="without its run_id"):
        check_not_cancelled(store, plan)  # type: ignore[arg-type]
