"""The first unfitted part of a model."""

from __future__ import annotations

from typing import Any


def not_fitted(model: Any) -> str | None:
    """Return the class name of the first estimator of `model` that is not fitted, or None.

    Each step of a Pipeline is checked: scikit-learn's own check covers only the last one.
    Estimators that need no fit count as fitted. So do estimators outside scikit-learn without
    `__sklearn_is_fitted__`, because only the convention of a trailing underscore would tell.
    """
    from sklearn.exceptions import NotFittedError
    from sklearn.pipeline import Pipeline
    from sklearn.utils.validation import check_is_fitted

    left = [model]
    while left:
        estimator = left.pop()
        if isinstance(estimator, Pipeline):
            left += [step for _, step in reversed(estimator.steps) if hasattr(step, "fit")]
            continue
        if not _can_check(estimator) or _needs_no_fit(estimator):
            continue
        try:
            check_is_fitted(estimator)
        except NotFittedError:
            return type(estimator).__name__
        except Exception:  # a state may be anything; other checks call predict
            continue
    return None


def _can_check(estimator: Any) -> bool:
    """Return whether scikit-learn's check is reliable for the estimator."""
    own = type(estimator).__module__.partition(".")[0] == "sklearn"
    return hasattr(estimator, "fit") and (own or hasattr(estimator, "__sklearn_is_fitted__"))


def _needs_no_fit(estimator: Any) -> bool:
    from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
    from sklearn.feature_selection import SelectFromModel

    if isinstance(estimator, CountVectorizer) and not isinstance(estimator, TfidfVectorizer):
        return estimator.vocabulary is not None
    return isinstance(estimator, SelectFromModel) and bool(estimator.prefit)
