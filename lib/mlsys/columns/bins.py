"""Count a column's values in fixed bins: at upload over the training rows, in a run over its rows.

All counts are integers, so they add up to the same sum in any order and for any split of the rows.
Every value is counted. Comparing a whole column with each edge takes 0.2 ns a value and edge, where
a binary search for each value takes 24 ns (docs/decisions/0102).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Self

from mlsys.columns.coded import occurrences, whole
from mlsys.columns.decimals import floats_of

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

MOST = 2**63 - 1  # rows
NUMBER, CATEGORY, PLAIN = "number", "category", "plain"

type Scalar = int | float | str | bool


@dataclass(frozen=True, slots=True)
class Bins:
    """The bins of a column, by its `kind`.

    A `number` has edges in order: bin i holds edges[i] < x <= edges[i+1], the first one edges[0]
    too, so that two equal first edges make a bin of one value. The edges of DATE, TIME, DATETIME
    and TIMESTAMP columns are ISO texts. A `category` has a bin for each of its values. A `plain`
    column (identifiers, free text, BYTES) has none.
    """

    kind: str = PLAIN
    edges: tuple[Any, ...] = ()
    values: tuple[Scalar, ...] = ()

    @property
    def count(self) -> int:
        """The number of bins."""
        return len(self.values) if self.kind == CATEGORY else max(0, len(self.edges) - 1)

    @property
    def labels(self) -> tuple[str, ...]:
        """The bins' names: the category's value, or the interval, `(14, 19]`."""
        if self.kind == CATEGORY:
            return tuple(v if isinstance(v, str) else json.dumps(v) for v in self.values)
        pairs = enumerate(zip(self.edges, self.edges[1:], strict=False))
        return tuple(f"{'[' if i == 0 else '('}{low}, {high}]" for i, (low, high) in pairs)

    @property
    def id(self) -> str:
        """A checksum: the counts of two runs can be compared bin by bin if it is equal."""
        text = json.dumps([self.kind, self.edges, self.values], default=str)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """Return the bins as JSON values."""
        out: dict[str, Any] = {"kind": self.kind}
        out |= {"edges": list(self.edges)} if self.edges else {}
        return out | ({"values": list(self.values)} if self.kind == CATEGORY else {})

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """Read what `to_dict` gave.

        Raises:
            ValueError, TypeError, KeyError: it is not the bins of a column.
        """
        kind, edges, values = value["kind"], value.get("edges", ()), value.get("values", ())
        if kind not in (NUMBER, CATEGORY, PLAIN):
            raise ValueError(f"{kind!r} is not a kind of column")
        if not all(isinstance(e, str) for e in edges):
            if not all(isinstance(e, int | float) and not isinstance(e, bool) for e in edges):
                raise TypeError("edges must be numbers, or texts of dates or times")
        if list(edges) != sorted(edges) or (kind == NUMBER and len(edges) < 2):
            raise ValueError("edges must be in order, two at least")
        if not all(isinstance(v, int | float | str) for v in values):
            raise TypeError("values must be texts, numbers or booleans")
        return cls(kind, tuple(edges), tuple(values))


@dataclass(frozen=True, slots=True)
class Counts:
    """What is known of a column's rows, in a run or in a part of it.

    rows = nulls + nans + below + above + other + the sum of `bins`. `below` and `above` are outside
    a number's edges; `other` are values that a category does not list, and all values of a plain
    column. `minimum` and `maximum` are those of numbers, or ISO texts of dates and times.
    """

    rows: int = 0
    nulls: int = 0
    nans: int = 0
    below: int = 0
    above: int = 0
    other: int = 0
    bins: tuple[int, ...] = ()
    minimum: Any = None
    maximum: Any = None

    def __add__(self, more: Counts) -> Counts:
        """Return the counts of both; the order does not matter."""
        if self.bins and more.bins and len(self.bins) != len(more.bins):
            raise ValueError(f"{len(self.bins)} bins and {len(more.bins)} cannot be added")
        inner = tuple(map(operator.add, self.bins, more.bins))
        return Counts(
            self.rows + more.rows,
            self.nulls + more.nulls,
            self.nans + more.nans,
            self.below + more.below,
            self.above + more.above,
            self.other + more.other,
            inner or self.bins or more.bins,
            _either(min, self.minimum, more.minimum),
            _either(max, self.maximum, more.maximum),
        )

    @property
    def missing(self) -> int:
        """The rows without a value: a model sees NULL and NaN as the same."""
        return self.nulls + self.nans

    def to_dict(self) -> dict[str, Any]:
        """Return the counts as JSON values, without zeros."""
        out = {name: value for name in _SUMS if (value := getattr(self, name)) or name == "rows"}
        if self.bins:
            out["bins"] = list(self.bins)
        more = {"min": self.minimum, "max": self.maximum}
        return out | {name: value for name, value in more.items() if value is not None}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """Read what `to_dict` gave.

        Raises:
            ValueError, TypeError: they are not counts.
        """
        bins = tuple(value.get("bins", ()))
        sums = {name: value.get(name, 0) for name in _SUMS}
        if not all(type(n) is int and 0 <= n <= MOST for n in (*bins, *sums.values())):
            raise ValueError("counts must be whole numbers from 0 to 2^63 - 1")
        return cls(**sums, bins=bins, minimum=value.get("min"), maximum=value.get("max"))


_SUMS = [f.name for f in fields(Counts) if f.name not in ("bins", "minimum", "maximum")]


def nothing(bins: Bins) -> Counts:
    """Return the counts of no rows."""
    return Counts(bins=(0,) * bins.count)


def count(bins: Bins, column: pa.Array | pa.ChunkedArray) -> Counts:
    """Return the counts of a column's rows."""
    import pyarrow as pa

    array = whole(column) if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_dictionary(array.type) and is_ordered(array.type.value_type):
        array = array.dictionary_decode()
    rows, nulls = len(array), array.null_count
    if rows == nulls:
        return Counts(rows, nulls, bins=(0,) * bins.count)
    if not is_ordered(array.type):
        inner = occurrences(bins.values, array) if bins.kind == CATEGORY else ()
        other = rows - nulls - sum(inner)
        return Counts(rows, nulls, other=other, bins=inner or (0,) * bins.count)
    values = numbers(_filled(array) if nulls else array)
    if values.dtype.kind == "i" and any(isinstance(e, float) for e in (*bins.edges, *bins.values)):
        values = values.astype("float64")
    return _count_numbers(bins, values, array.type, rows, nulls)


