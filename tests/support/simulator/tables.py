"""The tables that runs read and write, in memory, with their earlier versions."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from google.api_core.exceptions import BadRequest
from google.cloud import bigquery

from simulator.storage import START

Rows = list[dict[str, Any]]

WIDTH, END = 10, 100  # of the partitions by ranges
ALWAYS = -1e9  # since when rows are there that no history adds
COLUMNS = {
    "id": "INT64",
    "y": "FLOAT64",
    "predicted_at": "TIMESTAMP",
    "model_name": "STRING",
    "model_version": "STRING",
    "run_id": "STRING",
}  # of an output table
TYPES = {"int64": "INT64", "double": "FLOAT64"}


@dataclass(eq=False)
class Loaded:
    """A table that runs read and write. Its earlier rows can be read by time travel."""

    schema: list[dict[str, Any]]
    rows: Rows = field(default_factory=list)
    created: float = 0.0
    modified: float = 0.0
    kind: str = "TABLE"
    by_day: bool = False  # partitioned by predicted_at
    by_range: str = ""  # the column whose values partition it, in steps of `WIDTH`
    arrow: pa.Table | None = None  # has the schema, where sessions read the rows

    def __post_init__(self) -> None:
        self._versions = [(ALWAYS, self.rows)]
        self.written = {self.part_of(row): self.modified for row in self.rows if self.by_range}
        self.changed = self.created  # when rows were changed that had been there

    def part_of(self, row: dict[str, Any]) -> str:
        """Return the partition of a row."""
        if self.by_range:
            return str(row[self.by_range] // WIDTH * WIDTH)
        return day_of(row)

    def parts(self, rows: Rows) -> dict[str, Rows]:
        """Return the rows by their partitions."""
        found: dict[str, Rows] = {}
        for row in rows:
            found.setdefault(self.part_of(row), []).append(row)
        return found

    def put(self, rows: Rows, now: float) -> None:
        """Replace the rows."""
        if self.by_range:
            before, after = self.parts(self.rows), self.parts(rows)
            changed = (part for part in after if after[part] != before.get(part))
            self.written |= dict.fromkeys(changed, now)
        if rows[: len(self.rows)] != self.rows:
            self.changed = now
        self._versions.append((now, rows))
        self.rows, self.modified = rows, now

    def append(self, rows: Rows, now: float) -> None:
        """Add rows."""
        self.put([*self.rows, *rows], now)

    def at(self, moment: float, now: float) -> Rows:
        """Return the rows at a moment.

        Raises:
            BadRequest: it lies in the future.
        """
        if moment > now:
            raise BadRequest("The snapshot lies in the future")
        return next(rows for since, rows in reversed(self._versions) if since <= moment)

    def resource(self, name: str) -> bigquery.Table:
        """Return what the client has of the table."""
        project, dataset, table_id = name.split(".")
        resource = {
            "tableReference": {"projectId": project, "datasetId": dataset, "tableId": table_id},
            "type": self.kind,
            "location": "US",
            "schema": {"fields": self.schema},
            "creationTime": _milliseconds(self.created),
            "lastModifiedTime": _milliseconds(self.modified),
        }
        if self.kind == "TABLE":
            resource["numRows"] = str(len(self.rows))
        if self.by_day:
            resource["timePartitioning"] = {"type": "DAY", "field": "predicted_at"}
        if self.by_range:
            limits = {"start": "0", "end": str(END), "interval": str(WIDTH)}
            resource["rangePartitioning"] = {"field": self.by_range, "range": limits}
        return bigquery.Table.from_api_repr(resource)


def day_of(row: dict[str, Any]) -> str:
    """Return the partition that has the row of an output."""
    return f"{row['predicted_at']:%Y%m%d}"


def seconds_of(text: str) -> float:
    """Return a moment of a query's text in seconds of the history."""
    return (dt.datetime.fromisoformat(text) - START).total_seconds()


def _milliseconds(seconds: float) -> str:
    return str(int((START.timestamp() + seconds) * 1000))


def input_of(rows: pa.Table, kind: str) -> Loaded:
    """Return Arrow rows as a table, or as a view."""
    schema = [{"name": f.name, "type": TYPES[str(f.type)], "mode": "NULLABLE"} for f in rows.schema]
    times = {"created": -1000.0, "modified": -500.0}
    return Loaded(schema, rows.to_pylist(), **times, kind=kind, arrow=rows)


def filled_output(rows: Sequence[dict[str, Any]]) -> Loaded:
    """Return an output table that an earlier run has created."""
    schema = [{"name": name, "type": kind, "mode": "NULLABLE"} for name, kind in COLUMNS.items()]
    return Loaded(schema, list(rows), created=-900.0, modified=-800.0, by_day=True)
