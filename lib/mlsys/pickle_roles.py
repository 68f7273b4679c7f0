"""What scikit-learn calls by a value of the model: estimators, names of methods, functions.

`stack_method_` is called as `getattr(estimator, name)(X)`, with whatever is in `estimators_`. So an
estimator's place holds estimators alone, a method's name is one of `METHODS`, parameters keep to
scikit-learn's own constraints, and functions stand only where one belongs.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection, Iterator
from typing import Any

from mlsys.pickle_sizes import check_numbers, small_dtype
from mlsys.pickle_stack import Refused, StandIn, need
from mlsys.pickle_states import saved_by

METHODS = frozenset(
    "auto predict predict_proba predict_log_proba decision_function transform score_samples".split()
)
REQUESTS = METHODS | frozenset(
    "fit partial_fit score split inverse_transform fit_transform fit_predict".split()
)
NAMES_OF_METHODS = frozenset(
    "stack_method stack_method_ response_method _response_method chain_method chain_method_ "
    "predict_method _predict_method _chain_method".split()
)
# Where an estimator, or a word such as "drop", is expected.
ONE = frozenset(
    "estimator estimator_ base_estimator base_estimator_ _estimator final_estimator "
    "final_estimator_ best_estimator_ regressor regressor_ classifier transformer transformer_ "
    "initial_imputer_ _label_binarizer label_binarizer_ _encoder one_hot_encoder_ init_ "
    "_preprocessor nbrs_ kernel_pca_ _tfidf _mlb _hasher _bin_mapper init_estimator_".split()
)
# Where estimators are expected, maybe with names and columns.
MANY = frozenset(
    "estimators estimators_ steps transformers transformers_ transformer_list named_estimators_ "
    "calibrated_classifiers_ calibrators _predictors imputation_sequence_ pipelines_".split()
)
# Functions of the list that scikit-learn calls as it predicts or scores.
FUNCTIONS = frozenset(
    "func inverse_func score_func _score_func metric kernel affinity tokenizer preprocessor "
    "analyzer scoring scorer scorer_ _scorer dtype dissimilarity "
    "effective_metric_ _lloyd _kernel_func get_leaf_children fun effective_metric metric_ "
    "_kmeans_single _algorithm importance_getter dtype_include dtype_exclude stop_words "
    "is_data_valid is_model_valid loss multioutput refit _sign link".split()
)
WORDS = frozenset(("drop", "passthrough", "deprecated", "zero", "warn", "prefit"))
GETTER = re.compile(
    r"(?:named_steps\.[A-Za-z][A-Za-z0-9_-]*\.|(?:regressor_|estimator_|best_estimator_|estimator|"
    r"final_estimator_|_final_estimator)\.)*(?:coef_|feature_importances_|components_|scalings_)"
)
FORMAT = re.compile(r"[^{}]{0,200}(?:\{(?:feature_name|transformer_name)\}[^{}]{0,200}){0,10}")
# Arguments of a NumPy function that write, allocate or keep Python's own objects.
NO_ARGUMENTS = frozenset("out like initial subok ufunc object buffer where".split())
SIZES = {
    "n_features_in_": 1_000_000, "n_outputs_": 100_000, "n_output_features_": 50_000_000,
    "_n_out_full": 50_000_000, "n_trees_per_iteration_": 100_000, "n_features_out_": 50_000_000,
    "n_components_": 10_000_000, "n_features_": 1_000_000,
}  # fmt: skip
LABELS = 1_000_000
ROUNDS = 1_000  # of `numpy.diff`
ONLY_FITTED = frozenset(("eta0",))  # numbers that only fit reads; older releases took others


def check(inst: Any, free: Collection[type]) -> None:
    """Check the attributes of one object of scikit-learn's; `memory` becomes None.

    Raises:
        Refused: one of them would be called, or used as a name, a path or a size.
    """
    kind, held = type(inst), vars(inst)
    if type(held.get("memory")) is str and "memory" in _parameters(kind):
        inst.memory = None  # a cache on disk, which only fitting uses
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
        elif name not in FUNCTIONS and name not in _parameters(kind):
            if _function(value):
                raise Refused(f"keeps a function in `{where}`, where no function belongs")
        _by_name(inst, name, value, where)
    _parameter_values(inst)
    check_numbers(inst)


def called(inst: Any) -> Iterator[Any]:
    """Return the estimators that `inst` may call."""
    for name, value in vars(inst).items():
        if name in ONE or name in MANY:
            yield from _members(value)


def _request(kind: type) -> bool:
    return kind.__module__ == "sklearn.utils._metadata_requests"


def _function(value: Any) -> bool:
    from mlsys.pickle_graph import is_function

    return is_function(value)


def _method_names(value: Any, where: str) -> None:
    names = value if type(value) in (list, tuple) else [value]
    for name in names:
        if name is not None and not (type(name) is str and name in METHODS):
            raise Refused(
                f"calls the method {str(name)[:40]!r} by `{where}`, which is not one that predicts"
            )


def _is_estimator(value: Any, free: Collection[type]) -> bool:
    kind = type(value)
    if kind in free:
        return True
    return kind.__module__.startswith("sklearn.") and not isinstance(value, dict | tuple | list)


def _one(value: Any, where: str, free: Collection[type]) -> None:
    if value is None or (type(value) is str and value in WORDS) or _is_estimator(value, free):
        return
    raise Refused(
        f"has an object of `{type(value).__name__}` in `{where}`, where an estimator belongs"
    )


def _members(value: Any, depth: int = 3) -> Iterator[Any]:
    """The estimators in a list, a list of lists, a list of (name, estimator, columns), a dict."""
    if isinstance(value, dict):
        value = list(value.values())
    if type(value).__name__ == "ndarray" and value.dtype == object:
        value = value.ravel().tolist()
    if isinstance(value, list | tuple) and depth:
        for item in value:
            yield from _members(item, depth - 1)
    elif type(value).__module__.startswith("sklearn."):
        yield value


def _many(value: Any, where: str, free: Collection[type]) -> None:
    if value is None or type(value) is str and value in WORDS:
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
    """Attributes that are read as a path, a format, a size or as labels."""
    if name == "importance_getter":
        ok = type(value) is str and (value == "auto" or GETTER.fullmatch(value) is not None)
        if not ok:
            raise Refused(
                f"has importance_getter={str(value)[:60]!r}, which reads any attribute: "
                "use 'auto', 'coef_' or 'feature_importances_'"
            )
    elif name == "verbose_feature_names_out":
        need(
            type(value) is bool or type(value) is str and FORMAT.fullmatch(value) is not None,
            f"`{where}`",
        )
    elif name == "kw_args" or name == "inv_kw_args":
        check_arguments(value, where)
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
    return (
        kind is int
        or kind.__module__ == "numpy"
        and getattr(value, "shape", 0) == ()
        and (value.dtype.kind in "iu")
    )


def check_arguments(value: Any, where: str, depth: int = 3) -> None:
    """Arguments of a listed function: plain values, none of which is written to."""
    if value is None:
        return
    need(type(value) is dict, f"`{where}`")
    for name, item in value.items():
        if type(name) is not str or name in NO_ARGUMENTS or name.startswith("_"):
            raise Refused(
                f"gives a function the argument {str(name)[:40]!r} by `{where}`, "
                "which may write or allocate"
            )
        need(_plain(item, depth), f"`{where}`")
        need(name != "dtype" or small_dtype(item), f"`{where}`")
        need(name != "n" or type(item) is not int or item <= ROUNDS, f"`{where}`")


def _plain(value: Any, depth: int) -> bool:
    kind = type(value)
    if value is None or kind in (bool, float, complex, str):
        return True
    if kind is int:
        return abs(value) < 2**31
    if kind in (list, tuple) and depth:
        return all(_plain(v, depth - 1) for v in value)
    if isinstance(value, type):
        return (
            kind is type
            and value.__module__ in ("builtins", "numpy")
            and value.__name__ not in ("object", "object_")
        )
    module = kind.__module__.partition(".")[0]
    if module in ("numpy", "pandas", "datetime", "decimal"):
        return getattr(getattr(value, "dtype", None), "kind", "") != "O" and not callable(value)
    return False


_known: dict[type, dict[str, Any]] = {}


def _parameters(kind: type) -> dict[str, Any]:
    """Return the constraints of a class's parameters; a name without one has "no_validation"."""
    found = _known.get(kind)
    if found is None:
        from sklearn.base import BaseEstimator

        found = dict(getattr(kind, "_parameter_constraints", {}) or {})
        init = getattr(kind, "__init__", None)
        if inspect.isfunction(init):
            for name in list(inspect.signature(init).parameters)[1:]:
                if issubclass(kind, BaseEstimator) or "make_column" in kind.__name__:
                    found.setdefault(name, "no_validation")
        _known[kind] = found
    return found


