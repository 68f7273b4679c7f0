"""An input that grows, beside a model of what a run with `incremental` has to score of it.

The model follows docs/api.md, "Only what is new": it knows the rows of the input, and which runs
set which watermark. It knows nothing of the claims in the bucket.
"""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Container
from dataclasses import dataclass
from typing import Any, Self

import pandas as pd

from scoring_cases import Lab
from workers.scoring.request.parsed import IDS

COLUMN = "n"  # of the watermark
LATE = 0.25  # the share of new rows that come at or below the newest one


@dataclass(frozen=True)
class Row:
    """A row of the input."""

    day: dt.date
    id: int
    n: int

    @property
    def key(self) -> tuple[dt.date, int]:
        """The row's ids."""
        return self.day, self.id


@dataclass(frozen=True)
class Mark:
    """A watermark, and how many rows the input had when it was set."""

    value: int
    rows: int


@dataclass(frozen=True)
class Share:
    """The rows that a run has to score, and the watermarks before and after it."""

    by: str
    rows: tuple[Row, ...]
    before: Mark | None
    after: Mark | None
    below: int  # rows at or below the watermark before

    @property
    def moves(self) -> bool:
        """Whether the run leaves another watermark than it has found."""
        values = [None if mark is None else mark.value for mark in (self.before, self.after)]
        return values[0] != values[1]

    def check(self, result: dict[str, Any]) -> None:
        """Check what the run says of itself."""
        marks = [None if mark is None else str(mark.value) for mark in (self.before, self.after)]
        assert result["rows"] == len(self.rows), (result, self)
        assert [result["watermark_before"], result["watermark"]] == marks, (result, self)
        if self.by != IDS:
            late = 0 if self.before is None else self.below - self.before.rows
            assert (result["rows_below"], result["rows_late"]) == (self.below, late), (result, self)


class GrowingInput:
    """The input, and the watermarks that runs have set."""

    def __init__(self, lab: Lab, table: str, rows: list[Row]) -> None:
        self.table, self.rows, self._lab = table, rows, lab
        self._turns: list[tuple[str, Mark | None]] = []  # of the runs that wrote rows, or moved it

    @classmethod
    def of(cls, lab: Lab, keys: list[tuple[dt.date, int]]) -> Self:
        """Load an input whose first rows have these ids."""
        rows = [Row(*key, n) for n, key in enumerate(keys)]
        return cls(lab, lab.put(_frame(rows)), rows)

    def grow(self, choices: random.Random, days: tuple[dt.date, ...]) -> None:
        """Add a row or two, perhaps late ones."""
        newest, added = max(row.n for row in self.rows), list[Row]()
        for _ in range(choices.randint(1, 2)):
            late = choices.random() < LATE
            n = choices.randint(0, newest) if late else newest + choices.randint(1, 3)
            added.append(Row(choices.choice(days), 100 + len(self.rows) + len(added), n))
        self._lab.put(_frame(added), self.table)
        self.rows += added

    def share(
        self, by: str, scored: Container[tuple[dt.date, int]], undone: Container[str]
    ) -> Share | None:
        """Return what a run scores now; None if it is refused.

        `scored` are the ids that the output has of the version, and `undone` are the runs that were
        undone: the watermark is that of the latest other one.
        """
        turns = [mark for run_id, mark in self._turns if run_id not in undone]
        before = turns[-1] if turns else None
        after: Mark | None = Mark(max(row.n for row in self.rows), len(self.rows))
        above = [row for row in self.rows if before is None or row.n > before.value]
        below = len(self.rows) - len(above)
        if by == IDS:
            lacking = tuple(row for row in self.rows if row.key not in scored)
            return Share(by, lacking, before, after if before is not None else None, below)
        if turns and before is None:  # the output began with ids
            return None
        return Share(by, tuple(above), before, after, below)

    def note(self, run_id: str, share: Share) -> None:
        """Let the run have scored its share."""
        if share.rows or share.moves:
            self._turns.append((run_id, share.after))


def _frame(rows: list[Row]) -> pd.DataFrame:
    about = pd.DataFrame({"id": [row.id for row in rows], "n": [row.n for row in rows]})
    days = [row.day for row in rows]
    return about.assign(day=days, a=about["id"] / 200, b=about["n"] / 200)
