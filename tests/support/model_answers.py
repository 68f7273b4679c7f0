"""Data to fit an estimator on, and the comparison of two models' answers."""

from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

ROWS = 30
X = np.random.RandomState(0).rand(ROWS, 4)
BINARY = np.tile([0, 1], ROWS // 2)
THREE = np.tile([0, 1, 2], ROWS // 3)
VALUES = X[:, 0] * 2 + X[:, 1]
BOTH = np.c_[VALUES, VALUES + 1]
TEXTS = [f"word{i % 5} and other {i % 3}" for i in range(ROWS)]
FRAME = pd.DataFrame(
    {
        "n": X[:, 0],
        "m": [None if i % 7 == 0 else float(i) for i in range(ROWS)],
        "s": [["a", "b", None][i % 3] for i in range(ROWS)],
        "c": pd.Categorical([["x", "y"][i % 2] for i in range(ROWS)]),
    }
)
# Candidate training data; the first that an estimator accepts is used.
DATA: list[tuple[Any, Any]] = [
    (X, THREE),
    (X, BINARY),
    (X, VALUES),
    (X, None),
    (X, np.c_[BINARY, 1 - BINARY]),
    (X, BOTH),
    (X[:, 0], VALUES),
    (X[:, :3], None),
    (X @ X.T, BINARY),
    (TEXTS, None),
    (THREE, None),
    ([["a", "b"], ["b", "c"]] * 3, None),
    ([{"a": 1, "b": 2.0}] * 4, None),
]
METHODS = ("predict", "predict_proba", "decision_function", "transform", "score_samples")


def fit(model: Any) -> tuple[Any, Any]:
    """Fit the model, and return it with its training data."""
    for data, target in DATA:
        try:
            return (model.fit(data) if target is None else model.fit(data, target)), data
        except Exception:
            continue
    raise AssertionError(f"nothing fits {model!r}")


def answers(model: Any, data: Any) -> dict[str, Any]:
    """Return the model's answers by method, with the same random numbers each time."""
    found: dict[str, Any] = {}
    for name in METHODS:
        if hasattr(model, name):
            np.random.seed(0)
            try:
                found[name] = getattr(model, name)(data)
            except (ValueError, TypeError, AttributeError) as exc:
                found[name] = type(exc).__name__
    return found


def same(a: Any, b: Any) -> bool:
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if sparse.issparse(a):
        return (a != b).nnz == 0 and a.dtype == b.dtype
    left, right = np.asarray(a), np.asarray(b)
    if left.dtype.kind in "fc":
        return left.dtype == right.dtype and np.array_equal(left, right, equal_nan=True)
    return left.dtype == right.dtype and np.array_equal(left, right)
