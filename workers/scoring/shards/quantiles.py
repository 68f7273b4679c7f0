"""Exact quantiles and sums of more numbers than fit into memory, in whatever order they come.

A quantile is the smallest number at which the share of numbers up to it is reached, as in
BigQuery's PERCENTILE_DISC: one of the numbers, never a mean of two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

IN_MEMORY = 4_000_000  # numbers; 32 MB
_BITS = 16  # of a number, by which one pass divides those that are left
_SMALLEST = 1074  # every finite float is a multiple of 2**-1074


def rank(share: Fraction, count: int) -> int:
    """Return which of `count` sorted numbers, from 0 on, is the quantile of `share`.

    >>> [rank(Fraction(share, 100), 10) for share in (0, 10, 11, 50, 100)]
    [0, 0, 1, 4, 9]
    """
    return max(0, -(-share.numerator * count // share.denominator) - 1)


def select(
    passes: Callable[[], Iterable[np.ndarray]], count: int, ranks: Iterable[int]
) -> dict[int, float]:
    """Return the numbers at `ranks`, from 0 on, of the `count` finite numbers in sorted order.

    Each call of `passes` yields all of them, in any order and any pieces. The memory is bounded:
    a pass counts the numbers by their next 16 bits, until those that may be meant fit into it.
    """
    import numpy as np

    wanted = dict.fromkeys(ranks, 0)  # the first bits of the number at each rank, as far as known
    before = dict.fromkeys(wanted, 0)  # how many numbers have smaller first bits
    known, left = 0, count
    while known < 64 and left > IN_MEMORY:
        shift = 64 - known - _BITS
        counts = {prefix: np.zeros(2**_BITS, np.int64) for prefix in set(wanted.values())}
        for numbers in passes():
            keys = _keys(numbers)
            for prefix, counted in counts.items():
                some = _of_prefix(keys, prefix, known) >> np.uint64(shift)
                bits = (some & np.uint64(2**_BITS - 1)).astype(np.int64)
                counted += np.bincount(bits, minlength=2**_BITS)
        sizes = {}
        for place, prefix in wanted.items():
            totals = np.cumsum(counts[prefix])
            digit = int(np.searchsorted(totals, place - before[place], side="right"))
            before[place] += int(totals[digit - 1]) if digit else 0
            wanted[place] = (prefix << _BITS) | digit
            sizes[wanted[place]] = int(counts[prefix][digit])
        known, left = known + _BITS, sum(sizes.values())
    if known == 64:
        return {place: _number(prefix) for place, prefix in wanted.items()}
    held: dict[int, list[np.ndarray]] = {prefix: [] for prefix in set(wanted.values())}
    for numbers in passes():
        keys = _keys(numbers)
        for prefix, pieces in held.items():
            pieces.append(_of_prefix(keys, prefix, known))
    found: dict[int, float] = {}
    for prefix, pieces in held.items():
        places = [place for place in wanted if wanted[place] == prefix]
        offsets = [place - before[place] for place in places]
        ordered = np.partition(np.concatenate(pieces), offsets)
        found |= {p: _number(int(ordered[o])) for p, o in zip(places, offsets, strict=True)}
    return found


def exact_sums(numbers: np.ndarray) -> tuple[int, int]:
    """Return the exact sums of finite floats: of those above zero, and of the others' sizes.

    They are in units of 2**-1074, so that sums can be added up in any order.

    >>> import numpy as np
    >>> above, below = exact_sums(np.array([1e100, 1.5, -1e100]))
    >>> float(Fraction(above - below, 2**1074))
    1.5
    """
    import numpy as np

    bits = np.ascontiguousarray(numbers, np.float64).view(np.int64)
    exponents, digits = (bits >> 52) & 0xFFF, bits & (2**52 - 1)  # the sign is an exponent's bit
    counts = np.bincount(exponents)
    # In two halves: the floats of their sums are exact.
    high = np.bincount(exponents, digits >> 26)
    low = np.bincount(exponents, digits & (2**26 - 1))
    sums = [0, 0]
    for place in np.flatnonzero(counts).tolist():
        exponent = place & 0x7FF
        leading = int(counts[place]) << 52 if exponent else 0  # the smallest floats have none
        digit_sum = leading + (int(high[place]) << 26) + int(low[place])
        sums[place >> 11] += digit_sum << max(exponent - 1, 0)
    return sums[0], sums[1]


def mean(total: int, count: int) -> float:
    """Return the mean of `count` numbers whose `exact_sums` give the total, rounded once."""
    return float(Fraction(total, count << _SMALLEST))


def quantiles(
    passes: Callable[[], Iterable[np.ndarray]], count: int, shares: Sequence[Fraction]
) -> list[float]:
    """Return the quantiles of the `count` numbers, one for each share."""
    places = [rank(share, count) for share in shares]
    selected = select(passes, count, places)
    return [selected[place] for place in places]


def _keys(numbers: np.ndarray) -> np.ndarray:
    """Return unsigned integers in the order of the floats."""
    import numpy as np

    bits = np.ascontiguousarray(numbers, np.float64).view(np.uint64)
    negative = bits >> np.uint64(63)
    return bits ^ np.where(negative, np.uint64(2**64 - 1), np.uint64(2**63))


def _number(key: int) -> float:
    """Return the float of a key."""
    import numpy as np

    bits = key ^ 2**63 if key >> 63 else key ^ (2**64 - 1)
    return float(np.array([bits], np.uint64).view(np.float64)[0])


def _of_prefix(keys: np.ndarray, prefix: int, known: int) -> np.ndarray:
    """Return the keys whose first `known` bits are `prefix`."""
    import numpy as np

    if known == 0:
        return keys
    return keys[keys >> np.uint64(64 - known) == np.uint64(prefix)]
