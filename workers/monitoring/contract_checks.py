"""The value checks of a contract over Arrow columns: each gives the rows that fail.

NULL and NaN pass every check but `not_null`. Most columns meet their clause, so a check first looks
at the column's minimum and maximum, and marks single rows only if one of them fails.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import TYPE_CHECKING, Any

from mlsys.artifact.contract import Clause
from mlsys.artifact.contract_values import TIMES, anchored
from mlsys.columns.arrow_types import sql_name

if TYPE_CHECKING:
    import pyarrow as pa

Failing = Callable[[Any], Any]  # a column -> the mask of the rows that fail, or None if none does

DAY = 86_400_000_000  # microseconds
_EXACT = Context(prec=120)
_ORDER: dict[str, tuple[str, str, str]] = {
    # parameter or check: the comparison that fails, how the bound is rounded to the column's
    # grid, and the column's value that decides
    "min_value": ("less", ROUND_CEILING, "min"),
    "ge": ("less", ROUND_CEILING, "min"),
    "gt": ("less_equal", ROUND_FLOOR, "min"),
    "max_value": ("greater", ROUND_FLOOR, "max"),
    "le": ("greater", ROUND_FLOOR, "max"),
    "lt": ("greater_equal", ROUND_CEILING, "max"),
}


@dataclass(frozen=True, slots=True)
class Bound:
    """A comparison that fails a row: `less` than `value`, for instance."""

    comparison: str
    value: Any  # a scalar of the column's type; None: every value fails
    extreme: str  # "min" or "max" of the column, which decides whether any row fails

    def fails(self, column: Any) -> Any:
        """Return which values fail, as a mask or a scalar."""
        import pyarrow.compute as pc

        if self.value is None:
            return pc.is_valid(column)
        return getattr(pc, self.comparison)(column, self.value)


def failing(clause: Clause, kind: pa.DataType) -> Failing:
    """Return what marks the rows of a column of Arrow type `kind` that fail the clause."""
    parameters = clause.parameters
    if clause.check == "not_null":
        return _missing
    if clause.check == "str_matches":
        return _unmatched(anchored(parameters["pattern"]))
    if clause.check in ("isin", "notin"):
        return _in_set(parameters["values"], kind, within=clause.check == "notin")
    if clause.check == "str_length":
        return _length(parameters)
    return _out_of(bounds_of(clause, kind))


def bounds_of(clause: Clause, kind: pa.DataType) -> list[Bound]:
    """Return the bounds of a clause that compares, for a column of Arrow type `kind`."""
    parameters = clause.parameters
    given = {clause.check: parameters["value"]} if "value" in parameters else parameters
    return _bounds(given, kind)


def newest(column: pa.ChunkedArray) -> int | None:
    """Return the newest value of a column of dates or times, in microseconds since 1970.

    A date's value is its end. A DATETIME counts as UTC.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    value = pc.max(column)
    if not value.is_valid:
        return None
    if pa.types.is_date(column.type):
        return (int(value.cast(pa.int32()).as_py()) + 1) * DAY
    return int(value.cast(pa.int64()).as_py())


