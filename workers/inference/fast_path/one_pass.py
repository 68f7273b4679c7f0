"""Several outputs of one estimator from one pass over the rows."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any

from workers.inference.fast_path.scikit import stand_in


@functools.cache
def shared_methods() -> Mapping[type, str]:
    """Return by class the one method that determines all of `answers`' outputs.

    Read in scikit-learn 1.9, for exactly these classes. Each of `predict`, `predict_proba` and
    `decision_function` calls it once with the X it was given and looks at nothing else of X, so
    ties and rounding stay the estimator's own.
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
    results: list[Any] = []

    def call(X: Any) -> Any:
        if not results:
            results.append(method(X))
        value = results[0]
        return [v.copy(order="K") for v in value] if isinstance(value, list) else value.copy("K")

    return call
