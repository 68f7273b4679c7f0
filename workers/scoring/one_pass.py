"""Several outputs of one estimator from one pass over the rows."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any

from workers.scoring.lookups import stand_in


@functools.cache
def shared_methods() -> Mapping[type, str]:
    """The method from which alone `predict`, `predict_proba` and `decision_function` follow.

    Read in scikit-learn 1.9, for exactly these classes. Each of the outputs calls it once with the
    X it was given and looks at nothing else of X, so ties and rounding stay the estimator's own.
    """
    from sklearn.ensemble import (
        ExtraTreesClassifier,
        GradientBoostingClassifier,
        HistGradientBoostingClassifier,
        RandomForestClassifier,
    )
    from sklearn.linear_model import LogisticRegression
    from sklearn.naive_bayes import GaussianNB

    return {
        # linear_model._base.LinearClassifierMixin.predict: its sign or argmax;
        # linear_model._logistic.LogisticRegression.predict_proba: its expit or softmax.
        LogisticRegression: "decision_function",
        # ensemble._gb.GradientBoostingClassifier.predict, .predict_proba
        GradientBoostingClassifier: "decision_function",
        # ensemble._forest.ForestClassifier.predict: the argmax of predict_proba
        RandomForestClassifier: "predict_proba",
        ExtraTreesClassifier: "predict_proba",
        # ensemble._hist_gradient_boosting: predict, predict_proba and decision_function
        HistGradientBoostingClassifier: "_raw_predict",
        # naive_bayes._BaseNB.predict, .predict_proba by predict_log_proba
        GaussianNB: "_joint_log_likelihood",
    }


def answers(estimator: Any, X: Any, methods: Iterable[str]) -> dict[str, Any]:
    """Return what each of the estimator's methods gives for X."""
    wanted = list(methods)
    shared = shared_methods().get(type(estimator))
    if shared and len(wanted) > 1 and "transform" not in wanted:
        estimator = stand_in(estimator, **{shared: _once(getattr(estimator, shared))})
    return {method: getattr(estimator, method)(X) for method in wanted}


def _once(method: Any) -> Any:
    """Return `method` as one that is called once; every caller gets a copy, to write into."""
    found: list[Any] = []

    def call(X: Any) -> Any:
        if not found:
            found.append(method(X))
        value = found[0]
        return [v.copy(order="K") for v in value] if isinstance(value, list) else value.copy("K")

    return call


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
