"""Arrow to pandas, the same way in training and in scoring.

`bq_get` and the scoring worker both use this module, so a model sees in production what it saw in
the notebook: INT64 is int64, FLOAT64 float64, BOOL bool (object where there are NULLs), STRING str,
TIMESTAMP datetime64[us, UTC], DATETIME datetime64[us], DATE, TIME, NUMERIC and BYTES Python
objects. INT64 with NULLs is float64 with NaN, or Int64 with NA if a value lies beyond 2^53, because
a float would change it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mlsys.arguments import as_pandas, kind_of
from mlsys.columns import dtypes
from mlsys.columns.decimals import floats_of
from mlsys.columns.features import UNKNOWN, Feature
from mlsys.columns.kinds import ColumnFault
from mlsys.columns.names import check_column_names, fold, is_plain
from mlsys.columns.stored import stored
from mlsys.errors import InvalidRequest, SchemaMismatch

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_NULLABLE = {"boolean", "string", "Float32", "Float64"} | {
    f"{sign}Int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)
}
_TRUNCATE = {"DATETIME": "DATETIME_TRUNC", "TIMESTAMP": "TIMESTAMP_TRUNC"}


def from_frame(df: pd.DataFrame) -> pa.Table:
    """Return the frame's columns as Arrow, in the types that BigQuery will store.

    Raises:
        InvalidRequest: a column has a name that BigQuery does not accept, holds values of two types
            or of a type without a flat BigQuery column type, or a value that would change.
    """
    import pandas as pd
    import pyarrow as pa

    if not isinstance(df, pd.DataFrame):
        raise InvalidRequest(("df", f"is {kind_of(df)}: pass {_as_frame(df)}"))
    check_column_names(df.columns, "df")
    columns, fields = [], []
    for i, name in enumerate(df.columns):
        try:
            columns.append(stored(df.iloc[:, i], f"df[{name!r}]"))
        except ColumnFault as exc:
            raise InvalidRequest(("df", f"column {name!r}: {exc}")) from exc
        fields.append(pa.field(name, columns[-1].type))
    return pa.Table.from_arrays(columns, schema=pa.schema(fields))


def _as_frame(other: Any) -> str:
    """Return the expression that converts the argument `df` to a DataFrame."""
    import pandas as pd

    if isinstance(other, pd.Series):
        return "df.to_frame()" if isinstance(other.name, str) else "df.to_frame('name')"
    if isinstance(other, list | dict):
        return "pd.DataFrame(df)"
    return as_pandas(other, "df") or "a pandas DataFrame"


def to_frame(table: pa.Table | pa.RecordBatch) -> pd.DataFrame:
    """Return the columns of `table` in the pandas types of this module's docstring."""
    frame = table.to_pandas(date_as_object=True)
    for i, column in enumerate(table.columns):
        if _needs_nullable(column):
            frame.isetitem(i, _to_series(column))
    return frame


def _to_series(column: pa.Array | pa.ChunkedArray) -> pd.Series:
    """Return one column as `to_frame` does."""
    import pandas as pd

    if not _needs_nullable(column):
        return column.to_pandas(date_as_object=True)
    values = column.to_pandas(integer_object_nulls=True)
    return pd.Series(pd.array(values, dtype="Int64"))


def _needs_nullable(column: pa.Array | pa.ChunkedArray) -> bool:
    """Return whether the column has integers with NULLs that float64 would change."""
    import pyarrow as pa

    if column.type != pa.int64() or not column.null_count:
        return False
    try:
        column.cast(pa.float64())
    except pa.ArrowInvalid:  # one value is beyond 2^53
        return True
    return False


def to_model_frame(table: pa.Table | pa.RecordBatch, features: Sequence[Feature]) -> pd.DataFrame:
    """Return the features' columns of `table`, in their order, as the model saw them in training.

    `table` has n rows and a column for each feature (names are compared without case, as BigQuery
    does); the frame is n x len(features), with the features' own spelling.

    Raises:
        SchemaMismatch: a value cannot be converted exactly, for instance an INT64 beyond 2^53 where
            the model saw floats, or a time finer than a second where it saw datetime64[s]; the
            message names the column.
    """
    import pandas as pd

    return pd.DataFrame(model_columns(table, features), copy=False)