_passed: set[Any] = set()


def _parameter_values(inst: Any) -> None:
    """Check parameters by scikit-learn's own constraints. An older release knew other words."""
    from sklearn.utils._param_validation import (
        InvalidParameterError,
        validate_parameter_constraints,
    )

    kind, held = type(inst), vars(inst)
    for name, constraints in _parameters(kind).items():
        if name not in held or name in ("memory",) or type(held[name]) is StandIn:
            continue
        value = held[name]
        simple = value is None or type(value) in (bool, int, float, str)
        key = (kind, name, type(value), value) if simple else None
        if key in _passed:
            continue
        if constraints == "no_validation":
            continue
        try:
            validate_parameter_constraints({name: constraints}, {name: value}, kind.__name__)
        except InvalidParameterError as exc:
            if _older() and (value is None or type(value) is str or name in ONLY_FITTED):
                continue
            raise Refused(f"has a parameter that scikit-learn refuses: {str(exc)[:300]}") from exc
        if simple and len(_passed) < 10_000 and not (type(value) is str and len(value) > 100):
            _passed.add(key)


def _older() -> bool:
    """Whether another release saved some of the model, as `mlsys.pickle_states` has noted."""
    import sklearn

    return bool((saved_by.get() or set()) - {sklearn.__version__})
