"""A frame's rows converted to the columns of an existing table, or refused by column name.

Only the columns of the frame are sent: the others get their DEFAULT, or NULL. BigQuery does not
apply a DEFAULT if the load job's schema names the column
(https://github.com/googleapis/python-bigquery/issues/1495).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlsys.columns.arrow_types import arrow_type, sql_name
from mlsys.columns.decimals import DIGITS, floats_and_decimals
from mlsys.columns.features import sql_type
from mlsys.columns.names import fold
from mlsys.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa
    from google.cloud.bigquery import SchemaField


# Types that convert to the type on the left without changing a value's meaning; a number that does
# not fit exactly is refused. The author converts the others explicitly.
_FITS = {
    "INT64": ("FLOAT64",),  # pandas holds whole numbers beside NULLs as floats
    "FLOAT64": ("INT64", "NUMERIC", "BIGNUMERIC"),
    "NUMERIC": ("INT64", "FLOAT64"),
    "BIGNUMERIC": ("INT64", "FLOAT64", "NUMERIC"),
    "DATE": ("DATETIME",),  # pandas has no dates of its own
    "DATETIME": ("DATE", "TIMESTAMP"),  # in UTC
    "TIMESTAMP": ("DATE", "DATETIME"),
}


def fit(rows: pa.Table, schema: Sequence[SchemaField], table: str) -> pa.Table:
    """Return the frame's columns in the table's order, spelling and types.

    Raises:
        InvalidRequest: the table lacks a column of the frame, requires one that the frame lacks, or
            values do not fit.
    """
    import pyarrow as pa

    indices = {fold(name): i for i, name in enumerate(rows.schema.names)}
    table_names = {fold(f.name) for f in schema}
    if extra := [n for n in rows.schema.names if fold(n) not in table_names]:
        raise InvalidRequest(("df", f"{table} has no columns {extra}: drop or rename them"))
    columns = {}
    for field in schema:
        i = indices.get(fold(field.name))
        if i is not None:
            columns[field.name] = _column(rows.column(i), field, table)
        elif field.mode == "REQUIRED" and field.default_value_expression is None:
            raise InvalidRequest(("df", f"{table} requires the column {field.name!r}: add it"))
    return pa.table(columns)


def sent_fields(rows: pa.Table, schema: Sequence[SchemaField]) -> list[SchemaField]:
    """Return the table's own fields for the columns in `rows`: BigQuery refuses another mode."""
    sent = set(map(fold, rows.schema.names))
    return [field for field in schema if fold(field.name) in sent]


def new_fields(rows: pa.Table, schema: Sequence[SchemaField]) -> list[SchemaField]:
    """Return the fields of a table after WRITE_TRUNCATE with `rows`.

    A column that keeps its name and type keeps its field, with its description, DEFAULT and policy
    tags; a REQUIRED one that gets a NULL becomes NULLABLE.
    """
    from google.cloud.bigquery import SchemaField

    before: Mapping[str, SchemaField] = {fold(field.name): field for field in schema}
    fields = []
    for field, column in zip(rows.schema, rows.columns, strict=True):
        kind = sql_name(field.type)
        old = before.get(fold(field.name))
        if old is None or sql_type(old.field_type) != kind or old.mode == "REPEATED":
            fields.append(SchemaField(field.name, kind))
            continue
        resource = old.to_api_repr() | {"name": field.name}
        if column.null_count:
            resource["mode"] = "NULLABLE"
        if kind in DIGITS or kind in ("STRING", "BYTES"):
            # The new values may have another length or precision.
            for limit in ("maxLength", "precision", "scale"):
                resource.pop(limit, None)
        fields.append(SchemaField.from_api_repr(resource))
    return fields


def _column(column: pa.ChunkedArray, field: SchemaField, table: str) -> pa.ChunkedArray:
    """Return the column in the type of the table's field."""
    import pyarrow as pa

    kind = sql_type(field.field_type)
    where = f"column {field.name!r} does not fit {table}, where it is"
    try:
        target = None if field.mode == "REPEATED" else arrow_type(kind)
    except KeyError:
        target = None
    if target is None:
        is_list = f"ARRAY<{kind}>" if field.mode == "REPEATED" else kind
        text = f"{where} {is_list}, which bq_put cannot write: leave the column out"
        raise InvalidRequest(("df", f"{text}, or write it by INSERT or MERGE with bq_get"))
    try:
        out = _convert(column, kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as exc:
        raise InvalidRequest(("df", f"{where} {kind}: {exc}")) from exc
    if field.mode == "REQUIRED" and out.null_count:
        row = out.is_null().index(True).as_py()
        text = f"{where} REQUIRED: row {row} has no value. Fill it or drop the row"
        raise InvalidRequest(("df", text))
    return out


def _convert(column: pa.ChunkedArray, kind: str) -> pa.ChunkedArray:
    """Return `column` as values of the BigQuery type `kind`, all unchanged.

    Raises:
        pa.ArrowInvalid: it has another type, or values that would change.
    """
    import pyarrow as pa

    target = arrow_type(kind)
    if column.null_count == len(column):
        return pa.chunked_array([pa.nulls(len(column), target)])
    given = sql_name(column.type)
    if given != kind and given not in _FITS.get(kind, ()):
        raise pa.ArrowInvalid(f"the frame holds {given}; convert it first")
    if "FLOAT64" in (given, kind) and (given in DIGITS or kind in DIGITS):
        return floats_and_decimals(column, given, kind)
    out = column.cast(target)
    if kind == "DATE" and not out.cast(column.type).equals(column):
        raise pa.ArrowInvalid("the frame holds times of day")
    return out
