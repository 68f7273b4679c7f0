"""Where a run's rows go: the output table and its rejects, as they are or will be made."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from mlsys.bq import TableRef, find_table
from mlsys.clients import TIMEOUT, Clients, bigquery_retry
from mlsys.errors import Conflict, InvalidRequest, SchemaMismatch, TableNotFound
from mlsys.names import fold
from workers.scoring.planning.columns import PARQUET_TYPES, Column, columns_of

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
    """A table that a run writes: its name, columns in their order, and what it is made with."""

    table: TableRef  # with the partition, if one is meant
    columns: tuple[Column, ...]  # what a part holds
    exists: bool
    schema: tuple[Mapping[str, Any], ...]  # the table's fields, as the API has them
    day: str  # the column that a new table is partitioned by
    write_disposition: str

    def to_dict(self) -> dict[str, Any]:
        """The destination as JSON values."""
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
    """The output table if it is there, and the location it is in or will be.

    Raises:
        TableNotFound: its dataset is not there.
        SchemaMismatch: it is a view or the like.
    """
    from google.api_core.exceptions import NotFound

    found = find_table(clients, table)
    if found is None:
        name = f"{table.project}.{table.dataset}"
        try:
            dataset = clients.bigquery.get_dataset(name, timeout=TIMEOUT, retry=bigquery_retry())
        except NotFound as exc:
            raise TableNotFound(
                f"The dataset {name} of output_table is not there: create it first, for instance "
                f"with CREATE SCHEMA `{name}`"
            ) from exc
        return None, dataset.location
    if found.table_type != "TABLE":
        raise SchemaMismatch(f"{table} is a {found.table_type}: pass a table as output_table")
    return found, found.location


def output_destination(
    table: TableRef,
    there: Table | None,
    columns: Sequence[Column],
    write_disposition: str,
    created_at: dt.datetime,
    local: bool = False,
) -> Destination:
    """Return how the output's rows get into `table`, which is `there` already or will be made.

    `local` is whether BigQuery is that of the local stack.

    Raises:
        SchemaMismatch: the columns do not fit the table, or it has no such partition.
        Conflict: WRITE_EMPTY, and the table has rows.
    """
    if write_disposition == "WRITE_EMPTY" and there is not None and there.num_rows:
        if table.partition is None:  # of a single partition BigQuery will know when it loads
            raise Conflict(
                f"{table} has {there.num_rows} rows, and write_disposition is WRITE_EMPTY: pass "
                "another output_table, WRITE_APPEND or WRITE_TRUNCATE"
            )
    if table.partition is not None:
        _check_partition(table, there, columns, created_at, local)
    if there is not None:  # WRITE_TRUNCATE too: it replaces the rows of a table of this kind
        columns = fit_output(columns, there.schema, str(table.base))
    return Destination(
        table=table,
        columns=tuple(columns),
        exists=there is not None,
        schema=_fields(columns, there),
        day="predicted_at",
        write_disposition=write_disposition,
    )


def rejects_destination(clients: Clients, output: TableRef) -> Destination:
    """Return how rows that cannot be scored get into `{output_table}_rejects`; always appended.

    Raises:
        SchemaMismatch: something is there under this name, and it is no table of rejects.
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
    there, _ = output_location(clients, table)
    columns: Sequence[Column] = [Column(name, kind) for name, kind in REJECTS.items()]
    if there is not None:
        columns = fit_output(columns, there.schema, str(table))
    return Destination(
        table=table,
        columns=tuple(columns),
        exists=there is not None,
        schema=_fields(columns, there),
        day="rejected_at",
        write_disposition="WRITE_APPEND",
    )


def fit_output(columns: Sequence[Column], table: Iterable[SchemaField], name: str) -> list[Column]:
    """Return the existing table's columns, in its order, if the output fits them.

    Raises:
        SchemaMismatch: naming every column that is missing there, has another type, or is
            required there and not written.
    """
    fields = {fold(f.name): f for f in table}
    types = {fold(c.name): c.type for c in columns_of(fields.values())}
    mine = {fold(c.name) for c in columns}
    wrong = []
    for column in columns:
        there = types.get(fold(column.name))
        if there is None:
            wrong.append((column.name, "is not in the output table"))
        elif there != column.type:
            wrong.append((column.name, f"is {column.type}, and {there} there"))
    for folded, field in fields.items():
        if folded not in mine and field.mode == "REQUIRED":
            wrong.append((field.name, "is required there, and the run does not write it"))
    if wrong:
        raise SchemaMismatch(
            f"The output does not fit the table {name}: pass another output_table.",
            wrong,
        )
    return [c for c in columns_of(fields.values()) if c.type in PARQUET_TYPES]


def _fields(columns: Sequence[Column], there: Table | None) -> tuple[Mapping[str, Any], ...]:
    if there is not None:
        return tuple(field.to_api_repr() for field in there.schema)
    return tuple(
        {"name": c.name, "type": c.type, "mode": "NULLABLE"}
        | ({} if c.description is None else {"description": c.description})
        for c in columns
    )


def _check_partition(
    table: TableRef,
    there: Table | None,
    columns: Sequence[Column],
    created_at: dt.datetime,
    local: bool,
) -> None:
    """Refuse a partition that the table cannot have, or that the run's rows would not lie in."""
    field, kind = "predicted_at", "DAY"  # as a new table is made
    if there is not None:
        by_range, by_time = there.range_partitioning, there.time_partitioning
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
    if there is None or there.range_partitioning is None:
        _check_time(table, kind, field, created_at)


def _check_range(table: TableRef, partitioning: Any) -> None:
    """Refuse what is not the first number of one of the table's ranges."""
    limits, name = partitioning.range_, table.partition or ""
    start, end, width = int(limits.start), int(limits.end), int(limits.interval)
    number = int(name) if re.fullmatch(r"0|[1-9][0-9]{0,18}", name) else None
    if number is None or not start <= number < end or (number - start) % width:
        first = start if start >= 0 else start % width  # a decorator has no sign
        raise SchemaMismatch(
            f"{table.base} is partitioned by {partitioning.field} in ranges of {width} from "
            f"{start} to {end}: pass the first number of a range, such as ${first}, and not ${name}"
        )


def _check_time(table: TableRef, kind: str, field: str, created_at: dt.datetime) -> None:
    """Refuse what is not a day, hour, month or year as BigQuery writes it, or not the run's own."""
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
            f"${created_at.strftime(form)}, and not ${name}"
        )
    if fold(field) == "predicted_at" and created_at.strftime(form) != name:
        raise SchemaMismatch(
            f"{table.base} is partitioned by predicted_at, which is now: its partition for this "
            f"run is ${created_at.strftime(form)} (UTC), and not ${name}"
        )
