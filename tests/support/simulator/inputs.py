"""What queries and read sessions give of the tables and views that runs read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from google.cloud import bigquery

from simulator.selections import counted, lacking, renamed, snapshot, source_of, within
from simulator.storage import at
from simulator.tables import Loaded, Rows, input_of

Tables = Mapping[str, Loaded]

_PLACES = re.compile(r"SELECT (\d+) AS place.*?FROM `([^`]+)`\.`([^`]+)`\.INFORMATION_SCHEMA")


def read(
    name: str, moment: float | None, condition: str, tables: Tables, now: float
) -> pa.Table | None:
    """Return the rows that a session reads, at a moment of the history; None without the table.

    Raises:
        BadRequest: the moment lies in the future.
    """
    table = tables.get(name)
    if table is None or table.arrow is None:
        return None
    rows = table.at(now if moment is None else moment, now)
    return pa.Table.from_pylist(within(rows, condition), table.arrow.schema)


def selected(sql: str, tables: Tables, now: float) -> Rows:
    """Return the rows of a query of an input, or of a whole table."""
    if "` AS `" not in sql:
        return tables[sql.split("`")[1]].rows
    condition = sql.partition(" WHERE ")[2]
    rows = within(tables[source_of(sql)].at(snapshot(sql, now), now), condition)
    return lacking(rows, condition, lambda name: tables[name].rows)


def numbers(sql: str, tables: Tables, now: float) -> Rows:
    """Return what a query counts."""
    return [counted(sql, selected(sql, tables, now))]


def described(sql: str, tables: Tables, now: float) -> list[bigquery.SchemaField]:
    """Return the columns that `SELECT * FROM` a view would give, or a query of an input."""
    name = sql.split("`")[1]
    if "` AS `" in sql:
        selected(sql, tables, now)
        name = source_of(sql)
    return [bigquery.SchemaField.from_api_repr(field) for field in tables[name].schema]


def partitions(sql: str, given: Mapping[str, Any], tables: Tables, now: float) -> Rows:
    """Return the partitions of some tables, with their rows and the time of the last write."""
    found = []
    for place, project, dataset in _PLACES.findall(sql):
        table = tables.get(f"{project}.{dataset}.{given[f'name{place}']}")
        for part, rows in table.parts(table.rows).items() if table is not None else ():
            if given["partition"] in ("", part):
                state = {
                    "total_rows": len(rows),
                    "modified": at(int(1000 * table.written[part]) / 1000),
                }
                found.append({"place": int(place), "partition_id": part} | state)
    return found


def copied(sql: str, rows: Rows, tables: Tables, now: float) -> Loaded:
    """Return the table that has the rows of a query, under the names that it gives them."""
    source, names = tables[source_of(sql)], renamed(sql)
    assert source.arrow is not None
    arrow = pa.Table.from_pylist(rows, source.arrow.schema)
    if names:
        arrow = arrow.select(list(names)).rename_columns(list(names.values()))
    copy = input_of(arrow, "TABLE")
    copy.created = copy.modified = now
    return copy
