"""When each partition of the local BigQuery was last written, which bqemulator does not record.

Its `INFORMATION_SCHEMA.PARTITIONS` gives every partition the time of the table. Here a partition
keeps its time until its rows differ, by their hash, so that a write to one partition leaves the
others as they were: https://cloud.google.com/bigquery/docs/information-schema-partitions. The times
are kept in memory: after a restart of the local BigQuery they are the table's.
"""

from __future__ import annotations

import importlib
import threading
from typing import Any

from mlsys.local.partitions import FORMATS, quoted


def install() -> None:
    """Replace bqemulator's list of a table's partitions in this process."""
    state: Any = importlib.import_module("bqemulator.storage.partition_state")
    state.list_partitions_for_table = Times(state.list_partitions_for_table)


class Times:
    """A list of a table's partitions in which each keeps its time until its rows differ."""

    def __init__(self, listed: Any) -> None:
        self._listed = listed
        self._guard = threading.Lock()
        self._known: dict[tuple[Any, ...], tuple[Any, dict[str, tuple[int, Any]]]] = {}

    def __call__(self, engine: Any, table: Any) -> Any:
        """Return the partitions with their rows and times."""
        partitions = self._listed(engine, table)
        name = _name_of_partition(table)
        if name is None:
            return partitions
        names = table.project_id, table.dataset_id, table.table_id
        key, at = (*names, table.creation_time), table.last_modified_time
        with self._guard:
            looked_at, times = self._known.get(key, (None, {}))
            if looked_at != at:
                times = _times(times, _digests(engine, table, name), at)
                self._known[key] = at, times
        return tuple(
            each.model_copy(update={"last_modified_time": times[each.partition_id][1]})
            if each.partition_id in times
            else each
            for each in partitions
        )


def _times(
    before: dict[str, tuple[int, Any]], digests: dict[str, int], at: Any
) -> dict[str, tuple[int, Any]]:
    """Return the digest and the time of each partition; those that differ were written at `at`."""
    return {
        name: before[name] if before.get(name, (None,))[0] == digest else (digest, at)
        for name, digest in digests.items()
    }


def _digests(engine: Any, table: Any, name: str) -> dict[str, int]:
    """Return a hash of the rows of each partition, which their order does not change."""
    rows = f'"{table.project_id}__{table.dataset_id}"."{table.table_id}"'
    # The alias means the whole row, unless a column has its name.
    whole = "whole_row_of_the_table"
    sql = f"SELECT {name}, SUM(hash({whole})::HUGEINT) FROM {rows} AS {whole} GROUP BY 1"
    return {str(row[0]): int(row[1]) for row in engine.execute(sql).fetchall() if row[0]}


def _name_of_partition(table: Any) -> str | None:
    """Return DuckDB's expression for the partition of a row, or None if there are none."""
    by_time, by_range = table.time_partitioning, table.range_partitioning
    if by_time is not None and by_time.field is not None:
        return f"strftime({quoted(by_time.field)}, '{FORMATS[by_time.type]}')"
    if by_range is not None:
        column, start, width = quoted(by_range.field), by_range.start, by_range.interval
        return f"CAST({start} + FLOOR(({column} - {start}) / {width}) * {width} AS BIGINT)::VARCHAR"
    return None
