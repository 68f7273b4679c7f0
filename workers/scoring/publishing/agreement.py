"""How far two models agree on the same rows: counts, exact figures, and the rows that differ most.

Nothing depends on the order of the rows or on how they are split into parts, so that the report of
a run is that of a join of two runs, bit for bit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from workers.scoring.planning.plan import Pair
from workers.scoring.publishing.quantiles import IN_MEMORY, exact_sum, mean, quantiles
from workers.scoring.shards.rejects import plain, short

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

MOST_DIFFERENT = 50  # rows that are named
MAX_PAIRS = 10_000  # of labels that are counted; beyond it the report lacks the confusion
MAX_SHOWN_PAIRS = 400  # of labels, the most frequent ones
SHARES = ("0", "0.01", "0.05", "0.25", "0.5", "0.75", "0.95", "0.99", "1")

DIFFERENCE = "difference"


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one part that both models have scored: the compared columns, and their ids.

    `first` and `second` have the pairs' columns in their order; `ids` returns the id columns of the
    rows at which a mask is True.
    """

    first: Sequence[pa.ChunkedArray]
    second: Sequence[pa.ChunkedArray]
    count: int
    ids: Callable[[np.ndarray], pa.Table]


class Labels:
    """Two columns of labels: the pairs of labels, counted."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.rows = self.equal = 0
        self._pairs: Counter[tuple[Any, Any]] | None = Counter()

    def add(self, first: pa.ChunkedArray, second: pa.ChunkedArray) -> np.ndarray:
        """Count the rows, and return the difference of each: 0 or 1."""
        import numpy as np
        import pyarrow as pa

        codes = [_codes(array) for array in alike(first, second)]
        (one, one_labels), (two, two_labels) = codes
        table = pa.table({"a": one, "b": two}).group_by(["a", "b"]).aggregate([([], "count_all")])
        index = {_key(label): i for i, label in enumerate(two_labels)}
        same = np.array([index.get(_key(label), -1) for label in one_labels], np.int64)
        unequal = same[one] != two if len(one_labels) else np.zeros(0, bool)
        self.rows += len(one)
        self.equal += int(len(one) - unequal.sum())
        if self._pairs is not None:
            for row in table.to_pylist():
                labels = _key(one_labels[row["a"]]), _key(two_labels[row["b"]])
                self._pairs[labels] += row["count_all"]
            if len(self._pairs) > MAX_PAIRS:
                self._pairs = None
        return unequal.astype(np.float64)

    def report(self, _: Callable[[], Iterable[np.ndarray]]) -> dict[str, Any]:
        """Return the counts; the pairs of labels are in order of their rows."""
        known = self._pairs
        shown = sorted(known.items(), key=lambda item: (-item[1], str(item[0]))) if known else []
        return {
            "kind": "labels",
            "equal": self.equal,
            "agreement": self.equal / self.rows if self.rows else None,
            "confusion": None
            if known is None
            else [
                {"first": short(a), "shadow": short(b), "rows": rows}
                for (a, b), rows in shown[:MAX_SHOWN_PAIRS]
            ],
            "label_pairs": None if known is None else len(known),
        }


class Numbers:
    """Two columns of numbers: the differences, second less first."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.rows = self.equal = self.compared = 0
        self._sum = self._sum_of_sizes = 0
        self._most = 0.0
        self._held: list[np.ndarray] | None = []  # the differences, while they fit into memory

    def add(self, first: pa.ChunkedArray, second: pa.ChunkedArray) -> np.ndarray:
        """Count the rows, and return the size of each difference."""
        import numpy as np

        found = differences(first, second)
        is_finite = np.isfinite(found)
        finite = found if is_finite.all() else found[is_finite]
        self.rows += len(found)
        self.equal += int((found == 0).sum())
        self.compared += len(finite)
        above, below = exact_sum(finite[finite > 0]), exact_sum(finite[finite < 0])
        self._sum += above + below
        self._sum_of_sizes += above - below
        sizes = np.abs(found)
        sizes[np.isnan(sizes)] = np.inf
        self._most = max(self._most, float(sizes.max(initial=0.0, where=is_finite)))
        if self._held is not None:
            self._held.append(finite)
            if self.compared > IN_MEMORY:
                self._held = None
        return sizes

    def report(self, passes: Callable[[], Iterable[np.ndarray]]) -> dict[str, Any]:
        """Return the distribution; `passes` yields the finite differences again, part by part."""
        out: dict[str, Any] = {
            "kind": "numbers",
            "equal": self.equal,
            "not_finite": self.rows - self.compared,
            "mean": None,
            "mean_absolute": None,
            "max_absolute": None,
            "quantiles": None,
        }
        if not self.compared:
            return out
        held, shares = self._held, [Fraction(share) for share in SHARES]
        found = quantiles(passes if held is None else lambda: held, self.compared, shares)
        return out | {
            "mean": mean(self._sum, self.compared),
            "mean_absolute": mean(self._sum_of_sizes, self.compared),
            "max_absolute": self._most,
            "quantiles": dict(zip(SHARES, found, strict=True)),
        }


