"""Tries of a run that end without progress are counted; others are not."""

import datetime as dt
import json
from collections.abc import Mapping
from typing import Any

import pytest

from mlsys.errors import NoProgress
from workers.scoring.journal import attempts
from workers.scoring.journal.attempts import (
    MOST,
    Attempt,
    begin,
    begun_after,
    count_again,
    end,
    progress_of,
    without_progress,
)
from workers.scoring.journal.store import RunStore

NOW = dt.datetime(2026, 11, 28, 12, tzinfo=dt.UTC)
PAST, LATER = ((NOW + dt.timedelta(seconds=s)).isoformat() for s in (-1, 1))


def tried(how: str | None = "suspended", until: str = PAST, progress: str | None = "x") -> Attempt:
    return Attempt("attempts/x.json", "", until, progress, how)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("latest", "count"),
    [
        ([tried()] * MOST, MOST),
        ([tried()] * 50, MOST),
        ([tried(), tried(None), tried()], 3),  # one was killed
        ([tried(), tried(None, LATER), tried()], 2),  # one is at work on another instance
        ([tried(), tried("stopped"), tried("waiting"), tried("passing"), tried()], 2),
        ([tried(), tried("failed"), tried()], 1),  # the request was repeated since it failed
        ([tried(), tried(progress="y"), tried()], 1),
        ([tried(), tried(progress=None), tried()], 1),  # of an older release
        ([tried(None, until="damaged")], 0),
        ([], 0),
    ],
)
def test_tries_that_ended_where_the_run_is_now_count(latest: list[Attempt], count: int) -> None:
    assert without_progress(latest, "x", NOW) == count


def test_progress_is_a_part_or_the_first_session_or_the_decision() -> None:
    planned = ["plan.json"]
    reading = [*planned, "session-0.json", "attempts/1.json"]
    one = [*reading, "parts/0/00001.parquet"]
    decided = [*one, "publish.json"]
    stages = [progress_of(names) for names in (planned, reading, one, decided)]
    assert len(set(stages)) == 4
    for more in ("attempts/2.json", "rejects/0/00001-x.parquet", "failure.json", "session-1.json"):
        assert progress_of([*one, more]) == progress_of(one)


class Objects(RunStore):
    """A run's objects in memory."""

    def __init__(self, names: tuple[str, ...] = ()) -> None:
        super().__init__(None, "dev", "a-run")  # type: ignore[arg-type]
        object.__setattr__(self, "objects", dict.fromkeys(names, "{}"))

    objects: dict[str, str]
    __slots__ = ("objects",)

    def names(self) -> list[str]:
        return list(self.objects)

    def read(self, name: str) -> dict[str, Any] | None:
        return json.loads(self.objects[name])

    def note(self, name: str, value: Mapping[str, Any]) -> None:
        self.objects[name] = json.dumps(value)

    def damaged(self, name: str) -> Any:
        return attempts.Conflict(name)


def test_a_run_without_progress_fails_and_a_repeated_request_tries_again() -> None:
    store = Objects(("plan.json",))
    for _ in range(2):
        for _ in range(MOST):
            end(store, begin(store), "suspended")
        with pytest.raises(NoProgress, match=f"no progress in its last {MOST} tries"):
            begin(store)


def test_a_run_that_is_killed_each_time_fails() -> None:
    store = Objects(("plan.json",))
    for _ in range(MOST):
        begin(store, seconds=-1)  # its time is over, and it never said how it ended
    with pytest.raises(NoProgress):
        begin(store)


def test_the_tries_before_another_execution_do_not_count() -> None:
    store = Objects()
    for _ in range(MOST):
        begin(store, -1)
    count_again(store)
    begin(store)


def test_a_try_after_a_moment_is_known_by_its_name() -> None:
    store = Objects()
    before = dt.datetime.now(dt.UTC)
    assert not begun_after(store.objects, before)
    begin(store)
    assert begun_after(store.objects, before)
    assert not begun_after(store.objects, dt.datetime.now(dt.UTC))


def test_a_run_that_makes_progress_can_be_suspended_forever() -> None:
    store = Objects(("plan.json",))
    for number in range(60):
        end(store, begin(store), "suspended")
        if number % MOST == MOST - 1:  # the slowest progress that is enough
            store.objects[f"parts/0/{number:05d}.parquet"] = ""


def test_objects_of_older_releases_and_damaged_ones_count_for_nothing() -> None:
    store = Objects(("plan.json",))
    for number in range(MOST):
        store.note(f"attempts/2026{number}.json", {"at": NOW.isoformat()} if number % 2 else {})
    begin(store)
