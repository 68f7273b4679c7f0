"""The tables that a run writes, existing or still to be created: the output and its rejects."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from mlsys.cloud.clients import Clients
from mlsys.cloud.tables import TableRef, find_table
from mlsys.columns.names import fold
from mlsys.errors import Conflict, InvalidRequest, SchemaMismatch, TableNotFound
from mlsys.plural import plural
from workers.scoring.journal.typed import exactly
from workers.scoring.planning.columns import PARQUET_TYPES, Column, columns_of
from workers.scoring.planning.locations import dataset_location
from workers.scoring.planning.partition import BY_RUN, check_partition, output_partitioning
from workers.scoring.planning.partitioning import Partitioning
from workers.scoring.planning.table_kinds import kind_of

if TYPE_CHECKING:
    from google.cloud.bigquery import SchemaField, Table

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
    day: str  # the column that a new table is partitioned by, in days
    write_disposition: str
    layout: Mapping[str, Any] | None = None  # how else it is partitioned, as the API has it

    def to_dict(self) -> dict[str, Any]:
        """Return the destination as JSON values."""
        return {
            "table": str(self.table),
            "columns": [{"name": c.name, "type": c.type} for c in self.columns],
            "exists": self.exists,
            "schema": list(self.schema),
            "day": self.day,
            "write_disposition": self.write_disposition,
        } | ({} if self.layout is None else {"layout": self.layout})

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote."""
        exactly(cls, value)
        return cls(
            table=TableRef.parse(value["table"], partition=True),
            columns=tuple(Column(**exactly(Column, c)) for c in value["columns"]),
            exists=value["exists"],
            schema=tuple(value["schema"]),
            day=value["day"],
            write_disposition=value["write_disposition"],
            layout=value.get("layout"),
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
    like: Partitioning | None = None,
) -> Destination:
    """Return the destination for the output: the `existing` table, or one to be created.

    `local` tells whether BigQuery is the local stack's, `like` how the input is partitioned.

    Raises:
        SchemaMismatch: the columns do not fit the table, or it has no such partition.
        Conflict: WRITE_EMPTY, and the table has rows.
    """
    if write_disposition == "WRITE_EMPTY" and existing is not None and existing.num_rows:
        if table.partition is None:  # BigQuery checks a single partition as it loads
            raise Conflict(
                f"{table} has {plural(existing.num_rows, 'row')}, and write_disposition is "
                "WRITE_EMPTY: pass another output_table, WRITE_APPEND or WRITE_TRUNCATE"
            )
    by = None
    if existing is None:
        by = output_partitioning(table, like, columns, created_at)
    if table.partition is not None:
        now = Partitioning.of(existing) if existing is not None else by
        check_partition(table, now, columns, created_at, local, like if existing is None else None)
    if existing is not None:  # WRITE_TRUNCATE too: it replaces the rows of a table of this kind
        columns = fit_output(columns, existing.schema, str(table.base))
    return Destination(
        table=table,
        columns=tuple(columns),
        exists=existing is not None,
        schema=_fields(columns, existing),
        day="predicted_at",
        write_disposition=write_disposition,
        layout=None if by in (None, BY_RUN) else by.to_api(),
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
