"""Rows in the order of their leaves in an ensemble's first tree.

At each node of a tree the processor guesses which way the row goes, and waits where it guessed
wrong. Rows that end in one leaf of the first tree go alike in most of the others, so one after the
other they are guessed right more often. A row's answer depends only on that row, so the answers,
put back into their places, have the same bits. Figures: docs/decisions/0025.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workers.inference.fast_path.scikit import known

if TYPE_CHECKING:
    import numpy as np

WORTH_TREES = 10  # walking one more, and sorting, gains nothing for fewer


def leaf_order(estimator: Any, X: Any) -> np.ndarray | None:
    """Return the order in which to pass the n rows of X, or None if their own order will do.

    The order holds the n row numbers; X may be an array or a CSR matrix. Raises what the estimator
    does.
    """
    import numpy as np

    if type(estimator) in known()["forests"] and len(estimator.estimators_) >= WORTH_TREES:
        leaves = estimator.estimators_[0].apply(X)
        # Few leaves fit 16 bits, which are sorted by radix.
        return np.argsort(leaves.astype(np.min_scalar_type(leaves.max())), kind="stable")
    if type(estimator) in known()["boosted"] and _stages(estimator) >= WORTH_TREES:
        staged = getattr(estimator, "staged_decision_function", None) or estimator.staged_predict
        first = next(staged(X))  # the first tree's output; the others are not evaluated
        return np.argsort(first if first.ndim == 1 else first[:, 0], kind="stable")
    return None


def reorder(X: Any, order: np.ndarray) -> Any:
    """Return the rows of X in that order, an array's with each row in one piece."""
    import numpy as np

    return np.take(X, order, axis=0) if isinstance(X, np.ndarray) else X[order]


def put_back(answers: Any, order: np.ndarray) -> Any:
    """Return the answers for rows that were reordered, one for each row, in the rows' places."""
    import numpy as np

    if isinstance(answers, list):  # one array for each of several outputs
        return [put_back(given, order) for given in answers]
    back = np.empty_like(answers)
    back[order] = answers
    return back


def _stages(estimator: Any) -> int:
    return estimator.n_iter_ if hasattr(estimator, "n_iter_") else estimator.n_estimators_
