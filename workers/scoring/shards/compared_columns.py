"""Two columns of predictions compared: pairs of labels, or the differences of numbers, counted.

Nothing depends on the order of the rows or on how they are split into parts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from workers.scoring.planning.plan import Pair
from workers.scoring.shards.quantiles import IN_MEMORY, exact_sums, mean, quantiles
from workers.scoring.shards.rejects import plain, short

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

MAX_PAIRS = 10_000  # of labels that are counted; beyond it the report lacks the confusion
PAIR_BYTES = 250  # of memory, about, if the labels are short
MAX_SHOWN_PAIRS = 400  # of labels, the most frequent ones
SHARES = ("0", "0.01", "0.05", "0.25", "0.5", "0.75", "0.95", "0.99", "1")


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

    def merge(self, other: Labels) -> None:
        """Add what another part counted."""
        self.rows += other.rows
        self.equal += other.equal
        if self._pairs is None or other._pairs is None:
            self._pairs = None
            return
        self._pairs.update(other._pairs)
        if len(self._pairs) > MAX_PAIRS:
            self._pairs = None

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        return PAIR_BYTES * len(self._pairs or ())

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
        above, below = exact_sums(finite)
        self._sum += above - below
        self._sum_of_sizes += above + below
        sizes = np.abs(found)
        sizes[np.isnan(sizes)] = np.inf
        self._most = max(self._most, float(sizes.max(initial=0.0, where=is_finite)))
        if self._held is not None:
            self._held.append(finite)
            if self.compared > IN_MEMORY:
                self._held = None
        return sizes

    def merge(self, other: Numbers) -> None:
        """Add what another part counted."""
        self.rows += other.rows
        self.equal += other.equal
        self.compared += other.compared
        self._sum += other._sum
        self._sum_of_sizes += other._sum_of_sizes
        self._most = max(self._most, other._most)
        if self._held is None or other._held is None or self.compared > IN_MEMORY:
            self._held = None
        else:
            self._held += other._held

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        return sum(numbers.nbytes for numbers in self._held or ())

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
