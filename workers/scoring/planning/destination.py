"""The tables that a run writes, existing or still to be created: the output and its rejects."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from mlsys.cloud.clients import Clients
from mlsys.cloud.tables import TableRef, find_table
from mlsys.columns.names import fold
from mlsys.errors import Conflict, InvalidRequest, SchemaMismatch, TableNotFound
from workers.scoring.planning.columns import PARQUET_TYPES, Column, columns_of
from workers.scoring.planning.locations import dataset_location
from workers.scoring.planning.table_kinds import kind_of

if TYPE_CHECKING:
    from google.cloud.bigquery import SchemaField, Table

# The format of a partition's name in a decorator, by the table's partitioning:
# https://cloud.google.com/bigquery/docs/managing-partitioned-table-data#load-data-partition
_PARTITIONS = {"HOUR": "%Y%m%d%H", "DAY": "%Y%m%d", "MONTH": "%Y%m", "YEAR": "%Y"}

MAX_TABLE_NAME = 1024  # bytes; https://cloud.google.com/bigquery/docs/tables#table_naming

# The same for every run, whatever its id columns are, so that none can misfit the table.
REJECTS = {
    "ids": "STRING",
    "row": "STRING",
    "reason": "STRING",
    "rejected_at": "TIMESTAMP",
    "model_name": "STRING",
    "model_version": "STRING",
    "run_id": "STRING",
}


@dataclass(frozen=True, slots=True)
class Destination:
    """A table that a run writes: its name, columns in their order, and how it is created."""

    table: TableRef  # with the partition, if one is meant
    columns: tuple[Column, ...]  # what a part holds
    exists: bool
    schema: tuple[Mapping[str, Any], ...]  # the table's fields, as the API has them
    day: str  # the column that a new table is partitioned by
    write_disposition: str

    def to_dict(self) -> dict[str, Any]:
        """Return the destination as JSON values."""
        return {
            "table": str(self.table),
            "columns": [{"name": c.name, "type": c.type} for c in self.columns],
            "exists": self.exists,
            "schema": list(self.schema),
            "day": self.day,
            "write_disposition": self.write_disposition,
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote."""
        return cls(
            table=TableRef.parse(value["table"], partition=True),
            columns=tuple(Column(**c) for c in value["columns"]),
            exists=value["exists"],
            schema=tuple(value["schema"]),
            day=value["day"],
            write_disposition=value["write_disposition"],
        )


def output_location(clients: Clients, table: TableRef) -> tuple[Table | None, str]:
    """Return the output table if it exists, and the location it is in or will be.

    Raises:
        TableNotFound: its dataset does not exist.
        SchemaMismatch: it is a view or the like.
    """
    from google.api_core.exceptions import NotFound

    existing = find_table(clients, table)
    name = f"{table.project}.{table.dataset}"
    if existing is None:
        try:
            return None, dataset_location(clients, name)
        except NotFound as exc:
            raise TableNotFound(
                f"The dataset {name} of output_table does not exist: create it first, for instance "
                f"with CREATE SCHEMA `{name}`"
            ) from exc
    if existing.table_type != "TABLE":
        raise SchemaMismatch(f"{table} is {kind_of(existing)}: pass a table as output_table")
    # The local BigQuery does not tell where a table lies.
    return existing, existing.location or dataset_location(clients, name)


def output_destination(
    table: TableRef,
    existing: Table | None,
    columns: Sequence[Column],
    write_disposition: str,
    created_at: dt.datetime,
    local: bool = False,
) -> Destination:
    """Return the destination for the output: the `existing` table, or one to be created.

    `local` tells whether BigQuery is the local stack's.

    Raises:
        SchemaMismatch: the columns do not fit the table, or it has no such partition.
        Conflict: WRITE_EMPTY, and the table has rows.
    """
    if write_disposition == "WRITE_EMPTY" and existing is not None and existing.num_rows:
        if table.partition is None:  # BigQuery checks a single partition as it loads
            raise Conflict(
                f"{table} has {existing.num_rows} rows, and write_disposition is WRITE_EMPTY: pass "
                "another output_table, WRITE_APPEND or WRITE_TRUNCATE"
            )
    if table.partition is not None:
        _check_partition(table, existing, columns, created_at, local)
    if existing is not None:  # WRITE_TRUNCATE too: it replaces the rows of a table of this kind
        columns = fit_output(columns, existing.schema, str(table.base))
    return Destination(
        table=table,
        columns=tuple(columns),
        exists=existing is not None,
        schema=_fields(columns, existing),
        day="predicted_at",
        write_disposition=write_disposition,
    )


def rejects_destination(clients: Clients, output: TableRef) -> Destination:
    """Return the destination for rows that cannot be scored: `{output_table}_rejects`, appended.

    Raises:
        SchemaMismatch: that name is taken by something that is not a table of rejects.
        InvalidRequest: the name would be longer than a table's may be.
    """
    base = output.base
    table = TableRef(base.project, base.dataset, f"{base.table}_rejects")
    if len(table.table.encode()) > MAX_TABLE_NAME:
        raise InvalidRequest(
            (
                "output_table",
                f"the name of its rejects would have more than {MAX_TABLE_NAME} bytes: pass a "
                "shorter one",
            )
        )
    existing, _ = output_location(clients, table)
    columns: Sequence[Column] = [Column(name, kind) for name, kind in REJECTS.items()]
    if existing is not None:
        columns = fit_output(columns, existing.schema, str(table))
    return Destination(
        table=table,
        columns=tuple(columns),
        exists=existing is not None,
        schema=_fields(columns, existing),
        day="rejected_at",
        write_disposition="WRITE_APPEND",
    )


def fit_output(columns: Sequence[Column], table: Iterable[SchemaField], name: str) -> list[Column]:
    """Return the existing table's columns, in its order, if the output fits them.

    Raises:
        SchemaMismatch: naming every column that the table lacks, has with another type, or
            requires although the run does not write it.
    """
    fields = {fold(f.name): f for f in table}
    types = {fold(c.name): c.type for c in columns_of(fields.values())}
    mine = {fold(c.name) for c in columns}
    faults = []
    for column in columns:
        kind = types.get(fold(column.name))
        if kind is None:
            faults.append((column.name, "is not in the output table"))
        elif kind != column.type:
            faults.append((column.name, f"is {column.type}, and {kind} in the table"))
    for folded, field in fields.items():
        if folded not in mine and field.mode == "REQUIRED":
            faults.append((field.name, "is required in the table, and the run does not write it"))
    if faults:
        raise SchemaMismatch(
            f"The output does not fit the table {name}: pass another output_table.",
            faults,
        )
    return [c for c in columns_of(fields.values()) if c.type in PARQUET_TYPES]


def _fields(columns: Sequence[Column], existing: Table | None) -> tuple[Mapping[str, Any], ...]:
    if existing is not None:
        return tuple(field.to_api_repr() for field in existing.schema)
    return tuple(
        {"name": c.name, "type": c.type, "mode": "NULLABLE"}
        | ({} if c.description is None else {"description": c.description})
        for c in columns
    )


def _check_partition(
    table: TableRef,
    existing: Table | None,
    columns: Sequence[Column],
    created_at: dt.datetime,
    local: bool,
) -> None:
    """Check that the table can have the partition, and that the run's rows lie in it."""
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
