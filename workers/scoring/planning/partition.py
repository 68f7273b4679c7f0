"""A partition as the output, such as `table$20260131`: whether the run's rows belong in it."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mlsys.cloud.tables import TableRef
from mlsys.columns.names import fold
from mlsys.errors import SchemaMismatch
from workers.scoring.planning.columns import Column

if TYPE_CHECKING:
    from google.cloud.bigquery import Table

# The format of a partition's name in a decorator, by the table's partitioning:
# https://cloud.google.com/bigquery/docs/managing-partitioned-table-data#load-data-partition
_PARTITIONS = {"HOUR": "%Y%m%d%H", "DAY": "%Y%m%d", "MONTH": "%Y%m", "YEAR": "%Y"}


def check_partition(
    table: TableRef,
    existing: Table | None,
    columns: Sequence[Column],
    created_at: dt.datetime,
    local: bool,
) -> None:
    """Check that the table can have the partition, and that the run's rows lie in it.

    `existing` is the table, unless it is to be created; `local` as for `output_destination`.

    Raises:
        SchemaMismatch: it cannot, or they do not.
    """
    field, kind = "predicted_at", "DAY"  # as a new table is made
    if existing is not None:
        by_range, by_time = existing.range_partitioning, existing.time_partitioning
        if by_range is None and by_time is None:
            raise SchemaMismatch(
                f"{table.base} is not partitioned: pass output_table without ${table.partition}"
            )
        if by_range is not None:
            _check_range(table, by_range)
            field = by_range.field
        else:
            field, kind = by_time.field or "", by_time.type_ or "DAY"
    if not field and local:
        raise SchemaMismatch(
            f"{table.base} is partitioned by ingestion time, and the local BigQuery does not keep "
            "such partitions: pass output_table without the $, or a table partitioned by a column"
        )
    if field and fold(field) not in {fold(c.name) for c in columns}:
        raise SchemaMismatch(
            f"{table.base} is partitioned by {field}, which the run does not write, so no row "
            f"would be in ${table.partition}: add {field} to id_columns"
        )
    if existing is None or existing.range_partitioning is None:
        _check_time(table, kind, field, created_at)


def _check_range(table: TableRef, partitioning: Any) -> None:
    """Check that the partition is the first number of one of the table's ranges."""
    limits, name = partitioning.range_, table.partition or ""
    start, end, width = int(limits.start), int(limits.end), int(limits.interval)
    number = int(name) if re.fullmatch(r"0|[1-9][0-9]{0,18}", name) else None
    if number is None or not start <= number < end or (number - start) % width:
        first = start if start >= 0 else start % width  # a decorator has no sign
        raise SchemaMismatch(
            f"{table.base} is partitioned by {partitioning.field} in ranges of {width} from "
            f"{start} to {end}: pass the first number of a range, such as ${first}, not ${name}"
        )


def _check_time(table: TableRef, kind: str, field: str, created_at: dt.datetime) -> None:
    """Check that the partition is a time as BigQuery writes it, and the run's own."""
    form = _PARTITIONS[kind]
    name = table.partition or ""
    try:
        # strptime takes fewer digits too
        right = dt.datetime.strptime(name, form).strftime(form) == name
    except ValueError:
        right = False
    if not right:
        raise SchemaMismatch(
            f"{table.base} is partitioned by {kind.lower()}: pass a partition such as "
            f"${created_at.strftime(form)}, not ${name}"
        )
    if fold(field) == "predicted_at" and created_at.strftime(form) != name:
        raise SchemaMismatch(
            f"{table.base} is partitioned by predicted_at, the time of the run: pass "
            f"${created_at.strftime(form)} (UTC), not ${name}"
        )
