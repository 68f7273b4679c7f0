"""The steps of a scikit-learn model that the fast path supports, and its two exceptions."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any


class NotCompiled(Exception):
    """Only scikit-learn itself can evaluate a part of the model; the message names it."""


class FallBack(Exception):
    """The batch must go to scikit-learn itself, which may raise on it."""


def stand_in(estimator: Any, **attributes: Any) -> Any:
    """Return an estimator that shares all with `estimator` but these attributes or methods."""
    other = object.__new__(type(estimator))
    other.__dict__.update(estimator.__dict__ | attributes)
    return other


@functools.cache
def known() -> dict[str, Any]:
    """Return the supported classes, each matched exactly: a subclass may do anything."""
    from sklearn import ensemble, linear_model, naive_bayes, neighbors, svm, tree
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import (
        FunctionTransformer,
        MaxAbsScaler,
        MinMaxScaler,
        OneHotEncoder,
        OrdinalEncoder,
        RobustScaler,
        StandardScaler,
    )

    def both(*names: str) -> tuple[type, ...]:
        return tuple(getattr(ensemble, n + kind) for n in names for kind in kinds)

    kinds = ("Classifier", "Regressor")
    forests = both("RandomForest", "ExtraTrees")
    boosted = both("GradientBoosting", "HistGradientBoosting")
    linear = "LinearRegression Ridge Lasso ElasticNet LogisticRegression RidgeClassifier".split()
    return {
        "columns": ColumnTransformer,
        "imputer": SimpleImputer,
        "encoders": (OneHotEncoder, OrdinalEncoder),
        # These begin with validate_data, which makes the array that Batch.numbers makes.
        "numeric": (
            *(SimpleImputer, StandardScaler, MinMaxScaler, MaxAbsScaler, RobustScaler),
            FunctionTransformer,
        ),
        "forests": forests,
        "boosted": boosted,  # their trees come in stages
        "estimators": (
            *forests,
            *boosted,
            *(getattr(tree, "DecisionTree" + k) for k in kinds),
            *(getattr(neighbors, "KNeighbors" + k) for k in kinds),
            *(getattr(linear_model, name) for name in linear),
            *(naive_bayes.GaussianNB, svm.SVC, svm.SVR, svm.LinearSVC, svm.LinearSVR),
        ),
    }


def steps_of(model: Any) -> list[Any]:
    """Return the steps of a Pipeline and of the Pipelines in it; else the model alone."""
    from sklearn.pipeline import Pipeline

    if type(model) is not Pipeline:
        return [model]
    *head, last = [step for _, step in model.steps]
    kept = [step for step in head if step is not None and step != "passthrough"]
    return [inner for step in [*kept, last] for inner in steps_of(step)]


def is_plain_passthrough(step: Any) -> bool:
    """Return False for a FunctionTransformer other than the one that "passthrough" becomes."""
    return not hasattr(step, "func") or (step.func is None and not step.validate)


def check_output(step: Any) -> None:
    """Raise NotCompiled for a step that returns frames."""
    from sklearn.utils._set_output import _get_output_config

    if _get_output_config("transform", step)["dense"] not in (None, "default"):
        raise NotCompiled(f"{name_of(step)} gives frames (set_output)")


def check_names(step: Any, names: Sequence[str]) -> None:
    """Raise NotCompiled for columns other than those of the training: scikit-learn reports it."""
    fitted = getattr(step, "feature_names_in_", names)
    if list(fitted) != list(names) or getattr(step, "n_features_in_", len(names)) != len(names):
        raise NotCompiled(f"{name_of(step)} was fitted on other columns")


def name_of(step: Any) -> str:
    """Return the name of a step's class, or the word in its place, such as "passthrough"."""
    return step if isinstance(step, str) else type(step).__name__