def model_columns(
    table: pa.Table | pa.RecordBatch, features: Sequence[Feature]
) -> dict[str, pd.Series]:
    """Return the columns of `to_model_frame`'s frame, by the features' names.

    Raises:
        SchemaMismatch: as `to_model_frame`.
    """
    import pyarrow as pa

    index = {fold(name): i for i, name in enumerate(table.schema.names)}
    columns = {}
    for feature in features:
        column = table.column(index[fold(feature.name)])
        try:
            columns[feature.name] = _series(column, feature)
        except (pa.ArrowInvalid, ArithmeticError, ValueError, TypeError) as exc:
            raise SchemaMismatch(
                "The table holds values that cannot be converted for the model.",
                [(feature.name, f"{column.type} values do not fit {feature.dtype}: {exc}")],
            ) from exc
    return columns


def _series(column: pa.Array | pa.ChunkedArray, feature: Feature) -> pd.Series:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    if feature.type == "FLOAT64":
        is_decimal = pa.types.is_decimal(column.type)
        # The cast is safe: it refuses an integer that a double cannot hold.
        column = floats_of(column) if is_decimal else column.cast(pa.float64())
    dtype = feature.dtype
    if dtypes.is_arrow(dtype):
        kind = dtypes.arrow_of(dtype)
        try:
            return pd.Series(pd.arrays.ArrowExtensionArray(_cast(column, kind)))
        except pa.ArrowInvalid as exc:
            if not (pa.types.is_timestamp(kind) and feature.type in _TRUNCATE):
                raise
            raise ValueError(_finer(_first_cut(column, kind), kind.unit, feature)) from exc
    nullable = dtype in _NULLABLE
    # These dtypes hold NULLs beside exact integers; in others, integers beside NULLs become floats.
    holds_nulls = nullable or dtype in ("category", "object")
    if dtype == UNKNOWN:
        return _to_series(column)
    series: Any = (
        column.to_pandas(date_as_object=True, integer_object_nulls=True)
        if holds_nulls
        else _to_series(column)
    )
    if dtype == "category":
        categories = pd.CategoricalDtype(list(feature.categories or ()), feature.ordered)
        codes = categories.categories.get_indexer_for(series)  # unseen: -1, which is missing
        return pd.Series(pd.Categorical.from_codes(codes, dtype=categories))
    if nullable:
        with np.errstate(over="raise"):
            return series.astype("object").where(series.notna(), pd.NA).astype(dtype)
    if dtype == "object":
        out = series.astype("object")
        spelling = {"none": None, "na": pd.NA}.get(feature.missing, np.nan)
        return out.where(series.notna(), spelling)
    if str(series.dtype) == dtype:
        return series
    if column.null_count and np.dtype(_numpy_name(dtype)).kind in "iub":
        return series  # as in to_frame: NumPy's integer dtypes cannot hold a NULL
    with np.errstate(over="raise"):  # a double beyond float32 would become infinity
        out = series.astype(dtype)
    if feature.type == "INT64" and not (out == series).all():
        raise OverflowError(f"values beyond the range of {dtype}")
    if feature.type in _TRUNCATE:
        cut = (out != series) & series.notna()
        if cut.any():
            raise ValueError(_finer(series[cut].iloc[0], out.dt.unit, feature))
    return out


def _first_cut(column: pa.Array | pa.ChunkedArray, kind: pa.DataType) -> Any:
    """Return the first time that a coarser unit would cut."""
    import pyarrow.compute as pc

    kept = column.cast(kind, safe=False).cast(column.type)
    return column[pc.index(pc.not_equal(kept, column), True).as_py()].as_py()


def _finer(value: Any, unit: str, feature: Feature) -> str:
    """Return what to do about a time that is finer than the training data's unit."""
    word = {"s": "SECOND", "ms": "MILLISECOND"}[unit]
    name = feature.name if is_plain(feature.name) else f"`{feature.name}`"
    return (
        f"{value} would be cut to a {word.lower()}, the unit of the training data: score a view "
        f"with {_TRUNCATE[feature.type]}({name}, {word}) AS {name}, or train with datetime64[us]"
    )


def _cast(column: pa.Array | pa.ChunkedArray, kind: pa.DataType) -> Any:
    """Return the column in the Arrow type that the model saw, exactly."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(kind):
        values = _cast(column, kind.value_type)
        return pc.dictionary_encode(values).cast(kind)
    out = column.cast(kind)
    if pa.types.is_floating(kind) and kind != pa.float64():
        before, after = (pc.sum(pc.is_finite(values.cast("float64"))) for values in (column, out))
        if before != after:  # a double beyond float32 would become infinity
            raise OverflowError(f"values beyond the range of {kind}")
    return out


def _numpy_name(dtype: str) -> str:
    """Return NumPy's name of the dtype, "object" for those of pandas (str, time zones)."""
    import numpy as np

    try:
        return np.dtype(dtype).name
    except TypeError:
        return "object"
