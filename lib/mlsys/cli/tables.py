"""Rows for people: columns of text, as wide as they need."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

GAP = "  "


def table(headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table as text; numbers are aligned to the right.

    >>> print(table(["NAME", "ROWS"], [["a", 1000], ["bcd", 2]]))
    NAME   ROWS
    a     1,000
    bcd       2
    """
    cells = [[shown(value) for value in row] for row in rows]
    rows = [list(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(headings, *cells, strict=True)]
    numbers = [
        any(_is_number(row[i]) for row in rows) and all(_is_number(row[i], True) for row in rows)
        for i in range(len(headings))
    ]

    def line(values: Sequence[str]) -> str:
        padded = (
            value.rjust(width) if number else value.ljust(width)
            for value, width, number in zip(values, widths, numbers, strict=True)
        )
        return GAP.join(padded).rstrip()

    return "\n".join([line(list(headings)), *map(line, cells)])


def pairs(values: Mapping[str, Any]) -> str:
    """Return names with their values, a line each; those without a value are left out."""
    known = {name: shown(value) for name, value in values.items() if value not in (None, [], {})}
    width = max(map(len, known), default=0)
    return "\n".join(f"{name:<{width}}{GAP}{value}" for name, value in known.items())


def moment(text: str | None) -> str:
    """Return a time of an answer to the second, in UTC."""
    if not text:
        return ""
    at = dt.datetime.fromisoformat(text)
    return f"{at.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S}"


def shown(value: Any) -> str:
    """Return a value as one line of text that a terminal shows as it is."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.6g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {shown(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(shown, value))
    return "".join(c if c.isprintable() else " " for c in str(value))


def _is_number(value: Any, or_nothing: bool = False) -> bool:
    if value is None:
        return or_nothing
    return isinstance(value, int | float) and not isinstance(value, bool)
