"""A partition as the input or the output, such as `table$20260131`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlsys.cloud.tables import TableRef
from mlsys.columns.names import fold
from mlsys.errors import SchemaMismatch
from workers.scoring.planning.columns import Column
from workers.scoring.planning.partitioning import FORMATS, Partitioning
from workers.scoring.planning.table_kinds import is_query, kind_of

if TYPE_CHECKING:
    from google.cloud.bigquery import Table

# The local BigQuery does not record when a row arrived.
_NO_ARRIVALS = (
    "is partitioned by ingestion time, and the local BigQuery does not keep such partitions"
)
BY_RUN = Partitioning("DAY", "predicted_at")  # as a new table is made, by default


def input_partitioning(name: TableRef, table: Table, local: bool) -> Partitioning:
    """Return how an input table is partitioned; `local` as for `output_destination`.

    Raises:
        SchemaMismatch: it has no partitions that a run can read.
    """
    if is_query(table):
        raise SchemaMismatch(
            f"{name.base} is {kind_of(table)}, which has no partitions: pass input_table without "
            "the $, and a where on its columns"
        )
    by = Partitioning.of(table)
    if by is None:
        raise SchemaMismatch(
            f"{name.base} is not partitioned: pass input_table without the $, and a where on its "
            "columns"
        )
    if by.column is None and local:
        raise SchemaMismatch(f"{name.base} {_NO_ARRIVALS}: pass a table partitioned by a column")
    return by


def input_filter(name: TableRef, table: Table, local: bool) -> str | None:
    """Return the SQL condition of the rows of the partition that `name` has; None without one.

    Raises:
        SchemaMismatch: the table has no such partition.
    """
    if name.partition is None:
        return None
    by = input_partitioning(name, table, local)
    if fault := by.fault(name.partition, dt.datetime.now(dt.UTC)):
        raise SchemaMismatch(f"{name.base} is partitioned {fault}")
    return by.condition(name.partition)


def output_partitioning(
    table: TableRef, like: Partitioning | None, columns: Sequence[Column], created_at: dt.datetime
) -> Partitioning:
    """Return how an output table is partitioned that is to be created.

    A table that is named with a partition gets the partitions of the input (`like`), if the run
    writes the column that they are of and the name is one of them.
    """
    if like is None or table.partition is None or like.fault(table.partition, created_at):
        return BY_RUN
    written = {fold(c.name) for c in columns}
    return like if like.column is None or fold(like.column) in written else BY_RUN


def check_partition(
    table: TableRef,
    by: Partitioning | None,
    columns: Sequence[Column],
    created_at: dt.datetime,
    local: bool,
    like: Partitioning | None = None,
) -> None:
    """Check that the table can have the partition, and that the run's rows lie in it.

    `by` is how it is partitioned, or will be once it is created: then `like` is how the input is.
    `local` as for `output_destination`.

    Raises:
        SchemaMismatch: it cannot, or they do not.
    """
    name = table.partition or ""
    if by is None:
        raise SchemaMismatch(
            f"{table.base} is not partitioned: pass output_table without ${table.partition}"
        )
    if by.column is None and local:
        raise SchemaMismatch(
            f"{table.base} {_NO_ARRIVALS}: pass output_table without the $, or a table partitioned "
            "by a column"
        )
    written = {fold(c.name) for c in columns}
    if by.column and fold(by.column) not in written:
        raise SchemaMismatch(
            f"{table.base} is partitioned by {by.column}, which the run does not write, so no row "
            f"would be in ${name}: add {by.column} to id_columns"
        )
    if fault := by.fault(name, created_at):
        raise SchemaMismatch(f"{table.base} is partitioned {fault}")
    if by.column and fold(by.column) == "predicted_at":
        now = created_at.strftime(FORMATS[by.kind])
        if now != name:
            other = ", or another output_table"
            if like is not None and like.column and not like.fault(name, created_at):
                other = f"; or add {like.column}, which partitions the input, to id_columns"
            raise SchemaMismatch(
                f"{table.base} is partitioned by predicted_at, the time of the run: pass ${now} "
                f"(UTC), not ${name}{other}"
            )
