"""Exact conversion of decimals to NUMERIC, BIGNUMERIC and floats."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Context, Decimal
from typing import TYPE_CHECKING, Any

from mlsys.columns.arrow_types import arrow_type
from mlsys.columns.kinds import ColumnFault, Objects, shown

if TYPE_CHECKING:
    import pyarrow as pa

# Digits before and after the point. BIGNUMERIC accepts only some numbers with 39 before it:
# https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#decimal_types
DIGITS = {"NUMERIC": (29, 9), "BIGNUMERIC": (38, 38)}
_WIDE = Context(prec=80)


def decimal_array(objects: Objects, column: str) -> pa.Array:
    """Return NUMERIC where every value fits, and BIGNUMERIC where one needs it."""
    wide = False
    values = []
    for value, row in zip(objects.values, objects.rows, strict=True):
        number = Decimal(int(value)) if not isinstance(value, Decimal) else value
        before, behind = _digits(number)
        if before > DIGITS["BIGNUMERIC"][0] or behind > DIGITS["BIGNUMERIC"][1]:
            raise ColumnFault(
                f"holds {shown(value)} in row {row}, and BIGNUMERIC has 38 digits before and 38 "
                f"after the point. Round it yourself, or write text: {column}.map(str)"
            )
        wide |= before > DIGITS["NUMERIC"][0] or behind > DIGITS["NUMERIC"][1]
        values.append(number)
    name = "BIGNUMERIC" if wide else "NUMERIC"
    places = Decimal(1).scaleb(-DIGITS[name][1])
    exact = [value.quantize(places, context=_WIDE) for value in values]
    return array_of(
        Objects(exact, objects.rows, objects.length), arrow_type(name), lambda value, row: None
    )


def _digits(value: Decimal) -> tuple[float, int]:
    """Return the number of digits before and after the point, without trailing zeros."""
    _, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int):
        return float("inf"), 0
    text = "".join(map(str, digits)).lstrip("0")
    kept = text.rstrip("0")
    exponent += len(text) - len(kept)
    return (max(0, len(kept) + exponent), max(0, -exponent)) if kept else (0, 0)


def array_of(
    objects: Objects, target: pa.DataType, check: Callable[[Any, int], None] | None = None
) -> pa.Array:
    """Return an array of all rows; `check` raises for the value that Arrow refuses."""
    import pyarrow as pa

    cells: list[Any] = [None] * objects.length
    for value, row in zip(objects.values, objects.rows, strict=True):
        cells[row] = value
    try:
        return pa.array(cells, target)
    except (pa.ArrowException, OverflowError, ValueError):
        if check is not None:
            for value, row in zip(objects.values, objects.rows, strict=True):
                check(value, row)
        raise


def floats_of(column: Any) -> Any:
    """Return an Arrow column of decimals as the nearest floats, as Python's float() gives them.

    Arrow's own cast misses the last bit of two out of five values such as 0.07.
    """
    import numpy as np
    import pyarrow as pa

    if isinstance(column, pa.ChunkedArray):
        return pa.chunked_array([floats_of(chunk) for chunk in column.chunks], pa.float64())
    if column.type.bit_width == 128 and 0 <= column.type.scale <= 22 and len(column):
        words = np.frombuffer(column.buffers()[1], np.int64).reshape(-1, 2)
        low, high = words[column.offset : column.offset + len(column)].T
        if ((high == low >> 63) & (low > -(2**53)) & (low < 2**53)).all():
            # Both numbers are floats, so that their quotient is rounded only once.
            floats = low / float(10**column.type.scale)
            return pa.array(floats, mask=column.is_null().to_numpy(zero_copy_only=False))
    return column.cast(pa.string()).cast(pa.float64())


def floats_and_decimals(column: pa.ChunkedArray, given: str, kind: str) -> pa.ChunkedArray:
    """Convert floats to decimals, or decimals to floats, if every value reads back the same.

    A float fits if its shortest decimal (0.1, not the 55 digits of its binary value) has no more
    digits than the column; a decimal fits if it is the shortest decimal of its float.

    Raises:
        pa.ArrowInvalid: a value would be rounded; the message has the value and its row.
    """
    import pyarrow as pa

    before, behind = DIGITS.get(kind, (0, 0))
    values: list[Any] = column.to_pylist()
    for row, value in enumerate(values):
        if value is None:
            continue
        if kind == "FLOAT64":
            values[row] = float(value)
            fits = Decimal(repr(values[row])) == value
        else:
            number = Decimal(repr(value))
            fits = number.is_finite() and abs(number) < Decimal(10) ** before
            if fits:
                values[row] = number.quantize(Decimal(1).scaleb(-behind), context=_WIDE)
                fits = values[row] == number
        if not fits:
            given_as = repr(value) if given == "FLOAT64" else str(value.normalize(_WIDE))
            raise pa.ArrowInvalid(
                f"row {row} holds {given_as} ({given}), which {kind} cannot hold exactly; round it "
                "yourself first"
            )
    return pa.chunked_array([pa.array(values, arrow_type(kind))])
