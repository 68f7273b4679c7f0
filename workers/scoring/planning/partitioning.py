"""How a table is partitioned: the names of its partitions, and the rows that one of them holds.

https://cloud.google.com/bigquery/docs/partitioned-tables; the names are those of decorators,
https://cloud.google.com/bigquery/docs/managing-partitioned-table-data#load-data-partition.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from mlsys.columns.names import fold

if TYPE_CHECKING:
    from google.cloud.bigquery import Table

RANGE = "RANGE"
FORMATS = {"HOUR": "%Y%m%d%H", "DAY": "%Y%m%d", "MONTH": "%Y%m", "YEAR": "%Y"}
_LABELS = {"HOUR": "%Y-%m-%dT%H", "DAY": "%Y-%m-%d", "MONTH": "%Y-%m", "YEAR": "%Y"}
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")  # a decorator has no sign


@dataclass(frozen=True, slots=True)
class Partitioning:
    """The steps in which a table is partitioned, and the column that says where a row belongs."""

    kind: str  # HOUR, DAY, MONTH, YEAR, or RANGE: of integers
    column: str | None  # None: the time at which a row arrived
    type: str = "TIMESTAMP"  # of the column
    start: int = 0  # of all ranges
    end: int = 0
    width: int = 1  # of a range

    @classmethod
    def of(cls, table: Table) -> Self | None:
        """Return how the table is partitioned, or None if it is not."""
        by_range, by_time = table.range_partitioning, table.time_partitioning
        if by_range is not None:
            limits: Any = by_range.range_
            numbers = int(limits.start), int(limits.end), int(limits.interval)
            return cls(RANGE, by_range.field, "INT64", *numbers)
        if by_time is None:
            return None
        types = {fold(field.name): field.field_type for field in table.schema}
        column = by_time.field
        kind = types.get(fold(column), "TIMESTAMP") if column else "TIMESTAMP"
        return cls(by_time.type_ or "DAY", column, kind)

    def fault(self, name: str, now: dt.datetime) -> str | None:
        """Return why `name` names no partition and what to pass, after "is partitioned"; or None.

        >>> Partitioning("DAY", "day").fault("202611", dt.datetime(2026, 11, 28))
        'by day: pass a partition such as $20261128, not $202611'
        """
        if self.kind == RANGE:
            number = int(name) if _NUMBER.fullmatch(name) else None
            ranges = range(self.start, self.end, self.width)
            if number is not None and number in ranges:
                return None
            first = self.start if self.start >= 0 else self.start % self.width
            return (
                f"by {self.column} in ranges of {self.width} from {self.start} to {self.end}: pass "
                f"the first number of a range, such as ${first}, not ${name}"
            )
        form = FORMATS[self.kind]
        try:
            # strptime takes fewer digits too
            right = dt.datetime.strptime(name, form).strftime(form) == name
        except ValueError:
            right = False
        if right:
            return None
        return (
            f"by {self.kind.lower()}: pass a partition such as ${now.strftime(form)}, not ${name}"
        )

    def condition(self, name: str) -> str:
        """Return the SQL condition of the rows that belong to a partition.

        >>> Partitioning("MONTH", "day", "DATE").condition("202611")
        "`day` >= DATE '2026-11-01' AND `day` < DATE '2026-12-01'"
        """
        column = f"`{self.column}`" if self.column else "_PARTITIONTIME"
        if self.kind == RANGE:
            begin = int(name)
            return f"{column} >= {begin} AND {column} < {min(begin + self.width, self.end)}"
        first = dt.datetime.strptime(name, FORMATS[self.kind])
        condition = f"{column} >= {self._literal(first)}"
        end = after(first, self.kind)
        return condition if end is None else f"{condition} AND {column} < {self._literal(end)}"

    def names(self, first: str, last: str) -> Iterator[str]:
        """Yield the partitions from `first` to `last`, both included."""
        if self.kind == RANGE:
            yield from map(str, range(int(first), int(last) + 1, self.width))
            return
        form = FORMATS[self.kind]
        moment: dt.datetime | None
        moment, end = (dt.datetime.strptime(name, form) for name in (first, last))
        while moment is not None and moment <= end:
            yield moment.strftime(form)
            moment = after(moment, self.kind)

    def label(self, name: str) -> str:
        """Return a partition's name for people.

        >>> Partitioning("DAY", "day").label("20261122")
        '2026-11-22'
        """
        if self.kind == RANGE:
            return f"{name} to {min(int(name) + self.width, self.end) - 1}"
        return dt.datetime.strptime(name, FORMATS[self.kind]).strftime(_LABELS[self.kind])

    def to_api(self) -> dict[str, Any]:
        """Return the partitioning of a new table, as the API has it."""
        if self.kind == RANGE:
            limits = {"start": self.start, "end": self.end, "interval": self.width}
            texts = {name: str(value) for name, value in limits.items()}
            return {"rangePartitioning": {"field": self.column, "range": texts}}
        by_time = {"type": self.kind} | ({"field": self.column} if self.column else {})
        return {"timePartitioning": by_time}

    def _literal(self, moment: dt.datetime) -> str:
        if self.type == "DATE":
            return f"DATE '{moment.date().isoformat()}'"
        zone = "+00" if self.type == "TIMESTAMP" else ""
        return f"{self.type} '{moment.isoformat(sep=' ')}{zone}'"


def after(moment: dt.datetime, kind: str) -> dt.datetime | None:
    """Return the beginning of the hour, day, month or year after the one that begins at `moment`.

    None: it would lie after the year 9999.
    """
    try:
        if kind == "HOUR":
            return moment + dt.timedelta(hours=1)
        if kind == "DAY":
            return moment + dt.timedelta(days=1)
        if kind == "MONTH" and moment.month < 12:
            return moment.replace(month=moment.month + 1)
        return moment.replace(year=moment.year + 1, month=1)
    except (OverflowError, ValueError):
        return None
