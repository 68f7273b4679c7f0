"""The values that a model's methods give for a row: one, or one a class, label or feature.

scikit-learn has no one attribute for it, so it is read from what fitted estimators have. The rules
are tried on every estimator of scikit-learn in
tests/workers/scoring/planning/test_output_shapes.py.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlsys.errors import InvalidRequest

# Wrappers that answer as the estimator in this attribute does.
_INNER = {
    "FixedThresholdClassifier": "estimator_",
    "FrozenEstimator": "estimator",
    "RANSACRegressor": "estimator_",
    "RFE": "estimator_",
    "RFECV": "estimator_",
    "SelfTrainingClassifier": "estimator_",
    "StackingRegressor": "final_estimator_",
    "TunedThresholdClassifierCV": "estimator_",
}


@dataclass(frozen=True, slots=True)
class Value:
    """One of the values that a method gives a row: the words of its column's name, and its label.

    `label` is the class, component or feature as text; None if the method gives one value.
    """

    words: tuple[str, ...]
    label: str | None = None
    about: str = ""
    classes: int = 0  # how many of the last words are labels of classes or components


def probabilities(model: Any, names: Sequence[str]) -> list[Value]:
    """Return the values of `predict_proba`: one a class, for each of the outputs called `names`.

    A mixture has one a component, and a multilabel model the probability of each label.

    Raises:
        InvalidRequest: the model has no classes to name them by.
    """
    classes = getattr(model, "classes_", None)
    inner = innermost(model)
    if classes is None:
        weights = getattr(inner, "weights_", None)
        if not hasattr(inner, "n_components") or weights is None:
            raise InvalidRequest(
                (
                    "outputs",
                    f"{type(model).__name__} has no classes to name its predict_proba by: "
                    "pass other outputs, or set self.classes_ in its fit",
                )
            )
        return [Value(("probability", str(i)), str(i), "component", 1) for i in range(len(weights))]
    if not isinstance(classes, list):
        return [_class("probability", c) for c in classes]
    kind = type(inner).__name__
    _check_chain(inner, "predict_proba")
    # A chain gives the probability of its second class, a stack that of the first
    # (sklearn.multioutput, sklearn.ensemble._stacking).
    given = {"ClassifierChain": slice(1, 2), "StackingClassifier": slice(1)}.get(kind, slice(None))
    return [
        _class("probability", c, name)
        for name, own in zip(names, classes, strict=True)
        for c in own[given]
    ]


def decisions(model: Any, names: Sequence[str]) -> list[Value]:
    """Return the values of `decision_function`: one, or one a class if it has more than two.

    A multilabel model or a ClassifierChain has one a label. A support vector machine with
    decision_function_shape="ovo" has one for each pair of classes, in scikit-learn's order.
    """
    classes = getattr(model, "classes_", None)
    inner = innermost(model)
    if classes is None:
        return [Value(("decision",))]
    if isinstance(classes, list):
        _check_chain(inner, "decision_function")
        return [Value(("decision", name), name, "output") for name in names]
    if len(classes) <= 2 and not is_multilabel(inner):
        return [Value(("decision",))]
    if type(inner).__name__ == "StackingClassifier":
        inner = innermost(inner.final_estimator_)
    if getattr(inner, "decision_function_shape", None) == "ovo":
        texts = [str(c) for c in classes]
        pairs = [(a, b) for i, a in enumerate(texts) for b in texts[i + 1 :]]
        return [Value(("decision", a, b), f"{a} against {b}", "classes", 2) for a, b in pairs]
    return [_class("decision", c) for c in classes]


def scores(model: Any, names: Sequence[str]) -> list[Value]:
    """Return the value of `score_samples`: one a row."""
    return [Value(("score",))]


def features(model: Any, names: Sequence[str]) -> list[Value]:
    """Return the values of `transform`: one for each name that the model gives its features.

    Raises:
        InvalidRequest: it has no names for them.
    """
    from sklearn.preprocessing import LabelBinarizer, LabelEncoder

    for named in (model, innermost(model)):  # a search has no names, its best estimator may
        with contextlib.suppress(AttributeError, ValueError, TypeError):
            given = named.get_feature_names_out()
            return [Value(("transform", str(name)), str(name), "feature") for name in given]
    if isinstance(model, LabelEncoder | LabelBinarizer):
        listed = [str(c) for c in model.classes_]
        if isinstance(model, LabelEncoder) or len(listed) <= 2:
            return [Value(("transform",))]
        return [Value(("transform", c), c, "class") for c in listed]
    raise InvalidRequest(
        (
            "outputs",
            f"{type(model).__name__} cannot name what transform gives "
            "(get_feature_names_out): pass other outputs",
        )
    )


METHODS: Mapping[str, Callable[[Any, Sequence[str]], list[Value]]] = {
    "predict_proba": probabilities,
    "decision_function": decisions,
    "score_samples": scores,
    "transform": features,
}


def prediction_types(model: Any, count: int, seen: Sequence[str | None] = ()) -> list[str]:
    """Return the BigQuery type of each value that `predict` gives a row.

    `count` is their number, if it is known, and `seen` the types of the golden predictions: they
    tell the texts and flags of an estimator without `classes_`, which only code of its own can be.
    """
    from sklearn.utils import get_tags

    classes = getattr(model, "classes_", None)
    if classes is not None:
        if isinstance(classes, list):
            return [_class_type(c) for c in classes]
        if is_multilabel(innermost(model)):
            return [_class_type(classes)] * len(classes)  # a 0 or 1 a label
        return [_class_type(classes)] * max(1, count)
    try:
        kind = get_tags(model).estimator_type
    except (AttributeError, TypeError):  # it predicts, and is not a scikit-learn estimator
        kind = None
    if kind in ("clusterer", "outlier_detector", "density_estimator"):
        return ["INT64"]
    types = ["FLOAT64"] * (count if count > 1 else _regressions(innermost(model)))
    if len(seen) != len(types):
        return types
    told = ("STRING", "BOOL", "INT64") if kind == "classifier" else ("STRING", "BOOL")
    return [s if s is not None and s in told else "FLOAT64" for s in seen]


def innermost(model: Any) -> Any:
    """Return the estimator within searches, pipelines and other wrappers, in any order."""
    inner: Any = model
    outer: Any = None
    while inner is not outer:
        outer = inner
        inner = getattr(inner, "best_estimator_", inner)
        inner = getattr(inner, "regressor_", inner)
        inner = inner[-1] if hasattr(inner, "steps") else inner
        inner = getattr(inner, _INNER.get(type(inner).__name__, ""), inner)
    return inner


def is_multilabel(inner: Any) -> bool:
    """Return whether a row may have several of the model's classes."""
    binarizer = getattr(inner, "_label_binarizer", None)  # MLPClassifier's, RidgeClassifier's
    kind = str(getattr(binarizer, "y_type_", ""))
    return bool(getattr(inner, "multilabel_", False)) or kind.startswith("multilabel")


