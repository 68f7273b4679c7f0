"""The log of an alias, from the generations of its object: who moved it when, in which order.

Each generation is one row. A deletion is one more row, with the generation that it ended.
Generations are put in order by when they were created, and where the service's record says which
generation a move replaced, by that: their numbers are never compared. These are pure functions.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal

SERVICE, FILE = "service", "file"
TICK = dt.timedelta(microseconds=1)
# Cloud Storage does not promise that an object becomes noncurrent at the very time at which the one
# that replaces it is created.
REPLACED_WITHIN = dt.timedelta(seconds=1)

Trigger = Literal["move", "event", "rescan"]


@dataclass(frozen=True, slots=True)
class AliasRow:
    """One row of the log, without when it was written."""

    model_name: str
    alias: str
    environment: str
    generation: int
    moved_at: dt.datetime
    version: str | None = None
    deleted: bool = False
    previous_version: str | None = None
    previous_generation: int | None = None
    source: str = FILE
    who: str | None = None
    why: str | None = None
    forced: bool | None = None
    guarded: bool | None = None  # whether the alias's guard allowed it; None: it had none then
    evidence: Any = None
    move_id: str | None = None
    problem: str | None = None
    learnt_by: str = "event"

    @property
    def name(self) -> str:
        """The model and the alias."""
        return f"{self.model_name}/{self.alias}"

    @property
    def key(self) -> str:
        """The name of the row: at most one row of the log has it."""
        return f"{self.name}#{self.generation}{'#deleted' if self.deleted else ''}"

    @property
    def identity(self) -> tuple[Any, ...]:
        """The values that a recorded row must have to count as this one."""
        return (
            *(self.key, self.version, self.previous_version, self.previous_generation),
            *(self.moved_at, self.source, self.who, self.move_id),
        )


@dataclass(frozen=True, slots=True)
class Generation:
    """A generation of an alias's object, as far as the bucket and the log know it."""

    row: AliasRow  # with its own values; those that depend on the others are filled in later
    current: bool = False  # whether the bucket has it as the object's content
    ended: dt.datetime | None = None  # when it stopped to be, if the bucket keeps it


def log_of(
    generations: Iterable[Generation],
    deletions: Mapping[int, AliasRow],
    now: dt.datetime,
    learnt_by: Trigger,
) -> list[AliasRow]:
    """Return all rows of an alias's log, in order.

    `deletions` are the recorded rows of generations whose object was deleted past the service;
    `now` is the time of a deletion that neither the log nor the bucket knows.
    """
    ordered = in_order(_without_copies(generations))
    rows: list[AliasRow] = []
    for generation, following in pairwise([*ordered, None]):
        assert generation is not None
        rows.append(_after(rows[-1] if rows else None, generation.row))
        at = _deleted_at(generation, following, deletions.get(generation.row.generation), now)
        if at is not None:
            known = deletions.get(generation.row.generation)
            rows.append(_after(rows[-1], _deletion(generation.row, at, known, learnt_by)))
    return rows


def in_order(generations: Sequence[Generation]) -> list[Generation]:
    """Return the generations in the order in which the bucket held them.

    The one that a move of the service replaced comes directly before it; such runs are sorted by
    the time of their first one.
    """
    by_number = {g.row.generation: g for g in generations}
    following: dict[int, Generation] = {}
    linked = set()
    for g in sorted(generations, key=_time):
        before = _replaced(g.row)
        if before in by_number and before not in following and before != g.row.generation:
            following[before] = g
            linked.add(g.row.generation)
    ordered: list[Generation] = []
    for head in sorted(generations, key=_time):
        each: Generation | None = head if head.row.generation not in linked else None
        while each is not None:
            ordered.append(each)
            each = following.get(each.row.generation)
    return ordered


def _time(generation: Generation) -> tuple[Any, ...]:
    """Return what generations are sorted by: the last part only makes every look sort alike."""
    row, ended = generation.row, generation.ended
    return row.moved_at, generation.current, ended or row.moved_at, row.generation


def _replaced(row: AliasRow) -> int | None:
    """Return the generation that a move is known to have replaced: one that named a version."""
    known = row.source == SERVICE and row.previous_version is not None
    return row.previous_generation if known else None


def _without_copies(generations: Iterable[Generation]) -> list[Generation]:
    """Return the generations, with a file that is a copy of the service's object counted as a file.

    The first object with a move's name is the service's own: nobody can know the name earlier.
    """
    firsts: dict[str, int] = {}
    out = []
    for g in sorted(generations, key=_time):
        row = g.row
        if row.source == SERVICE and row.move_id is not None:
            first = firsts.setdefault(row.move_id, row.generation)
            if first != row.generation:
                g = replace(g, row=as_file(row))
        out.append(g)
    return out


def as_file(row: AliasRow) -> AliasRow:
    """Return the row of an object that only looks like the service's."""
    return replace(
        row,
        source=FILE,
        who=None,
        forced=None,
        guarded=None,
        evidence=None,
        move_id=None,
        previous_version=None,
        previous_generation=None,
    )


def _after(last: AliasRow | None, row: AliasRow) -> AliasRow:
    """Return the row as it follows `last`: with what was before, and at a later time."""
    if last is None:
        if row.source == FILE:
            return replace(row, previous_version=None, previous_generation=None)
        return row
    at = max(row.moved_at, last.moved_at + TICK)
    if _replaced(row) is not None:
        return replace(row, moved_at=at)
    version = row.previous_version if row.source == SERVICE else last.version
    return replace(row, moved_at=at, previous_version=version, previous_generation=last.generation)


def _deleted_at(
    generation: Generation,
    following: Generation | None,
    known: AliasRow | None,
    now: dt.datetime,
) -> dt.datetime | None:
    """Return when the object was deleted past the service, or None if it was not."""
    row, ended = generation.row, generation.ended
    if row.deleted or generation.current:
        return None
    if following is None:
        return ended or (known.moved_at if known else now)
    after = following.row
    if _replaced(after) == row.generation:
        return None
    if ended is None:  # the bucket does not keep it
        return known.moved_at if known else None
    created_on_nothing = after.source == SERVICE and row.version is not None
    if created_on_nothing or after.moved_at - ended > REPLACED_WITHIN:
        return ended
    return None


def _deletion(
    row: AliasRow, at: dt.datetime, known: AliasRow | None, learnt_by: Trigger
) -> AliasRow:
    return AliasRow(
        model_name=row.model_name,
        alias=row.alias,
        environment=row.environment,
        generation=row.generation,
        moved_at=at,
        deleted=True,
        learnt_by=known.learnt_by if known else learnt_by,
    )
