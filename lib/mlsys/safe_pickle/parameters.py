"""Checks of the parameters of scikit-learn's objects, by its own constraints."""

from __future__ import annotations

import inspect
import re
from typing import Any

from mlsys.safe_pickle.handles import StandIn, UnsafePickle
from mlsys.safe_pickle.states import saved_by

NAMES_OF_METHODS = frozenset(
    "stack_method stack_method_ response_method _response_method chain_method chain_method_ "
    "predict_method _predict_method _chain_method".split()
)
# Attributes with listed functions that scikit-learn calls when it predicts or scores.
FUNCTIONS = frozenset(
    "func inverse_func score_func _score_func metric kernel affinity tokenizer preprocessor "
    "analyzer scoring scorer scorer_ _scorer dtype dissimilarity "
    "effective_metric_ _lloyd _kernel_func get_leaf_children fun effective_metric metric_ _metric "
    "_kmeans_single _algorithm importance_getter dtype_include dtype_exclude stop_words "
    "is_data_valid is_model_valid multioutput refit _sign".split()
)
# A string in one of these is looked up, called, opened or used as a codec, as in
# `get_scorer(word)` or `bytes.decode(errors=word)`. Only words of this release are allowed.
DISPATCHED = (
    NAMES_OF_METHODS
    | (FUNCTIONS - frozenset(("multioutput", "refit")))
    | frozenset(
        "memory input encoding decode_error strip_accents activation method link optimizer "
        "callback cv pooling_func feature_names_out feature_name_combiner "
        "verbose_feature_names_out transform_algorithm covariance_type n_jobs".split()
    )
)
OLD_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,40}")  # no path, no dotted name
ONLY_FITTED = frozenset(("eta0",))  # numbers that only fit reads; older releases took others

_known: dict[type, dict[str, Any]] = {}


def parameters_of(kind: type) -> dict[str, Any]:
    """Return the constraints of a class's parameters; a name without one has "no_validation"."""
    constraints = _known.get(kind)
    if constraints is None:
        from sklearn.base import BaseEstimator

        constraints = dict(getattr(kind, "_parameter_constraints", {}) or {})
        init = getattr(kind, "__init__", None)
        if inspect.isfunction(init):
            for name in list(inspect.signature(init).parameters)[1:]:
                if issubclass(kind, BaseEstimator) or "make_column" in kind.__name__:
                    constraints.setdefault(name, "no_validation")
        _known[kind] = constraints
    return constraints


_passed: set[Any] = set()


def check_parameters(inst: Any) -> None:
    """Check parameters by scikit-learn's own constraints, allowing words of older releases."""
    from sklearn.utils._param_validation import (
        InvalidParameterError,
        validate_parameter_constraints,
    )

    kind, held = type(inst), vars(inst)
    for name, constraints in parameters_of(kind).items():
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
            if _older() and _old_word(name, value):
                continue
            raise UnsafePickle(
                f"has a parameter that scikit-learn refuses: {str(exc)[:300]}"
            ) from exc
        if simple and len(_passed) < 10_000 and not (type(value) is str and len(value) > 100):
            _passed.add(key)


def _old_word(name: str, value: Any) -> bool:
    """Return whether the value may be an older release's, without an effect in this one."""
    if name in ONLY_FITTED:
        return type(value) in (int, float) or value is None
    if name in DISPATCHED:
        return False
    return value is None or (type(value) is str and OLD_WORD.fullmatch(value) is not None)


def _older() -> bool:
    """Return whether another release saved part of the model, according to `saved_by`."""
    import sklearn

    return bool((saved_by.get() or set()) - {sklearn.__version__})
