"""BigQuery's flat types as Arrow types, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlsys.errors import InvalidRequest

if TYPE_CHECKING:
    import pyarrow as pa


def arrow_type(name: str) -> pa.DataType:
    """Return the Arrow type as which a BigQuery column of type `name` (`INT64`, ...) is read.

    Raises:
        KeyError: the type has no flat Arrow counterpart (STRUCT, ARRAY, JSON, GEOGRAPHY, ...).
    """
    import pyarrow as pa

    return {
        "INT64": pa.int64(),
        "FLOAT64": pa.float64(),
        "BOOL": pa.bool_(),
        "STRING": pa.string(),
        "BYTES": pa.binary(),
        "DATE": pa.date32(),
        "TIME": pa.time64("us"),
        "DATETIME": pa.timestamp("us"),
        "TIMESTAMP": pa.timestamp("us", tz="UTC"),
        "NUMERIC": pa.decimal128(38, 9),
        "BIGNUMERIC": pa.decimal256(76, 38),
    }[name]


def sql_name(kind: pa.DataType) -> str:
    """Return the BigQuery type as which values of the Arrow type `kind` are stored.

    Raises:
        InvalidRequest: BigQuery has no flat type for it.
    """
    from pyarrow import types

    tests = {
        "INT64": types.is_integer,
        "FLOAT64": types.is_floating,
        "BOOL": types.is_boolean,
        "STRING": lambda t: (
            types.is_string(t) or types.is_large_string(t) or types.is_string_view(t)
        ),
        "BYTES": lambda t: (
            types.is_binary(t)
            or types.is_large_binary(t)
            or types.is_fixed_size_binary(t)
            or types.is_binary_view(t)
        ),
        "DATE": types.is_date,
        "TIME": types.is_time,
        "TIMESTAMP": lambda t: types.is_timestamp(t) and t.tz is not None,
        "DATETIME": types.is_timestamp,
        "BIGNUMERIC": lambda t: types.is_decimal(t) and (t.scale > 9 or t.precision - t.scale > 29),
        "NUMERIC": types.is_decimal,
    }
    for name, test in tests.items():
        if test(kind):
            return name
    raise InvalidRequest(("df", f"BigQuery has no flat column type for {kind}"))
