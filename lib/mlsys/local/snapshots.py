"""Time travel and sizes of the local BigQuery's tables.

bqemulator keeps a copy of a table after each change, but not of one that a query has created, nor
the state before the first change. Every size is 0, and a statement that changes rows does not count
as a change. This runs within its process. As BigQuery does it:

- A table can be read as it was at any time since it was created, for seven days
  (https://cloud.google.com/bigquery/docs/time-travel).
- `numBytes` is the logical size: 8 bytes a number or time, 2 bytes more than the UTF-8 text, 0 for
  NULL (https://cloud.google.com/bigquery/docs/estimate-costs#data_size_calculation).
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import Any

_BYTES = {
    **dict.fromkeys(("INT64", "INTEGER", "FLOAT64", "FLOAT", "DATE", "TIME"), 8),
    **dict.fromkeys(("DATETIME", "TIMESTAMP"), 8),
    **dict.fromkeys(("BOOL", "BOOLEAN"), 1),
    **dict.fromkeys(("NUMERIC", "DECIMAL", "INTERVAL"), 16),
    **dict.fromkeys(("BIGNUMERIC", "BIGDECIMAL"), 32),
}


def install() -> None:
    """Replace bqemulator's functions in this process."""
    snapshots: Any = importlib.import_module("bqemulator.versioning.snapshots")
    manager = snapshots.SnapshotManager
    record, resolve = manager.record_change, manager.resolve_time_travel

    def record_change(self: Any, *key: str) -> Any:
        recorded = record(self, *key)
        if (table := self._catalog.get_table(*key)) is not None:
            sql = size_sql(snapshots.quoted_table_ref(*key), table.schema_.fields)
            rows, size = map(int, self._engine.execute(sql).fetchone())
            state = {"num_rows": rows, "num_bytes": size, "last_modified_time": self._clock.now()}
            self._catalog.update_table(table.model_copy(update=state))
        return recorded

    def resolve_time_travel(self: Any, *args: Any) -> Any:
        *key, target = args
        try:
            return resolve(self, *key, target)
        except snapshots.OutOfRangeError:
            table = self._catalog.get_table(*key)
            if table is None or not table.creation_time <= target <= self._clock.now():
                raise
            return _as_created(snapshots, self, table)

    manager.record_change, manager.resolve_time_travel = record_change, resolve_time_travel


def _as_created(snapshots: Any, manager: Any, table: Any) -> Any:
    """Return a snapshot of a table before its first change: without rows."""
    key = (table.project_id, table.dataset_id, table.table_id)
    name = snapshots._new_snapshot_id(table.creation_time)
    schema = snapshots.SNAPSHOTS_SCHEMA
    source = snapshots.quoted_table_ref(*key)
    manager._engine.execute(f'CREATE TABLE "{schema}"."{name}" AS SELECT * FROM {source} LIMIT 0')
    meta = snapshots.SnapshotMeta(
        snapshot_id=name,
        **dict(zip(("project_id", "dataset_id", "table_id"), key, strict=True)),
        snapshot_time=table.creation_time,
        kind="AUTO",
        duckdb_schema=schema,
        duckdb_table=name,
        expires_at=table.creation_time + snapshots.timedelta(days=manager._retention_days),
    )
    manager._catalog.create_snapshot(meta)
    return meta


def size_sql(table: str, fields: Iterable[Any]) -> str:
    """Return DuckDB's query for the rows and logical bytes of a table with these fields."""
    sums = []
    for field in fields:
        column = '"' + field.name.replace('"', '""') + '"'
        if field.mode != "REPEATED" and (each := _BYTES.get(field.type)) is not None:
            sums.append(f"{each} * COUNT({column})")
        else:
            text = f"strlen(CAST({column} AS VARCHAR))"
            whole = field.type == "BYTES" and field.mode != "REPEATED"
            # The catalog calls GEOGRAPHY bytes too.
            length = f"octet_length(CAST({column} AS BLOB))" if whole else text
            sums.append(f"COALESCE(SUM(2 + {length}), 0)")
    return f"SELECT COUNT(*), {' + '.join(sums) or '0'} FROM {table}"
