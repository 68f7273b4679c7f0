"""Recognize identifiers among training columns of whole numbers: each run has new ones."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

MIN_ROWS = 30
MOST_REPEATED = 0.05  # share of the rows: a join may have repeated some
CHANCE = 1e-5
EXACT = 2.0**53  # whole numbers below are exact as floats


def looks_like_identifier(values: np.ndarray) -> bool:
    """Return whether nearly every row has a whole number of its own, which is not chance.

    It is not where the numbers rise or fall from each row to the next. Nor is it where independent
    numbers from the same range would repeat: 700 row numbers of 1 to 891 do not, 700 ages do. Each
    of 1,000 incomes may differ too, but they come from a range where 1,000 numbers hardly meet.
    `values` are in the rows' order.
    """
    import numpy as np

    rows = len(values)
    if rows < MIN_ROWS or not _are_whole(values):
        return False
    repeated = rows - len(np.unique(values))
    if repeated > MOST_REPEATED * rows:
        return False
    before, after = values[:-1], values[1:]
    if (after > before).all() or (after < before).all():
        return True
    # Pairs of equal numbers, of Poisson's distribution. Any that is not uniform has more of them.
    expected = rows * (rows - 1) / 2 / (int(values.max()) - int(values.min()) + 1)
    if repeated >= expected:
        return False
    likely = repeated * math.log(repeated / expected) if repeated else 0.0
    return expected - repeated + likely > -math.log(CHANCE)


def _are_whole(values: np.ndarray) -> bool:
    """Return whether all values are whole numbers, floats of them because of missing values."""
    import numpy as np

    if values.dtype.kind != "f":
        return True
    return bool(((values == np.trunc(values)) & (np.abs(values) < EXACT)).all())
