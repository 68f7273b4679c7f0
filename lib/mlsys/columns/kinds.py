"""The one BigQuery type of the Python objects in a column.

Every object is checked, not only the first one. Whole numbers may be mixed with floats or decimals
that hold them exactly; any other two types in one column are a fault. Its message has the first two
conflicting values and their rows, counted from 0.
"""

from __future__ import annotations

import datetime as dt
import reprlib
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import pandas as pd

# The types of flat columns, in the order of the tests: a bool is an int, too.
TYPES = (
    *("BOOL", "INT64", "FLOAT64", "NUMERIC", "STRING", "BYTES"),
    *("DATE", "TIME", "DATETIME", "TIMESTAMP"),
)
_WIDER = {frozenset(("INT64", "FLOAT64")): "FLOAT64", frozenset(("INT64", "NUMERIC")): "NUMERIC"}
_ZONED_TIME = "TIME with an offset"

_shown = reprlib.Repr()
_shown.maxstring = _shown.maxother = 80
_shown.maxlong = 60


class ColumnFault(ValueError):
    """A column cannot be written or described; the message does not name the column."""


@dataclass(frozen=True, slots=True)
class Objects:
    """The values of a column that are not missing, and their rows."""

    values: list[Any]
    rows: list[int]
    length: int  # of the column, including missing values

    @classmethod
    def from_series(cls, series: pd.Series) -> Self:
        """Leave out None, NaN, NaT and NA: each of them is a NULL.

        Raises:
            ColumnFault: a value cannot be compared with itself (a signaling NaN).
        """
        try:
            present = series.notna().to_numpy()
        except ArithmeticError as exc:
            raise ColumnFault("holds a signaling NaN. Replace it with None") from exc
        values = series.to_numpy(dtype=object)[present].tolist()
        return cls(values, present.nonzero()[0].tolist(), len(series))


def shown(value: Any) -> str:
    """Return the value's repr, cut if it is long."""
    return _shown.repr(value)


def one_kind(objects: Objects, column: str) -> str | None:
    """Return the BigQuery type of all values, or None without values.

    `column` is the caller's expression for the column, for instance `df['a']`, to use in advice.

    Raises:
        ColumnFault: two values have different types, or BigQuery has no flat type for one.
    """
    types = set(map(type, objects.values))
    kinds = {kind for python_type in types if (kind := _kind_of_type(python_type)) is not None}
    if len(kinds) == 1 and kinds <= set(TYPES) and not kinds & {"DATETIME", "TIME"}:
        return kinds.pop()  # the Python type decides: no need to check each value
    first: dict[str, int] = {}  # kind -> the position where it is first seen
    for i, value in enumerate(objects.values):
        kind = _kind_of(value)
        if kind in first:
            continue
        _check_flat(kind, value, objects.rows[i], column)
        for other, j in first.items():
            if frozenset((kind, other)) not in _WIDER:
                raise ColumnFault(_disagreement(objects, (j, other), (i, kind), column))
        first[kind] = i
    if len(first) < 2:
        return next(iter(first), None)
    return _WIDER[frozenset(first)]


def _kind_of(value: Any) -> str:
    """Return a value's BigQuery type, or the name of its Python type if BigQuery has none."""
    kind = _kind_of_type(type(value)) or type(value).__name__
    if kind == "DATETIME" and getattr(value, "tzinfo", None) is not None:
        return "TIMESTAMP"
    return _ZONED_TIME if kind == "TIME" and value.tzinfo is not None else kind


def _kind_of_type(python_type: type) -> str | None:
    """Return the BigQuery type of a Python type's values, with DATETIME also for TIMESTAMP."""
    import numpy as np

    if issubclass(python_type, dt.timedelta | np.timedelta64):  # NumPy's is an np.integer
        return "duration"
    tests: tuple[tuple[str, tuple[type, ...]], ...] = (
        ("BOOL", (bool, np.bool_)),
        ("INT64", (int, np.integer)),
        ("FLOAT64", (float, np.floating)),
        ("NUMERIC", (Decimal,)),
        ("STRING", (str,)),
        ("BYTES", (bytes, bytearray, memoryview)),
        ("DATETIME", (dt.datetime, np.datetime64)),
        ("DATE", (dt.date,)),
        ("TIME", (dt.time,)),
    )
    for kind, types in tests:
        if issubclass(python_type, types):
            return kind
    name = python_type.__name__
    return {"dict": "struct", "ndarray": "list", "tuple": "list"}.get(name, name)


