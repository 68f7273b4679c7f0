"""Checks of the values that scikit-learn calls: estimators, names of methods, functions.

`stack_method_` is called as `getattr(estimator, name)(X)`, with any object in `estimators_`. So an
estimator's attribute may hold only estimators, a method's name is one of `METHODS`, parameters meet
scikit-learn's own constraints, and functions are only in attributes for functions.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any

from mlsys.safe_pickle import arguments, losses
from mlsys.safe_pickle.functions import is_function, is_own
from mlsys.safe_pickle.handles import UnsafePickle, need
from mlsys.safe_pickle.parameters import (
    FUNCTIONS,
    NAMES_OF_METHODS,
    check_parameters,
    parameters_of,
)
from mlsys.safe_pickle.sizes import check_numbers

METHODS = frozenset(
    "auto predict predict_proba predict_log_proba decision_function transform score_samples".split()
)
REQUESTS = METHODS | frozenset(
    "fit partial_fit score split inverse_transform fit_transform fit_predict".split()
)
# Where an estimator, or a word such as "drop", is expected.
ONE = frozenset(
    "estimator estimator_ base_estimator base_estimator_ _estimator final_estimator "
    "final_estimator_ best_estimator_ regressor regressor_ classifier transformer transformer_ "
    "initial_imputer_ _label_binarizer label_binarizer_ _encoder one_hot_encoder_ init_ "
    "_preprocessor nbrs_ kernel_pca_ _tfidf _mlb _hasher _bin_mapper init_estimator_ _centerer "
    "_label_encoder _scaler indicator_ le_ nn_fit".split()
)
# Where estimators are expected, maybe with names and columns.
MANY = frozenset(
    "estimators estimators_ steps transformers transformers_ transformer_list named_estimators_ "
    "calibrated_classifiers_ calibrators _predictors imputation_sequence_ pipelines_".split()
)
# Attributes in which scikit-learn itself keeps callable objects.
CALLABLES = frozenset("_base_loss base_loss _curve_scorer _loss cv f_ k1 k2 kernel_ owner".split())
KERNELS = frozenset("k1 k2 kernel_".split())
# Not estimators, although an estimator's attribute may hold them.
HELPERS = frozenset("_CalibratedClassifier TreePredictor".split())
# Objects in estimators that call nothing and may contain one another.
DATA = frozenset(
    "_BisectingTree _CFNode _CFSubcluster MetadataRequest MethodMetadataRequest".split()
)
# Not called when a model predicts; boosting that stopped early refers to itself there.
SCORERS = frozenset("_curve_scorer _scorer scorer_ scoring".split())
WORDS = frozenset(("drop", "passthrough", "deprecated", "zero", "warn", "prefit"))
GETTER = re.compile(
    r"(?:named_steps\.[A-Za-z][A-Za-z0-9_-]*\.|(?:regressor_|estimator_|best_estimator_|estimator|"
    r"final_estimator_|_final_estimator)\.)*(?:coef_|feature_importances_|components_|scalings_)"
)
FORMAT = re.compile(r"[^{}]{0,200}(?:\{(?:feature_name|transformer_name)\}[^{}]{0,200}){0,10}")
SIZES = {
    "n_features_in_": 1_000_000, "n_outputs_": 100_000, "n_output_features_": 50_000_000,
    "_n_out_full": 50_000_000, "n_trees_per_iteration_": 100_000, "n_features_out_": 50_000_000,
    "n_components_": 10_000_000, "n_features_": 1_000_000,
}  # fmt: skip
LABELS = 1_000_000


def check(inst: Any, free: Collection[type]) -> None:
    """Check the attributes of one scikit-learn object; `memory` becomes None.

    Raises:
        UnsafePickle: an attribute would be called, or used as a name, a path or a size.
    """
    kind, held = type(inst), vars(inst)
    if type(held.get("memory")) is str and "memory" in parameters_of(kind):
        inst.memory = None  # a disk cache, which only fit uses
    for name, value in held.items():
        where = f"{kind.__name__}.{name}"
        if name in NAMES_OF_METHODS:
            _method_names(value, where)
        elif name in ("method", "callee", "caller") and _request(kind):
            need(value in REQUESTS, f"`{where}`")
        if name in ONE:
            _one(value, where, free)
        elif name in MANY:
            _many(value, where, free)
        elif name not in FUNCTIONS and name not in parameters_of(kind):
            if is_function(value) or (name not in CALLABLES and _callable(value, free)):
                if isinstance(value, type):
                    raise UnsafePickle(f"keeps the type `{value.__name__}` itself in `{where}`")
                raise UnsafePickle(f"keeps a function in `{where}`, where no function belongs")
        if name in KERNELS:
            need(value is None or _is_kernel(value, free), f"`{where}`")
        _by_name(inst, name, value, where)
        arguments.check_of(inst, name, value, where)
        losses.check_of(inst, name, value, where, free)
    check_parameters(inst)
    check_numbers(inst)


def called(inst: Any) -> Iterator[Any]:
    """Yield the scikit-learn objects in any attribute that `inst` may call."""
    if type(inst).__name__ in DATA:
        return
    for name, value in vars(inst).items():
        if name not in SCORERS:
            yield from _members(value)


def _request(kind: type) -> bool:
    return kind.__module__ == "sklearn.utils._metadata_requests"


def _callable(value: Any, free: Collection[type]) -> bool:
    """Return whether a value can be called (a type, a kernel, a scorer) and is not in `free`."""
    return callable(value) and not any(value is f or type(value) is f for f in free)


def _is_kernel(value: Any, free: Collection[type]) -> bool:
    from sklearn.gaussian_process.kernels import Kernel

    return isinstance(value, Kernel) or type(value) in free


def _method_names(value: Any, where: str) -> None:
    names = value if type(value) in (list, tuple) else [value]
    for name in names:
        if name is not None and not (type(name) is str and name in METHODS):
            raise UnsafePickle(
                f"calls the method {str(name)[:40]!r} by `{where}`, which is not one that predicts"
            )


def _is_estimator(value: Any, free: Collection[type]) -> bool:
    from sklearn.base import BaseEstimator

    kind = type(value)
    if kind in free:
        return True
    own = kind.__module__.startswith("sklearn.")
    return own and (isinstance(value, BaseEstimator) or kind.__name__ in HELPERS)


def _one(value: Any, where: str, free: Collection[type]) -> None:
    if value is None or (type(value) is str and value in WORDS) or _is_estimator(value, free):
        return
    raise UnsafePickle(
        f"has an object of `{type(value).__name__}` in `{where}`, where an estimator belongs"
    )


def _members(value: Any, depth: int = 3) -> Iterator[Any]:
    """Yield the estimators in a list, a list of lists, tuples (name, estimator, ...) or a dict."""
    if isinstance(value, dict):
        value = list(value.values())
    if type(value).__name__ == "ndarray" and value.dtype == object:
        value = value.ravel().tolist()
    if isinstance(value, list | tuple):
        for item in value if depth else ():
            if type(item) not in (int, float, str):
                yield from _members(item, depth - 1)
    elif type(value).__module__.startswith("sklearn.") and type(value).__name__ not in DATA:
        yield value


def _many(value: Any, where: str, free: Collection[type]) -> None:
    if value is None or (type(value) is str and value in WORDS):
        return
    what = f"`{where}`"
    if isinstance(value, dict):
        items = list(value.values())
    elif type(value).__name__ == "ndarray":
        need(value.dtype == object, what)
        items = value.ravel().tolist()
    else:
        need(type(value) in (list, tuple), what)
        items = list(value)
    triplet = where.endswith("imputation_sequence_")
    for item in items:
        if triplet:
            need(type(item).__name__ == "_ImputerTriplet", what)
            _one(item[2], where, free)
        elif type(item) is tuple:
            need(len(item) in (2, 3) and type(item[0]) is str, what)
            _one(item[1], where, free)
        elif type(item) is list:
            for inner in item:
                _one(inner, where, free)
        else:
            _one(item, where, free)


def _by_name(inst: Any, name: str, value: Any, where: str) -> None:
    """Check attributes that are used as a path of attributes, a format, a size or labels."""
    if name == "importance_getter":
        ok = type(value) is str and (value == "auto" or GETTER.fullmatch(value) is not None)
        if not ok and not is_own(value):
            raise UnsafePickle(
                f"has importance_getter={str(value)[:60]!r}, which reads any attribute: "
                "use 'auto', 'coef_' or 'feature_importances_'"
            )
    elif name == "verbose_feature_names_out":
        need(
            type(value) is bool
            or (type(value) is str and FORMAT.fullmatch(value) is not None)
            or is_own(value),
            f"`{where}`",
        )
    elif name == "n_classes_":
        several = [value] if _whole(value) else value
        need(len(several) <= SIZES["n_outputs_"], f"`{where}`")
        need(all(_whole(n) and 0 <= n <= LABELS for n in several), f"`{where}`")
    elif name in SIZES and value is not None:
        need(_whole(value), f"`{where}`")
        need(0 <= int(value) <= SIZES[name], f"`{where}`")
    elif name == "feature_names_in_":
        need(
            type(value).__name__ == "ndarray" and value.ndim == 1 and value.dtype.kind in "OU",
            f"`{where}`",
        )
        need(len(value) <= SIZES["n_features_in_"], f"`{where}`")
        need(value.dtype.kind == "U" or all(isinstance(v, str) for v in value), f"`{where}`")
        count = vars(inst).get("n_features_in_")
        need(count is None or count == len(value), f"`{where}`")
    elif name == "classes_":
        several = value if type(value) in (list, tuple) else [value]
        need(len(several) <= SIZES["n_outputs_"], f"`{where}`")
        total = 0
        for labels in several:
            need(type(labels).__name__ != "range", f"`{where}`")
            total += len(labels) if hasattr(labels, "__len__") else 1
        need(total <= LABELS, f"`{where}`")


def _whole(value: Any) -> bool:
    kind = type(value)
    return kind is int or (
        kind.__module__ == "numpy"
        and getattr(value, "shape", 0) == ()
        and (value.dtype.kind in "iu")
    )
