"""What `incremental` makes of a run: which rows of its input it scores, between which watermarks.

`incremental=COLUMN` scores the rows whose column lies above the last watermark, up to the column's
maximum at the run's snapshot. `incremental=ids` scores the rows whose ids the output lacks
(docs/decisions/0135).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Self

from mlsys.columns.names import fold
from workers.scoring.journal.typed import exactly
from workers.scoring.request.parsed import IDS

# BigQuery's types that have one order, and values that a literal gives back bit by bit.
KINDS = ("INT64", "NUMERIC", "BIGNUMERIC", "DATE", "DATETIME", "TIMESTAMP")


@dataclass(frozen=True, slots=True)
class Watermark:
    """A value of a column up to which the rows of an input are scored."""

    column: str
    kind: str  # of KINDS
    value: str
    rows: int  # of the input, at or below it when it was set

    @property
    def sql(self) -> str:
        """The value as a literal of GoogleSQL."""
        return self.value if self.kind == "INT64" else f"{self.kind} '{self.value}'"

    @classmethod
    def of(cls, column: str, kind: str, value: Any, rows: int) -> Self:
        """Return the watermark for a value as BigQuery's client gives it.

        >>> Watermark.of("day", "DATE", dt.date(2026, 11, 28), 7).sql
        "DATE '2026-11-28'"
        """
        if isinstance(value, dt.datetime):
            if value.tzinfo is not None:
                value = value.astimezone(dt.UTC)
            text = value.isoformat(" ")
        elif isinstance(value, Decimal):
            text = f"{value:f}"
            text = text.rstrip("0").rstrip(".") if "." in text else text
        else:
            text = str(value)
        return cls(column, kind, text, rows)


@dataclass(frozen=True, slots=True)
class Incremental:
    """The rows that an incremental run scores, and the claims that it builds on."""

    by: str  # the column as the input spells it (`ids` in backticks), or IDS
    source: str  # `source_of` the input
    position: int  # the number of the first claim that the plan does not know
    base: int | None  # the claim that the old watermark comes from; None: the first run
    after: tuple[int, ...] = ()  # the claims whose runs must be done before a row is read
    above: Watermark | None = None
    up_to: Watermark | None = None  # None: the input has no row, or no run was by a column
    rows: int | None = None  # that will be scored; None: the run itself finds out
    rows_below: int | None = None  # at or below the old watermark now
    rows_late: int | None = None  # of them, those that were not there when it was set

    @property
    def is_by_ids(self) -> bool:
        """Whether the rows are those whose ids the output lacks."""
        return self.by == IDS

    @property
    def column(self) -> str:
        """The column's name, without the backticks of a column that is named `ids`."""
        return self.by.strip("`")

    @property
    def moves(self) -> bool:
        """Whether the run sets another watermark."""
        before, after = self.above, self.up_to
        return after is not None and (before is None or before.value != after.value)

    def bounds(self, column: str) -> str | None:
        """Return the condition for the rows, with the `column` as SQL; None if it is by ids.

        >>> low, high = (Watermark("n", "INT64", str(n), 1) for n in (3, 5))
        >>> Incremental("n", "s", 1, 0, above=low, up_to=high).bounds("`n`")
        '`n` > 3 AND `n` <= 5'
        """
        if self.is_by_ids:
            return None
        if self.up_to is None:
            return "FALSE"
        below = f"{column} <= {self.up_to.sql}"
        return below if self.above is None else f"{column} > {self.above.sql} AND {below}"

    def shown(self) -> dict[str, Any]:
        """Return what a dry run says."""
        return {"by": self.by, "rows": self.rows} | self.outcome()

    def outcome(self) -> dict[str, Any]:
        """Return the fields of the run's result."""
        return {
            "watermark_before": None if self.above is None else self.above.value,
            "watermark": None if self.up_to is None else self.up_to.value,
            "rows_below": self.rows_below,
            "rows_late": self.rows_late,
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """Read what `asdict` gave."""
        marks = {
            name: None if value[name] is None else Watermark(**exactly(Watermark, value[name]))
            for name in ("above", "up_to")
        }
        return cls(**{**exactly(cls, value), **marks, "after": tuple(value["after"])})


def source_of(input_table: str, where: str | None) -> str:
    """Return a name for the rows that runs take turns in: those of a table and a filter."""
    return _digest([input_table, where])


def outputs_of(env: str, output_table: str, model_name: str) -> str:
    """Return a name for the rows that the runs of a model write into a table."""
    return _digest([env, output_table, model_name])


def quoted(column: str) -> str:
    """Return a column's name as `incremental` takes it.

    >>> quoted("day"), quoted("IDs")
    ('day', '`IDs`')
    """
    return f"`{column}`" if fold(column) == IDS else column


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]
