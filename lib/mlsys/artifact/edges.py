"""The edges of a training column's bins: where hardly a row of the same data crosses one.

A table may hold a float of the training data as float32. Where many rows have one value, an edge
lies between that value and the next one.
"""

from __future__ import annotations

import itertools
import math
import sys
from typing import TYPE_CHECKING, Any

from mlsys.columns.bins import scalar

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

DECILES = 10
DIGITS = (4, 6, 9, 19)  # of an edge between bins: as few as move hardly a row
NEAR = 7e-8  # as a share: a value that was rounded to float32 is nearer, by 2^-24 at most


def edges_of(values: np.ndarray, kind: pa.DataType, precision: float) -> tuple[Any, ...]:
    """Return the edges of about ten bins with as many rows each, from the minimum to the maximum.

    Between these they are rounded to as few digits as move hardly a row. With `precision` each is
    that much beyond the value that it is made of.
    """
    import numpy as np
    import pyarrow as pa

    values = np.sort(values)
    quantiles = np.quantile(values, np.linspace(0, 1, DECILES + 1), method="lower")
    low, high = quantiles[0], quantiles[-1]
    inner = np.unique(quantiles[1:-1])
    inner = inner[inner < high]
    if pa.types.is_temporal(kind):
        return tuple(scalar(np.int64(edge), kind) for edge in (low, *inner, high))
    between = {}
    if precision:
        low, high = _beyond(low, -precision), _beyond(high, precision)
        if values.dtype.kind == "f":
            inner = inner + precision * np.abs(inner)
    else:
        between = {
            i: edge for i, e in enumerate(inner) if (edge := _between(e, values)) is not None
        }
        low, high = (
            _beyond(edge, share) if _is_crossed(edge, values) else edge
            for edge, share in ((low, -NEAR), (high, NEAR))
        )
    return (number(low), *_rounded(inner, between, values, low, high), number(high))


def number(value: Any, digits: int = 19) -> int | float:
    """Return a number rounded to `digits`, in the shortest form that JSON has: 14 for 14.0."""
    plain = value.item() if hasattr(value, "item") else value
    if isinstance(plain, int):
        lost = len(str(abs(plain))) - digits
        return plain if lost <= 0 else round(plain, -lost)
    rounded = float(f"{plain:.{digits}g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 2**53 else rounded


def _beyond(edge: Any, share: float) -> int | float:
    """Return an outer edge moved outwards by a share of it; a whole number stays one."""
    plain = edge.item()
    moved = plain + share * abs(plain)
    if isinstance(plain, int):
        return max(-(2**63), min(2**63 - 1, math.floor(moved) if share < 0 else math.ceil(moved)))
    return max(-sys.float_info.max, min(sys.float_info.max, moved))


def _is_crossed(edge: Any, values: np.ndarray) -> bool:
    """Return whether over 1 % of the rows have the edge's value, and float32 does not hold it."""
    import numpy as np

    first, last = np.searchsorted(values, edge), np.searchsorted(values, edge, side="right")
    with np.errstate(over="ignore"):
        return last - first > max(1, len(values) // 100) and np.float32(edge) != edge


def _between(edge: Any, values: np.ndarray) -> int | float | None:
    """Return the shortest number between the edge's value and the next one, if rows would cross it.

    None: they would not, or the next value is as near as its float32.
    """
    import numpy as np

    if not _is_crossed(edge, values):
        return None
    low, high = edge.item(), values[np.searchsorted(values, edge, side="right")].item()
    middle = low + (high - low) // 2 if isinstance(low, int) else low / 2 + high / 2
    least, most = low + NEAR * abs(low), high - NEAR * abs(high)
    choices = (number(middle, digits) for digits in range(1, 20))
    return next((choice for choice in choices if least < choice < most), None)


def _rounded(
    inner: np.ndarray, between: dict[int, int | float], values: np.ndarray, low: Any, high: Any
) -> list[Any]:
    """Return the inner edges, rounded but for those of `between`, by their places."""
    import numpy as np

    before = np.searchsorted(values, inner, side="right")
    edges: list[Any] = []
    for digits in DIGITS:
        edges = [between.get(i, number(edge, digits)) for i, edge in enumerate(inner)]
        after = np.array([np.count_nonzero(values <= edge) for edge in edges])
        apart = all(a < b for a, b in itertools.pairwise(edges))
        inside = not edges or (low <= edges[0] and edges[-1] < high)
        if apart and inside and (np.abs(after - before) <= len(values) // 100).all():
            break
    return edges
