"""Compare two answers of a model bit by bit."""

from __future__ import annotations

from typing import Any


def same_bits(one: Any, other: Any) -> bool:
    """Tell whether two answers are the same: type, shape, dtype and every bit."""
    import numpy as np
    from scipy import sparse

    if type(one) is not type(other):
        return False
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same_bits, one, other))
    if sparse.issparse(one):
        return one.shape == other.shape and all(
            same_bits(getattr(one, part), getattr(other, part))
            for part in ("indptr", "indices", "data")
        )
    one, other = np.asarray(one), np.asarray(other)
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if one.dtype.hasobject:
        return [_bits(v) for v in one.ravel()] == [_bits(v) for v in other.ravel()]
    return one.tobytes() == other.tobytes()


def _bits(value: Any) -> tuple[type, Any]:
    return type(value), value.hex() if isinstance(value, float) else value  # NaN equals no NaN
