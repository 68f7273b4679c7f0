"""The rows of an input that a query or a read session of `workers` selects, by its text.

The texts are those of `planning.incremental_sql`, `shards.materialized_view`, `Plan.restriction`: a
table as of a snapshot, between two watermarks, less the rows whose ids an output has.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from simulator.tables import Rows, seconds_of

_SOURCE = re.compile(r"FROM `([^`]+)` AS `")
_AS_OF = re.compile(r"FOR SYSTEM_TIME AS OF TIMESTAMP '([^']+)'")
_LACKING = re.compile(
    r"NOT IN \(SELECT .*? FROM `([^`]+)` WHERE model_name = '([^']*)' AND model_version = '([^']*)'"
)
_BOUNDS = {
    re.compile(r"`n` > (-?\d+)"): lambda value, bound: value > bound,
    re.compile(r"`n` <= (-?\d+)"): lambda value, bound: value <= bound,
    re.compile(r"`n` >= (-?\d+)"): lambda value, bound: value >= bound,
    re.compile(r"`n` < (-?\d+)"): lambda value, bound: value < bound,
}
_BELOW = re.compile(r"COUNTIF\(`n` <= (-?\d+)\) AS below")
_ALIASES = re.compile(r"`([^`]+)` AS (c\d+)")


def source_of(sql: str) -> str:
    """Return the table that the query reads."""
    match = _SOURCE.search(sql)
    assert match is not None, sql
    return match[1]


def snapshot(sql: str, now: float) -> float:
    """Return the moment whose rows the query reads, in seconds of the history."""
    match = _AS_OF.search(sql)
    return now if match is None else seconds_of(match[1])


def within(rows: Rows, condition: str) -> Rows:
    """Return the rows that a condition on watermarks lets through."""
    if re.search(r"\bFALSE\b", condition):
        return []
    for pattern, lets in _BOUNDS.items():
        for match in pattern.finditer(condition):
            rows = [row for row in rows if lets(row["n"], int(match[1]))]
    return rows


def lacking(rows: Rows, condition: str, outputs: Callable[[str], Rows]) -> Rows:
    """Return the rows whose ids the output does not have, if the condition says so."""
    match = _LACKING.search(condition)
    if match is None:
        return rows
    written = {
        row["id"]
        for row in outputs(match[1])
        if (row.get("model_name"), row.get("model_version")) == (match[2], match[3])
    }
    return [row for row in rows if row["id"] not in written]


def counted(sql: str, rows: Rows) -> dict[str, Any]:
    """Return what `counts_sql` asks of the rows."""
    out: dict[str, Any] = {"n": len(rows)}
    if " AS up_to" in sql:
        below = _BELOW.search(sql)
        out |= {"nulls": 0, "up_to": max((row["n"] for row in rows), default=None)}
        out |= {"below": sum(row["n"] <= int(below[1]) for row in rows) if below else 0}
    if " AS repeated" in sql:
        out["repeated"] = len(rows) - len({row["id"] for row in rows})
    return out


def renamed(sql: str) -> Mapping[str, str]:
    """Return the names of a copy's columns by those of the source; empty: they are the same."""
    return dict(_ALIASES.findall(sql.partition(" FROM ")[0]))
