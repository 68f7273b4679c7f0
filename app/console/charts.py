"""The geometry of the six charts: plain numbers, which `charts.html` draws as SVG.

Sparkline, bars (one series or two beside each other), line over versions, strip of runs, spans of
time, and a calendar of partitions. Each mark carries the index of its value, by which the template
titles it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from app.console.formats import is_number

PAD = 3.0  # around lines, so that their ends are not cut


@dataclass(frozen=True, slots=True)
class Mark:
    """A mark: a point has no width and height."""

    index: int
    x: float
    y: float
    width: float = 0.0
    height: float = 0.0


@dataclass(frozen=True, slots=True)
class Line:
    """A line through points, with the least and the largest value."""

    points: str
    marks: tuple[Mark, ...]
    low: float
    high: float


def line(values: Iterable[Any], width: float, height: float) -> Line | None:
    """Return a line through the values in order; what is not a number is left out.

    None without any. A single value, or equal ones, lie in the middle.
    """
    numbers = [(i, float(v)) for i, v in enumerate(values) if is_number(v)]
    if not numbers:
        return None
    low, high = (f(v for _, v in numbers) for f in (min, max))
    span, places = high - low, max(numbers[-1][0], 1)
    marks = tuple(
        Mark(
            i,
            _round(PAD + (width - 2 * PAD) * (i / places if len(numbers) > 1 else 0.5)),
            _round(PAD + (height - 2 * PAD) * (1 - ((v - low) / span if span else 0.5))),
        )
        for i, v in numbers
    )
    return Line(" ".join(f"{m.x},{m.y}" for m in marks), marks, low, high)


def bars(values: Iterable[Any], width: float, height: float, gap: float = 1.0) -> list[Mark]:
    """Return a bar for each value, the largest as high as the chart; others than numbers are 0."""
    return [mark for side in _bars([list(values)], width, height, gap) for mark in side]


def paired(
    first: Sequence[Any], second: Sequence[Any], width: float, height: float, gap: float = 3.0
) -> tuple[list[Mark], list[Mark]]:
    """Return the bars of two series beside each other, on one scale."""
    left, right = _bars([list(first), list(second)], width, height, gap)
    return left, right


def _bars(series: list[list[Any]], width: float, height: float, gap: float) -> list[list[Mark]]:
    count = max(map(len, series))
    numbers = [[max(float(v), 0.0) if is_number(v) else 0.0 for v in some] for some in series]
    top = max((v for some in numbers for v in some), default=0.0)
    if not count:
        return [[] for _ in series]
    step = width / count
    gap = min(gap, step / 3)
    each = (step - gap) / len(series)
    return [
        [
            Mark(
                i,
                _round(i * step + gap / 2 + side * each),
                _round(height - (tall := _tall(v, top, height))),
                _round(each),
                _round(tall),
            )
            for i, v in enumerate(some)
        ]
        for side, some in enumerate(numbers)
    ]


def _tall(value: float, top: float, height: float) -> float:
    """Return a bar's height: one that is not 0 is seen."""
    return max(height * (value / top), 1.0) if value and top else 0.0


def span(start: float, end: float, low: float, high: float, width: float) -> Mark:
    """Return a bar from `start` to `end` on an axis from `low` to `high`; it is always seen."""
    whole = high - low or 1.0
    least = width / 300
    x = min(max((start - low) / whole, 0.0), 1.0) * width
    long = max((end - start) / whole * width, least)
    x = min(x, width - least)
    return Mark(0, _round(x), 0.0, _round(min(long, width - x)), 1.0)


# By how a table is partitioned: what of a partition's label names its row, its place in the row
# begins at which character, the number of the first place, and the places of a row.
_CALENDARS = {"DAY": (7, 8, 1, 31), "HOUR": (10, 11, 0, 24), "MONTH": (4, 5, 1, 12)}
PLACES = 20  # of a row of years or of ranges


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a calendar: its name, its places, and each mark's index by its place."""

    name: str
    places: int
    marks: tuple[tuple[int, int], ...]


def calendar(by: str, labels: Sequence[str]) -> list[Row]:
    """Return partitions as rows: days of a month, hours of a day, months of a year, or twenty each.

    >>> calendar("MONTH", ["2025-12", "2026-01"])[1]
    Row(name='2026', places=12, marks=((0, 1),))
    """
    rows: dict[str, list[tuple[int, int]]] = {}
    if by not in _CALENDARS:
        for i in range(len(labels)):
            rows.setdefault(labels[i - i % PLACES], []).append((i % PLACES, i))
        return [Row(name, PLACES, tuple(marks)) for name, marks in rows.items()]
    name, place, least, places = _CALENDARS[by]
    for i, label in enumerate(labels):
        rows.setdefault(label[:name], []).append((int(label[place : place + 2]) - least, i))
    return [Row(name, places, tuple(marks)) for name, marks in rows.items()]


def _round(value: float) -> float:
    return round(value, 2)
