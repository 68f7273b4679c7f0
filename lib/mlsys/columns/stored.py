"""Conversion of a pandas column to the Arrow column that BigQuery stores, exact or refused.

Nothing is rounded or cut: nanoseconds, digits beyond BIGNUMERIC and integers beyond INT64 are
faults. NaN, NaT, NA and None are NULL: in pandas each of them is a missing value.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from mlsys.columns.arrow_types import arrow_type, sql_name
from mlsys.columns.decimals import DIGITS, array_of, decimal_array
from mlsys.columns.kinds import ColumnFault, Objects, advice, one_kind, shown
from mlsys.errors import InvalidRequest

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_MICROSECOND = dt.timedelta(microseconds=1)
_EPOCH = dt.datetime(1970, 1, 1)
# https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#datetime_type
_FIRST, _LAST = dt.datetime.min, dt.datetime.max


def stored(series: pd.Series, column: str) -> pa.Array:
    """Return the values of `series` in their BigQuery type.

    A column without values is STRING unless its dtype has another type. `column` is the caller's
    expression for the column, to use in advice.

    Raises:
        ColumnFault: values of two types, of a type that BigQuery does not have, or a value that
            would change.
    """
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    if isinstance(series.dtype, pd.SparseDtype):
        series = pd.Series(series.array.to_dense())
    dtype = series.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return _of_categories(series, column)
    if series.dtype == object:
        return _of_objects(series, column)
    if isinstance(dtype, np.dtype) and dtype.kind == "f" and dtype.itemsize > 8:
        _check_long_doubles(series, column)
        series = series.astype("float64")
    try:
        array = pa.array(series, from_pandas=True)
    except (pa.ArrowException, ValueError, TypeError):  # half a surrogate pair, a complex number
        return _of_objects(series.astype(object), column)
    return _of_arrow(array, column)


def _of_categories(series: pd.Series, column: str) -> pa.Array:
    """Return the category of each row."""
    import pandas as pd
    import pyarrow as pa

    if series.cat.categories.dtype == object:
        return _of_objects(series.astype(object), column)
    used = series.cat.remove_unused_categories()
    codes = used.cat.codes.to_numpy()
    try:
        values = stored(pd.Series(used.cat.categories), column)
    except ColumnFault:  # repeat with the rows, so that the message names a row
        _of_objects(series.astype(object), column)
        raise
    return values.take(pa.array(codes, mask=codes < 0))


def _of_arrow(array: Any, column: str) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_run_end_encoded(array.type):
        array = pc.run_end_decode(array)
    kind = array.type
    if pa.types.is_null(kind):
        return array.cast(pa.string())
    if isinstance(kind, pa.BaseExtensionType):
        name = kind.extension_name.split(".")[-1]
        raise ColumnFault(
            f"is of {name} values, and BigQuery has no flat column type for {name}. "
            f"{advice(name, column)}"
        )
    try:
        name = sql_name(kind)
    except InvalidRequest as exc:
        raise ColumnFault(f"{exc.problems[0][1]}. {advice(str(kind), column)}") from exc
    if name in DIGITS and array.null_count < len(array):
        rows = array.is_valid().to_numpy(zero_copy_only=False).nonzero()[0].tolist()
        return decimal_array(Objects(array.drop_null().to_pylist(), rows, len(array)), column)
    return _in_years(_cast(array, name, column), name, column)


def _cast(array: pa.Array, name: str, column: str) -> pa.Array:
    """Return the values in the type `name`, all exact."""
    import pyarrow as pa

    target = arrow_type(name)
    try:
        return array.cast(target)
    except pa.ArrowInvalid:
        low, high = 0, len(array)  # of the first n rows, `low` can be cast and `high` cannot
        while high - low > 1:
            middle = (low + high) // 2
            try:
                array[:middle].cast(target)
                low = middle
            except pa.ArrowInvalid:
                high = middle
    if name == "INT64":
        raise _beyond_int64(array[low].as_py(), low, column)
    value = array[low].cast(pa.string()).as_py()
    raise _finer(value, low, name, column)


def _of_objects(series: pd.Series, column: str) -> pa.Array:
    import pyarrow as pa

    objects = Objects.from_series(series)
    name = one_kind(objects, column)
    if name is None:
        return pa.nulls(len(series), pa.string())
    if name == "NUMERIC":
        return decimal_array(objects, column)
    exact = {"FLOAT64": _float, "DATETIME": _datetime, "TIMESTAMP": _datetime}.get(name)
    if exact is not None:
        values = [
            exact(value, row, column)
            for value, row in zip(objects.values, objects.rows, strict=True)
        ]
        objects = Objects(values, objects.rows, objects.length)
    target = arrow_type(name)

    def make(value: Any, row: int) -> None:
        try:
            pa.array([value], target)
        except UnicodeEncodeError as exc:
            raise ColumnFault(
                f"holds {shown(value)} in row {row}, which is not valid Unicode (half a surrogate "
                f"pair). Remove it: {column}.map(lambda v: v.encode('utf-8', 'replace').decode())"
            ) from exc
        except (pa.ArrowException, OverflowError, ValueError) as exc:
            if name == "INT64":
                raise _beyond_int64(value, row, column) from exc
            raise ColumnFault(
                f"holds {shown(value)} in row {row}, which is not {name}: {exc}"
            ) from exc

    return _in_years(array_of(objects, target, make), name, column)


def _float(value: Any, row: int, column: str) -> float:
    """Return a whole number or a NumPy long double as the float of exactly its value."""
    import numpy as np

    value = int(value) if isinstance(value, int | np.integer) else value
    try:
        out = float(value)
    except OverflowError:
        out = float("inf")
    if out != value:
        raise _inexact(value, row, column)
    return out


def _check_long_doubles(series: pd.Series, column: str) -> None:
    """Refuse values of NumPy's longdouble that a float cannot hold."""
    wide = series.to_numpy()
    for row in (wide.astype("float64") != wide).nonzero()[0]:
        if wide[row] == wide[row]:
            raise _inexact(wide[row], int(row), column)


