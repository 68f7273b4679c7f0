"""The log of an alias from its generations: the order, its ends, and clocks that go back."""

from __future__ import annotations

import datetime as dt
from itertools import pairwise, permutations
from typing import Any

import pytest

from workers.registry.alias_history import FILE, SERVICE, TICK, AliasRow, Generation, log_of

START = dt.datetime(2026, 3, 1, 8, 0, tzinfo=dt.UTC)
NOW = START + dt.timedelta(days=1)


def at(seconds: float) -> dt.datetime:
    return START + dt.timedelta(seconds=seconds)


def generation(
    number: int,
    seconds: float,
    version: str | None = "v1",
    *,
    ended: float | None = None,
    current: bool = False,
    **values: Any,
) -> Generation:
    row = AliasRow(
        *("m", "champion", "dev"),
        generation=number,
        moved_at=at(seconds),
        version=version,
        deleted=version is None,
        **values,
    )
    return Generation(row, current, None if ended is None else at(ended))


def moved(number: int, seconds: float, replaced: int | None, **values: Any) -> Generation:
    """Return a generation that the service wrote over another one."""
    before = None if replaced is None else "v1"
    return generation(
        number,
        seconds,
        source=SERVICE,
        who="a@b.example",
        move_id=f"{number:032x}",
        previous_version=before,
        previous_generation=replaced,
        **values,
    )


def log(*generations: Generation, known: dict[int, AliasRow] | None = None) -> list[AliasRow]:
    """Return the log, which must be the same in whatever order the generations are listed."""
    logs = [log_of(each, known or {}, NOW, "rescan") for each in permutations(generations)]
    assert all(each == logs[0] for each in logs)
    return logs[0]


def ends(rows: list[AliasRow]) -> list[tuple[int, bool]]:
    return [(row.generation, row.deleted) for row in rows]


def test_files_are_in_the_order_of_their_times_not_of_their_generations() -> None:
    rows = log(
        generation(9, 0, "v1", ended=10),
        generation(4, 10, "v2", ended=20),
        generation(7, 20, "v3", current=True),
    )
    assert ends(rows) == [(9, False), (4, False), (7, False)]
    assert [row.previous_generation for row in rows] == [None, 9, 4]
    assert [row.previous_version for row in rows] == [None, "v1", "v2"]


def test_a_move_follows_what_it_replaced_although_the_clock_went_back() -> None:
    rows = log(
        moved(1, 100, None, ended=90),
        moved(2, 90, 1, ended=95),
        moved(3, 95, 2, current=True),
    )
    assert ends(rows) == [(1, False), (2, False), (3, False)]
    assert [row.moved_at for row in rows] == [at(100), at(100) + TICK, at(100) + 2 * TICK]


def test_an_object_that_was_deleted_ends_the_alias_when_it_stopped_to_be() -> None:
    rows = log(generation(1, 0, ended=50), generation(2, 100, "v2", current=True))
    assert ends(rows) == [(1, False), (1, True), (2, False)]
    assert (rows[1].moved_at, rows[1].version, rows[1].previous_version) == (at(50), None, "v1")
    assert (rows[2].previous_version, rows[2].previous_generation) == (None, 1)
    assert rows[1].source == FILE and rows[1].who is None
    assert ends(log(generation(1, 0, ended=50))) == [(1, False), (1, True)]


@pytest.mark.parametrize(("created", "deleted"), [(50, False), (50.9, False), (51.1, True)])
def test_a_file_that_follows_within_a_second_replaced_the_one_before(
    created: float, deleted: bool
) -> None:
    rows = log(generation(1, 0, ended=50), generation(2, created, "v2", current=True))
    assert ((1, True) in ends(rows)) is deleted


def test_a_move_onto_nothing_follows_a_deletion_however_soon() -> None:
    rows = log(generation(1, 0, ended=50), moved(2, 50.5, None, current=True))
    assert ends(rows) == [(1, False), (1, True), (2, False)]


def test_a_removed_alias_ends_once_although_its_object_is_deleted_afterwards() -> None:
    removed = moved(2, 50, 1, version=None, ended=51)
    rows = log(generation(1, 0, ended=50), removed)
    assert ends(rows) == [(1, False), (2, True)]
    assert rows[1].who == "a@b.example"


def test_the_log_keeps_what_the_bucket_does_not() -> None:
    """Without versioning, or after somebody deleted noncurrent generations."""
    rows = log(generation(1, 0), generation(2, 50, "v2"), generation(3, 99, "v3", current=True))
    assert ends(rows) == [(1, False), (2, False), (3, False)]
    [*_, end] = log(generation(1, 0), generation(2, 50, "v2"))
    assert (end.generation, end.deleted, end.moved_at) == (2, True, NOW)
    known = {2: AliasRow("m", "champion", "dev", 2, at(60), deleted=True, learnt_by="event")}
    [*_, end] = log(generation(1, 0), generation(2, 50, "v2"), known=known)
    assert (end.generation, end.moved_at, end.learnt_by) == (2, at(60), "event")


def test_a_deletion_that_turns_out_to_be_none_is_not_in_the_log() -> None:
    known = {1: AliasRow("m", "champion", "dev", 1, at(60), deleted=True)}
    assert ends(log(generation(1, 0, current=True), known=known)) == [(1, False)]


def test_a_copy_of_the_services_object_is_a_file() -> None:
    original = moved(1, 0, None, ended=50)
    copy = Generation(
        AliasRow(
            **{name: getattr(original.row, name) for name in AliasRow.__slots__}
            | {"generation": 2, "moved_at": at(50)}
        ),
        current=True,
    )
    first, second = log(original, copy)
    assert (first.source, first.who) == (SERVICE, "a@b.example")
    assert (second.source, second.who, second.move_id) == (FILE, None, None)
    assert (second.previous_generation, second.previous_version) == (1, "v1")


def test_times_of_a_log_always_grow() -> None:
    rows = log(*(generation(number, 0, ended=0) for number in (1, 2, 3)))
    assert all(before.moved_at < after.moved_at for before, after in pairwise(rows))