def _missing(column: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_floating(column.type):
        return pc.is_null(column) if column.null_count else None
    mask = pc.is_null(column, nan_is_null=True)
    return mask if pc.any(mask).as_py() else None


def _unmatched(pattern: str) -> Failing:
    def marked(column: Any) -> Any:
        import pyarrow.compute as pc

        matches = pc.match_substring_regex(column, pattern)
        if pc.all(matches).as_py() is not False:  # None: of no value
            return None
        return pc.fill_null(pc.invert(matches), False)

    return marked


def _in_set(values: list[Any], kind: pa.DataType, *, within: bool) -> Failing:
    """Return what marks the values that are, or are not, in the set."""
    import pyarrow as pa

    known = pa.array([scalar for v in values for scalar in _members(v, kind)], kind)

    def marked(column: Any) -> Any:
        import pyarrow.compute as pc

        member = pc.is_in(column, value_set=known)
        if within:
            return member if pc.any(member).as_py() else None
        if pc.all(member).as_py():
            return None
        present = pc.invert(pc.is_null(column, nan_is_null=pa.types.is_floating(column.type)))
        mask = pc.and_not(present, member)
        return mask if pc.any(mask).as_py() else None

    return marked


def _members(value: Any, kind: pa.DataType) -> list[Any]:
    """Return the values of the column's type that equal `value`: none, one, or both zeros."""
    import pyarrow as pa

    if pa.types.is_floating(kind):
        return [0.0, -0.0] if value == 0 else [float(value)]
    if pa.types.is_integer(kind) or pa.types.is_decimal(kind):
        low, high = _snapped(value, kind, ROUND_FLOOR), _snapped(value, kind, ROUND_CEILING)
        smallest, largest = _limits(kind)
        return [_typed(low, kind)] if low == high and smallest <= low <= largest else []
    return [_read(value, kind)]


def _length(parameters: Mapping[str, Any]) -> Failing:
    import pyarrow as pa

    out_of = _out_of(_bounds(parameters, pa.int32()))

    def marked(column: Any) -> Any:
        import pyarrow.compute as pc

        return out_of(pc.utf8_length(column))

    return marked


def _out_of(bounds: list[Bound]) -> Failing:
    def marked(column: Any) -> Any:
        import pyarrow.compute as pc

        extremes = _extremes(column)
        broken = [bound for bound in bounds if _any(bound.fails(extremes[bound.extreme]))]
        if not broken:
            return None
        masks = [pc.fill_null(bound.fails(column), False) for bound in broken]
        mask = masks[0] if len(masks) == 1 else pc.or_(*masks)
        return mask if pc.any(mask).as_py() else None

    return marked


def _extremes(column: pa.ChunkedArray) -> Any:
    """Return the minimum and maximum of the values that are neither NULL nor NaN.

    NumPy takes a tenth of Arrow's time where there are none.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    is_number = pa.types.is_floating(kind) or pa.types.is_integer(kind)
    if is_number and not column.null_count and len(column):
        values = [chunk.to_numpy() for chunk in column.chunks if len(chunk)]
        with np.errstate(invalid="ignore"):  # a signalling NaN
            low, high = np.min([v.min() for v in values]), np.max([v.max() for v in values])
        if not np.isnan(low):
            return {"min": pa.scalar(low, kind), "max": pa.scalar(high, kind)}
    return pc.min_max(column)


def _any(value: Any) -> bool:
    return bool(value.as_py())


def _bounds(parameters: Mapping[str, Any], kind: pa.DataType) -> list[Bound]:
    import pyarrow as pa

    bounds = []
    for name, value in parameters.items():
        comparison, rounding, extreme = _ORDER[name]
        bound: Any = value
        if pa.types.is_integer(kind) or pa.types.is_decimal(kind):
            bound = _snapped(value, kind, rounding)
            smallest, largest = _limits(kind)
            if not smallest <= bound <= largest:
                if (bound > largest) == (extreme == "min"):  # beyond every value: all fail
                    bounds.append(Bound(comparison, None, extreme))
                continue
            bound = _typed(bound, kind)
        else:
            bound = float(value) if pa.types.is_floating(kind) else _read(value, kind)
        bounds.append(Bound(comparison, pa.scalar(bound, kind), extreme))
    return bounds


def _snapped(value: float, kind: pa.DataType, rounding: str) -> Decimal:
    """Return the number rounded to what a column of whole or decimal numbers can hold."""
    scale = getattr(kind, "scale", 0)
    scaled = Decimal(str(value)).scaleb(scale, _EXACT).to_integral_value(rounding)
    return scaled.scaleb(-scale, _EXACT)


def _limits(kind: pa.DataType) -> tuple[Decimal, Decimal]:
    import pyarrow as pa

    if pa.types.is_decimal(kind):
        most = (Decimal(10) ** kind.precision - 1).scaleb(-kind.scale, _EXACT)
        return -most, most
    bits = kind.bit_width - 1
    return Decimal(-(2**bits)), Decimal(2**bits - 1)


def _typed(value: Decimal, kind: pa.DataType) -> int | Decimal:
    import pyarrow as pa

    return value if pa.types.is_decimal(kind) else int(value)


def _read(value: Any, kind: pa.DataType) -> Any:
    """Return a text of the contract as a value of the column."""
    reader = TIMES.get(sql_name(kind))
    return value if reader is None else reader(value)