def _check_chain(inner: Any, method: str) -> None:
    """Check for what scikit-learn's ClassifierChain itself cannot do."""
    if type(inner).__name__ == "ClassifierChain" and any(len(c) != 2 for c in inner.classes_):
        raise InvalidRequest(
            (
                "outputs",
                f"ClassifierChain has {method} only where each output has two classes: pass "
                "outputs=predict",
            )
        )


def _class(word: str, label: Any, output: str | None = None) -> Value:
    if output is None:
        return Value((word, str(label)), str(label), "class", 1)
    return Value((word, output, str(label)), str(label), f"{output}: class", 1)


def _class_type(classes: Any) -> str:
    import numpy as np

    kind = np.asarray(classes).dtype.kind
    return {"b": "BOOL", "i": "INT64", "u": "INT64", "f": "FLOAT64"}.get(kind, "STRING")


def _regressions(inner: Any) -> int:
    """Return how many values a regressor predicts a row."""
    if hasattr(inner, "n_outputs_"):
        return int(inner.n_outputs_)
    kind = type(inner).__name__
    if kind in ("MultiOutputRegressor", "RegressorChain"):
        return len(inner.estimators_)
    if kind == "BaggingRegressor":
        return _regressions(innermost(inner.estimators_[0]))
    by_rows = {  # what was learnt, a row of training each
        "GaussianProcessRegressor": "y_train_",
        "KernelRidge": "dual_coef_",
        "KNeighborsRegressor": "_y",
        "RadiusNeighborsRegressor": "_y",
    }
    if kind in by_rows:
        shape = _shape(getattr(inner, by_rows[kind], None))
        return shape[1] if len(shape) == 2 else 1
    shape = _shape(getattr(inner, "coef_", None))
    return shape[0] if len(shape) == 2 else 1


def _shape(array: Any) -> tuple[int, ...]:
    return tuple(map(int, getattr(array, "shape", ())))