def fits(bins: Bins, kind: pa.DataType) -> bool:
    """Return whether a column of the type can be counted in the bins."""
    import pyarrow as pa

    try:
        if bins.kind == CATEGORY and not is_ordered(kind):
            pa.array(bins.values, kind)
        elif bins.kind != PLAIN and not is_ordered(kind):
            return False
        else:
            edges_as(bins.edges, kind)
    except (pa.ArrowException, ValueError, TypeError):
        return False
    is_text = any(isinstance(v, str) for v in (*bins.edges, *bins.values))
    return not is_ordered(kind) or is_text == (bool(bins.edges) and pa.types.is_temporal(kind))


def is_ordered(kind: pa.DataType) -> bool:
    """Return whether values of the type are numbers, dates or times."""
    from pyarrow import types

    return (
        types.is_integer(kind)
        or types.is_floating(kind)
        or types.is_decimal(kind)
        or types.is_temporal(kind)
    )


def numbers(array: pa.Array) -> np.ndarray:
    """Return ordered values without NULLs as int64 or float64: dates as days, times in units."""
    import pyarrow as pa

    if pa.types.is_decimal(array.type):
        array = floats_of(array)
    elif pa.types.is_date(array.type) or pa.types.is_time32(array.type):
        array = array.cast(pa.int32())
    elif pa.types.is_temporal(array.type):
        array = array.cast(pa.int64())
    values = array.to_numpy(zero_copy_only=False)
    return values.astype("float64" if values.dtype.kind == "f" else "int64", copy=False)


