"""Tell from the counts of a batch's columns how many of its rows fail a clause of a contract.

The columns are counted anyway, to be compared with the training data, and a drafted clause asks
for the same bounds and values as their bins.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mlsys.artifact.contract import COMPARED, Clause
from mlsys.columns.bins import CATEGORY, NUMBER, Bins, Counts
from workers.monitoring.contract_checks import Bound, bounds_of

if TYPE_CHECKING:
    import pyarrow as pa

Known = Callable[[Counts], int | None]  # how many rows fail, or None if the counts do not tell

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "less": operator.lt,
    "less_equal": operator.le,
    "greater": operator.gt,
    "greater_equal": operator.ge,
}
_EXACT = 2**53  # whole numbers below are exact as floats


def known(clause: Clause, kind: pa.DataType, bins: Bins) -> Known | None:
    """Return what reads the clause's failing rows off the counts of its column, of type `kind`.

    None: it has to look at the values.
    """
    import pyarrow as pa

    if clause.check == "not_null":
        return lambda counts: counts.missing
    if clause.check in ("isin", "notin") and bins.kind == CATEGORY and pa.types.is_string(kind):
        return _of_values(clause, bins)
    if clause.check in (*COMPARED, "in_range") and kind in (pa.int64(), pa.float64()):
        rounded = pa.types.is_integer(kind) and _has_floats(bins)
        return _of_bounds(bounds_of(clause, kind), bins, rounded=rounded)
    return None


def _of_values(clause: Clause, bins: Bins) -> Known:
    values, within = set(clause.parameters["values"]), clause.check == "notin"
    failing = [i for i, value in enumerate(bins.values) if (value in values) == within]
    complete = values <= set(bins.values)  # so that none of the other values is listed

    def number(counts: Counts) -> int | None:
        if counts.other and not complete:
            return None
        return sum(counts.bins[i] for i in failing) + (0 if within else counts.other)

    return number


def _of_bounds(bounds: list[Bound], bins: Bins, *, rounded: bool) -> Known | None:
    if any(bound.value is None for bound in bounds):
        return None
    limits = [(_COMPARE[b.comparison], b.comparison, b.extreme, b.value.as_py()) for b in bounds]

    def number(counts: Counts) -> int | None:
        low, high = counts.minimum, counts.maximum
        if low is None:
            return 0
        if rounded and max(-low, high) >= _EXACT:
            return None
        failing = 0
        for compare, comparison, extreme, value in limits:
            if not compare(low if extreme == "min" else high, value):
                continue
            if bins.kind == NUMBER and comparison == "less" and value == bins.edges[0]:
                failing += counts.below
            elif bins.kind == NUMBER and comparison == "greater" and value == bins.edges[-1]:
                failing += counts.above
            else:
                return None
        return failing

    return number


def _has_floats(bins: Bins) -> bool:
    """Return whether whole numbers are counted as floats (`mlsys.columns.bins.count`)."""
    return any(isinstance(value, float) for value in (*bins.edges, *bins.values))