class MostDifferent:
    """The rows that differ most; of equal differences, those with the smallest ids."""

    def __init__(self, ids: Sequence[str]) -> None:
        self._ids = list(ids)
        self._rows: pa.Table | None = None

    def add(self, sizes: np.ndarray, rows: Rows) -> None:
        """Take the rows of one part; `sizes` are their differences."""
        import numpy as np
        import pyarrow as pa

        if not self._ids or not sizes.any():
            return
        least = self._least()
        candidates = sizes >= least if least > 0 else sizes > 0
        if candidates.sum() > MOST_DIFFERENT:
            highest = np.partition(sizes[candidates], -MOST_DIFFERENT)[-MOST_DIFFERENT]
            candidates &= sizes >= highest
        if not candidates.any():
            return
        table = rows.ids(candidates)
        places = pa.array(np.flatnonzero(candidates))
        columns = {f"id{i}": table.column(name) for i, name in enumerate(self._ids)}
        for side, arrays in (("first", rows.first), ("shadow", rows.second)):
            columns |= {f"{side}{i}": array.take(places) for i, array in enumerate(arrays)}
        found = pa.table(columns | {DIFFERENCE: pa.array(sizes[candidates])})
        if self._rows is not None:
            found = pa.concat_tables([self._rows, found])
        order = [(DIFFERENCE, "descending")]
        order += [(name, "ascending") for name in found.column_names if name != DIFFERENCE]
        self._rows = found.sort_by(order).slice(0, MOST_DIFFERENT).combine_chunks()

    def report(self, pairs: Sequence[Pair]) -> list[dict[str, Any]] | None:
        """Return the rows, the most different first, or None without id columns."""
        if not self._ids:
            return None
        rows = self._rows.to_pylist() if self._rows is not None else []
        return [
            {
                "ids": {name: short(plain(r[f"id{i}"])) for i, name in enumerate(self._ids)},
                "first": {p.first: short(plain(r[f"first{i}"])) for i, p in enumerate(pairs)},
                "shadow": {p.second: short(plain(r[f"shadow{i}"])) for i, p in enumerate(pairs)},
                "difference": plain(r[DIFFERENCE]),
            }
            for r in rows
        ]

    def _least(self) -> float:
        """Return the difference that a row needs at least to be among them."""
        if self._rows is None or self._rows.num_rows < MOST_DIFFERENT:
            return 0.0
        return float(self._rows.column(DIFFERENCE)[-1].as_py())


def compare(
    pairs: Sequence[Pair], ids: Sequence[str], parts: Callable[[], Iterable[Rows]]
) -> dict[str, Any]:
    """Return the report of the rows. Each call of `parts` yields all of them."""
    import numpy as np

    columns = [Labels(pair) if pair.labels else Numbers(pair) for pair in pairs]
    most = MostDifferent(ids)
    rows = equal = 0
    for part in parts():
        sizes = np.zeros(part.count)
        for column, first, second in zip(columns, part.first, part.second, strict=True):
            sizes = np.maximum(sizes, column.add(first, second))
        rows += part.count
        equal += int((sizes == 0).sum())
        most.add(sizes, part)

    def passes(place: int) -> Callable[[], Iterable[np.ndarray]]:
        def again() -> Iterable[np.ndarray]:
            for part in parts():
                found = differences(part.first[place], part.second[place])
                yield found[np.isfinite(found)]

        return again

    return {
        "rows": rows,
        "equal": equal,
        "agreement": equal / rows if rows else None,
        "columns": [
            {"column": column.pair.first, "shadow_column": column.pair.second}
            | column.report(passes(i))
            for i, column in enumerate(columns)
        ],
        "most_different": most.report(pairs),
    }


def differences(first: pa.ChunkedArray, second: pa.ChunkedArray) -> np.ndarray:
    """Return second less first; 0 where they are the same value, NULL and NaN too.

    It is not finite where only one of them is, or where it is too large for a float.
    """
    import numpy as np

    a, b = _floats(first), _floats(second)
    with np.errstate(all="ignore"):
        found = b - a
    found[(a == b) | (np.isnan(a) & np.isnan(b))] = 0.0
    return found


def alike(
    first: pa.ChunkedArray, second: pa.ChunkedArray
) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """Return two columns of labels in one type: their own, FLOAT64, or text."""
    import pyarrow as pa

    if first.type == second.type:
        return first, second
    numeric = all(
        pa.types.is_floating(t) or pa.types.is_integer(t) for t in (first.type, second.type)
    )
    kind = pa.float64() if numeric else pa.string()
    return first.cast(kind, safe=False), second.cast(kind, safe=False)


def _floats(column: pa.ChunkedArray) -> np.ndarray:
    import numpy as np
    import pyarrow as pa

    array = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return np.array(array, np.float64)


def _codes(column: pa.ChunkedArray) -> tuple[np.ndarray, list[Any]]:
    """Return the place of each row's label in the list of labels, and the list."""
    import pyarrow as pa

    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    encoded = array.dictionary_encode(null_encoding="encode")
    return encoded.indices.to_numpy(zero_copy_only=False), encoded.dictionary.to_pylist()


def _key(label: Any) -> Any:
    """Return a label as JSON has it, by which it is compared: each NaN is the same."""
    return plain(label)