def _check_flat(kind: str, value: Any, row: int, column: str) -> None:
    if kind == _ZONED_TIME:
        raise ColumnFault(
            f"holds {shown(value)} in row {row}, and BigQuery's TIME has no offset. Write "
            f"datetimes with a time zone, or leave the offset out: "
            f"{column}.map(lambda t: t.replace(tzinfo=None))"
        )
    if kind not in TYPES:
        raise ColumnFault(
            f"holds {shown(value)} in row {row}, and BigQuery has no flat column type for {kind}. "
            f"{advice(kind, column)}"
        )


def advice(kind: str, column: str) -> str:
    """Return how to write a column whose type BigQuery does not have."""
    word = kind.split("[")[0].split("<")[0].removeprefix("large_").removeprefix("fixed_size_")
    texts = {
        "duration": f"Write seconds: pd.to_timedelta({column}).dt.total_seconds()",
        "complex": "Write the real and the imaginary part as two columns",
        "complex128": "Write the real and the imaginary part as two columns",
        "complex64": "Write the real and the imaginary part as two columns",
        "list": f"Write one row per value (df.explode), or JSON: {column}.map(json.dumps)",
        "set": f"Write JSON: {column}.map(sorted).map(json.dumps)",
        "struct": f"Write one column per field, or JSON: {column}.map(json.dumps)",
        "map": f"Write one column per key, or JSON: {column}.map(json.dumps)",
        "period": f"Write its start: {column}.dt.to_timestamp()",
        "Period": f"Write text: {column}.map(str)",
        "interval": "Write its ends, .left and .right, as two columns",
        "Interval": "Write its ends, .left and .right, as two columns",
    }
    return texts.get(word, f"Convert it, for instance to text: {column}.map(str)")


def _disagreement(objects: Objects, one: tuple[int, str], two: tuple[int, str], column: str) -> str:
    """Return the message about two values, each given by its position and its type."""
    (i, first), (j, second) = one, two
    (a, b), (row, other) = (
        (objects.values[i], objects.values[j]),
        (objects.rows[i], objects.rows[j]),
    )
    return (
        f"holds {shown(a)} in row {row} ({first}) and {shown(b)} in row {other} ({second}), and a "
        f"column has one type. {_remedy(frozenset((first, second)), column)}"
    )


def _remedy(kinds: frozenset[str], column: str) -> str:
    remedies: dict[tuple[str, ...], str] = {
        ("DATE", "DATETIME"): f"Make all of them datetimes: pd.to_datetime({column})",
        ("DATE", "TIMESTAMP"): (
            f"Make all of them datetimes in UTC: pd.to_datetime({column}, utc=True)"
        ),
        ("DATETIME", "TIMESTAMP"): (
            "Give every datetime a time zone or none; "
            f"pd.to_datetime({column}, utc=True) takes those without one as UTC"
        ),
        ("BOOL", "INT64"): f"Make all of them numbers ({column}.map(int)) or bools",
        ("BOOL", "FLOAT64"): f"Make all of them numbers ({column}.map(float)) or bools",
        ("BOOL", "NUMERIC"): f"Make all of them numbers ({column}.map(Decimal)) or bools",
        ("BYTES", "STRING"): (
            "Make all of them text: "
            f"{column}.map(lambda v: v.decode() if isinstance(v, bytes) else v)"
        ),
        ("FLOAT64", "NUMERIC"): (
            f"Make all of them floats ({column}.map(float)) or decimals "
            f"({column}.map(lambda v: Decimal(str(v))))"
        ),
    }
    remedy = remedies.get(tuple(sorted(kinds)))
    missing = "na_action='ignore'"
    return remedy or f"Convert it, for instance to text: {column}.map(str, {missing})"
