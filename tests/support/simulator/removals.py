"""What an undo asks of the tables that runs wrote, by the texts of `publishing.removal`.

Rows are counted in one version of a table, deleted, or copied from an earlier version and put back
by a MERGE. A statement works on the rows of its start. It fails if rows that were there then are
changed before its end; rows that are added meanwhile stay
(https://cloud.google.com/bigquery/docs/data-manipulation-language#dml-limitations).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from simulator.tables import Loaded, Rows, day_of, seconds_of
from simulator.warehouse import CONFLICT
from workers.scoring.publishing.replaced import NOT_VOID

_TABLE = re.compile(r"(?:FROM|MERGE) `([^`]+)`")
_COPY = re.compile(r"  FROM `([^`]+)`")
_VERSION = re.compile(r"FOR SYSTEM_TIME AS OF TIMESTAMP '([^']+)'")
_DAY = re.compile(r"`predicted_at` >= TIMESTAMP '(\d{4})-(\d\d)-(\d\d)")

Given = Mapping[str, Any]
Tables = Mapping[str, Loaded]


class Conflicting(Exception):
    """Others have changed rows that a statement read."""


def table_of(sql: str, tables: Tables) -> Loaded:
    """Return the table that a text counts, deletes from, copies or merges into."""
    match = _TABLE.search(sql)
    assert match is not None, sql
    return tables[match[1]]


def count(sql: str, given: Given, tables: Tables, now: float) -> Rows:
    """Return the numbers of all rows and the run's, and a checksum if the text asks for one."""
    rows = _selected(sql, given, tables, now)
    own = sum(_is_own(row, given) for row in rows)
    checksum = hash(frozenset(map(repr, rows))) if "FARM_FINGERPRINT" in sql else 0
    return [{"total": len(rows), "own": own, "content": checksum}]


def others(sql: str, given: Given, tables: Tables, now: float) -> Rows:
    """Return the other runs that have rows in the table."""
    rows = _selected(sql, given, tables, now)
    found = {row["run_id"] for row in rows if not _is_own(row, given)}
    return [{"run_id": run_id} for run_id in sorted(found)][:3]


def undone(sql: str, given: Given, tables: Tables, now: float) -> Rows:
    """Return the runs that have rows in the table and count no more."""
    rows = _selected(sql, given, tables, now)
    return [{"run_id": run_id} for run_id in sorted({row["run_id"] for row in rows})]


def any_of_run(sql: str, given: Given, tables: Tables) -> Rows:
    """Return a row if the table has any of the run."""
    return [{"f0_": 1} for row in table_of(sql, tables).rows if _is_own(row, given)][:1]


def copy(sql: str, given: Given, tables: dict[str, Loaded], now: float) -> Callable[..., str]:
    """Return what a copy of an earlier version does at its end."""
    source, rows = table_of(sql, tables), _selected(sql, given, tables, now)
    target = sql.split("`")[1]

    def end(job: Any, at: float) -> str:
        tables.setdefault(target, Loaded(source.schema, rows, at, at))
        return f"a copy of {len(rows)} rows"

    return end


def delete(sql: str, given: Given, tables: dict[str, Loaded], now: float) -> Callable[..., str]:
    """Return what the deletion of a run's rows does at its end."""
    return _change(table_of(sql, tables), given, [], now)


def restore(sql: str, given: Given, tables: dict[str, Loaded], now: float) -> Callable[..., str]:
    """Return what a MERGE does at its end that puts the rows of a copy in the place of a run's."""
    table, source = table_of(sql, tables), _COPY.search(sql)
    assert source is not None, sql
    rows = _inside(sql, table.rows)
    own = sum(_is_own(row, given) for row in rows)
    is_there = own == given["rows"] and (own > 0 or not rows)
    return _change(table, given, tables[source[1]].rows if is_there else [], now)


def _change(table: Loaded, given: Given, new: Rows, now: float) -> Callable[..., str]:
    """Return what a statement does at its end: it removes a run's rows, and adds others."""
    gone = sum(_is_own(row, given) for row in table.rows)

    def end(job: Any, at: float) -> str:
        if gone and table.changed > now:
            raise Conflicting(CONFLICT.format(job.table))
        if gone or new:
            kept = [row for row in table.rows if not _is_own(row, given)]
            table.put([*kept, *new], at)
        job.num_dml_affected_rows = gone + len(new)
        return f"-{gone} +{len(new)} rows"

    return end


def _selected(sql: str, given: Given, tables: Tables, now: float) -> Rows:
    table, version = table_of(sql, tables), _VERSION.search(sql)
    rows = table.rows if version is None else table.at(seconds_of(version[1]), now)
    rows = _inside(sql, rows)
    if "IN UNNEST(@void)" not in sql:
        return rows
    return [row for row in rows if (row["run_id"] in given["void"]) != (NOT_VOID in sql)]


def _inside(sql: str, rows: Rows) -> Rows:
    """Return the rows of the partition that the text names, or all."""
    day = _DAY.search(sql)
    return rows if day is None else [row for row in rows if day_of(row) == "".join(day.groups())]


def _is_own(row: dict[str, Any], given: Given) -> bool:
    return bool(row["run_id"] == given["run_id"])