def scalar(value: Any, kind: pa.DataType) -> Any:
    """Return a value of `numbers` as JSON has it: a number, or the ISO text of a date or time."""
    import pyarrow as pa

    number = value.item()
    if not pa.types.is_temporal(kind):
        return number + 0.0 if isinstance(number, float) else number  # -0.0 and 0.0 are equal
    if pa.types.is_date(kind) or pa.types.is_time32(kind):
        return pa.scalar(number, pa.int32()).cast(kind).as_py().isoformat()
    return pa.scalar(number, pa.int64()).cast(kind).as_py().isoformat()


def _count_numbers(
    bins: Bins, values: np.ndarray, kind: pa.DataType, rows: int, nulls: int
) -> Counts:
    import numpy as np

    is_true = np.empty(len(values), bool)

    def how_many(compare: Callable[..., Any], to: Any) -> int:
        return int(np.count_nonzero(compare(values, to, out=is_true)))

    missing, low, high = 0, values.min(), values.max()
    if low != low:  # a minimum is NaN if any value is
        missing = how_many(np.not_equal, values)
        low, high = np.fmin.reduce(values), np.fmax.reduce(values)
    extremes = {}
    if missing < len(values):
        extremes = {"minimum": scalar(low, kind), "maximum": scalar(high, kind)}
    below = above = 0
    inner: list[int] = []
    if bins.kind == CATEGORY:
        values, known = _comparable(values, bins.values)
        inner = [how_many(np.equal, value) for value in known]
    elif bins.kind == NUMBER:
        edges = edges_as(bins.edges, kind)
        below = 0 if low >= edges[0] else how_many(np.less, edges[0])
        valid = len(values) - missing
        sums = [
            valid if high <= edge else 0 if low > edge else how_many(np.less_equal, edge)
            for edge in edges[1:]
        ]
        inner = [n - before for n, before in zip(sums, [below, *sums], strict=False)]
        above = valid - sums[-1]
    other = len(values) - missing - below - above - sum(inner)
    nans = rows - nulls - (len(values) - missing)
    return Counts(rows, nulls, nans, below, above, other, tuple(inner), **extremes)


def _comparable(values: np.ndarray, known: tuple[Any, ...]) -> tuple[np.ndarray, Sequence[Any]]:
    """Return values and categories with fractions as float32, if the categories stay distinct.

    0.1 of training data in float32, 0.1 in FLOAT64 and a computed 0.1 differ in the last bits.
    """
    import numpy as np

    if values.dtype.kind != "f" or all(float(value).is_integer() for value in known):
        return values, known
    with np.errstate(over="ignore"):
        short = np.array(known, "float32").tolist()
        if len(set(short)) < len(known):
            return values, known
        return values.astype("float32"), short


def edges_as(edges: tuple[Any, ...], kind: pa.DataType) -> list[Any]:
    """Return edges as numbers that `numbers` of a column of type `kind` can be compared with."""
    import pyarrow as pa

    if edges and isinstance(edges[0], str):
        of = (
            dt.date
            if pa.types.is_date(kind)
            else dt.time
            if pa.types.is_time(kind)
            else dt.datetime
        )
        return numbers(pa.array([of.fromisoformat(edge) for edge in edges], kind)).tolist()
    return list(edges)


def _filled(array: pa.Array) -> pa.Array:
    """Return an array without its NULLs, or with NaN in their places, which is faster."""
    from pyarrow import types

    return array.fill_null(float("nan")) if types.is_float64(array.type) else array.drop_null()


def _either(choose: Callable[[Any, Any], Any], mine: Any, theirs: Any) -> Any:
    if mine is None or theirs is None:
        return theirs if mine is None else mine
    return choose(mine, theirs)