def _inexact(value: Any, row: int, column: str) -> ColumnFault:
    return ColumnFault(
        f"holds {shown(value)} in row {row}, which FLOAT64 cannot hold exactly. Write decimals "
        f"({column}.map(lambda v: Decimal(str(v)))), or round it yourself: {column}.astype(float)"
    )


def _datetime(value: Any, row: int, column: str) -> dt.datetime:
    """Return the value as Python's datetime, which is as precise as BigQuery's."""
    import numpy as np
    import pandas as pd

    if isinstance(value, np.datetime64):
        value = pd.Timestamp(value)
    if isinstance(value, pd.Timestamp):
        if value.nanosecond:
            raise _finer(str(value), row, "DATETIME", f"pd.to_datetime({column})")
        if not _FIRST.year <= value.year <= _LAST.year:
            raise _other_year(str(value), row)
        value = value.to_pydatetime()
    if value.tzinfo is not None:
        try:
            value = value.astimezone(dt.UTC)
        except (OverflowError, ValueError) as exc:
            raise _other_year(str(value), row) from exc
    moment: dt.datetime = value
    return moment


def _in_years(array: pa.Array, name: str, column: str) -> pa.Array:
    """Return the values after a check that all lie in BigQuery's years."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if name not in ("DATE", "DATETIME", "TIMESTAMP"):
        return array
    kind, unit = (pa.int32(), dt.timedelta(1)) if name == "DATE" else (pa.int64(), _MICROSECOND)
    numbers = array.cast(kind)
    first, last = ((moment - _EPOCH) // unit for moment in (_FIRST, _LAST))
    outside = pc.or_(pc.less(numbers, first), pc.greater(numbers, last))
    row = pc.index(outside, True).as_py()
    if row >= 0:
        raise _other_year(array[row].cast(pa.string()).as_py(), row)
    return array


def _other_year(value: str, row: int) -> ColumnFault:
    return ColumnFault(
        f"holds {value} in row {row}, and BigQuery has the years 0001 to 9999 (in UTC). Replace "
        "it, for instance with None"
    )


def _finer(value: str, row: int, name: str, column: str) -> ColumnFault:
    if name in ("DATETIME", "TIMESTAMP"):
        return ColumnFault(
            f"holds {value} in row {row}, and BigQuery keeps microseconds in the years 0001 to "
            f"9999. Round it down: {column}.dt.floor('us')"
        )
    return ColumnFault(
        f"holds {value} in row {row}, which {name} cannot hold exactly. Round it yourself"
    )


def _beyond_int64(value: Any, row: int, column: str) -> ColumnFault:
    return ColumnFault(
        f"holds {shown(value)} in row {row}, which is outside INT64 (-2^63 to 2^63 - 1). "
        f"Write decimals, {column}.map(Decimal), or text: {column}.map(str)"
    )
