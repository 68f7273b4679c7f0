"""A model's answers as the text of a STRING column."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


def texts(values: np.ndarray) -> pa.Array:
    """Return the n values as an array of n texts, with NULL for None, NaN, NaT and NA."""
    import pandas as pd
    import pyarrow as pa

    pairs = zip(values, pd.isna(values), strict=True)
    return pa.array([None if missing else str(value) for value, missing in pairs], pa.string())
