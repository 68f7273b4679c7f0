"""Checks of trees against the estimators that use them: compiled code does not check indices.

A tree's own arrays are checked when it is loaded (`states`). An estimator checks the number of
columns of its rows once, by its `n_features_in_`, and passes them to every tree.
"""

from __future__ import annotations

import functools
from collections.abc import Collection
from typing import Any

from mlsys.safe_pickle.functions import is_own
from mlsys.safe_pickle.handles import UnsafePickle, need

ENSEMBLES = ("sklearn.ensemble._forest", "sklearn.ensemble._gb", "sklearn.ensemble._iforest")
HIST = "sklearn.ensemble._hist_gradient_boosting.gradient_boosting"
# Transformers of the target of a model that boosting starts from: each keeps the rows.
OF_COLUMNS = frozenset(
    "FunctionTransformer MaxAbsScaler MinMaxScaler PowerTransformer QuantileTransformer "
    "RobustScaler StandardScaler".split()
)


def check(inst: Any, free: Collection[type] = ()) -> None:
    """Refuse an estimator whose trees read columns that its rows do not have.

    An estimator of a class in `free` may be a tree of a forest or the start of boosting.

    Raises:
        UnsafePickle: the message names the estimator.
    """
    kind = type(inst)
    if kind.__module__ == "sklearn.tree._classes":
        if "tree_" in vars(inst):
            width_of(inst, vars(inst).get("n_features_in_"))
    elif kind.__module__ in ENSEMBLES and "estimators_" in vars(inst):
        if kind.__name__ == "IsolationForest":
            _isolation(inst)
        elif kind.__module__ == "sklearn.ensemble._gb":
            _boosted(inst, free)
        else:
            _forest(inst, free)
    elif kind.__module__ == HIST and "_predictors" in vars(inst):
        _histograms(inst)


def count(inst: Any, name: str = "n_features_in_") -> int:
    """Return a number of columns from the object's own attributes."""
    value = vars(inst).get(name)
    need(type(value) is int or type(value).__name__ in ("int64", "int32"), _what(inst))
    return int(value)


def width_of(tree: Any, width: Any) -> None:
    """Check that a decision tree reads rows of `width` columns."""
    need(type(tree).__module__ == "sklearn.tree._classes", "a tree")
    inner = vars(tree).get("tree_")
    need(type(inner).__module__ == "sklearn.tree._tree", _what(tree))
    need(inner.node_count > 0, _what(tree))
    if not (inner.n_features == width == count(tree)):
        raise UnsafePickle(
            f"has a {type(tree).__name__} over {inner.n_features} columns "
            f"in an estimator over {str(width)[:20]}"
        )
    outputs = vars(tree).get("n_outputs_", inner.n_outputs)
    need(outputs == inner.n_outputs, _what(tree))


def _what(inst: Any) -> str:
    return f"a {type(inst).__name__}"


def _forest(inst: Any, free: Collection[type]) -> None:
    width = count(inst)
    need(type(inst.estimators_) is list and len(inst.estimators_) > 0, _what(inst))
    for tree in inst.estimators_:
        if type(tree) not in free:
            width_of(tree, width)


def _isolation(inst: Any) -> None:
    width = count(inst)
    need(type(inst.estimators_) is list and type(inst.estimators_features_) is list, _what(inst))
    chosen = count(inst, "_max_features") != width
    need(len(inst.estimators_) == len(inst.estimators_features_), _what(inst))
    for tree, features in zip(inst.estimators_, inst.estimators_features_, strict=True):
        width_of(tree, len(features) if chosen else width)


def _boosted(inst: Any, free: Collection[type]) -> None:
    import numpy as np

    what, width = _what(inst), count(inst)
    trees = inst.estimators_
    need(type(trees) is np.ndarray and trees.ndim == 2 and trees.dtype == object, what)
    outputs = trees.shape[1]
    need(outputs == vars(inst).get("n_trees_per_iteration_", outputs), what)
    need(outputs > 0, what)
    for tree in trees.ravel():
        width_of(tree, width)
        need(tree.tree_.n_outputs == 1 and tree.tree_.max_n_classes == 1, what)
    init = vars(inst).get("init_")
    if type(init) is str:
        return need(init == "zero", what)
    _starts(inst, init, outputs, width, free)


def _starts(inst: Any, init: Any, outputs: int, width: int, free: Collection[type]) -> None:
    """Check that `init_` predicts as many rows and columns as the trees add to."""
    import numpy as np

    what = f"the `init_` of a {type(inst).__name__}"
    known = type(init) in free or type(init).__module__.startswith("sklearn.")
    need(init is not None and known, what)
    left, seen = [init], set()
    while left:
        value = left.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        name = type(value).__name__
        if name in ("FunctionTransformer", "TransformedTargetRegressor"):
            _keeps_rows(value, what)
        if isinstance(value, list | tuple):
            left += value
        elif type(value).__module__.startswith("sklearn.") and hasattr(value, "__dict__"):
            left += vars(value).values()
    try:
        answer = inst._raw_predict_init(np.zeros((3, width), np.float32))
    except Exception as exc:
        raise UnsafePickle(f"has {what} that does not predict ({type(exc).__name__})") from exc
    need(np.shape(answer) == (3, outputs), what)


def _keeps_rows(inst: Any, what: str) -> None:
    """Refuse an object whose functions may return more or fewer rows than they get."""
    name = type(inst).__name__
    for attribute in ("func", "inverse_func"):
        func = vars(inst).get(attribute)
        if not by_elements(func):
            function = getattr(func, "__name__", "functools.partial")
            raise UnsafePickle(
                f"has a {name} of `{function}` in {what}, which may change the number of rows: use "
                "an elementwise NumPy function, such as np.log1p, or put the "
                f"{name} outside the boosting"
            )
    if vars(inst).get("kw_args") or vars(inst).get("inv_kw_args"):
        raise UnsafePickle(
            f"has a {name} with kw_args in {what}, which may change the number of rows: put the "
            f"{name} outside the boosting, or use functools.partial(np.clip, a_min=0, a_max=1)"
        )
    transformer = vars(inst).get("transformer_")
    if transformer is not None and type(transformer).__name__ not in OF_COLUMNS:
        raise UnsafePickle(
            f"has a {type(transformer).__name__} as the `transformer_` of a {name} in {what}: "
            f"use one of {', '.join(sorted(OF_COLUMNS - {'FunctionTransformer'}))}"
        )


def by_elements(func: Any) -> bool:
    """Return whether a function always returns an array of its argument's shape."""
    import numpy as np

    if func is None or is_own(func):
        return True
    if type(func) is functools.partial:
        if is_own(func.func):
            return True
        numbers = [*func.args, *func.keywords.values()]
        plain = all(v is None or type(v) in (bool, int, float) for v in numbers)
        listed = any(func.func is f for f in (np.clip, np.round, np.nan_to_num))
        return listed and plain and not func.args
    if type(func) is np.ufunc:
        return func.nin == func.nout == 1 and func.signature is None
    return any(func is f for f in (np.round, np.around, np.nan_to_num, np.asarray))


def _histograms(inst: Any) -> None:
    import numpy as np

    what, width = _what(inst), count(inst)
    need(count(inst, "_n_features") == width if "_n_features" in vars(inst) else True, what)
    mapper = vars(inst).get("_bin_mapper")
    need(type(mapper).__name__ == "_BinMapper", what)
    known = vars(mapper).get("is_categorical_")
    need(type(known) is np.ndarray and known.shape == (width,), what)
    need(known.dtype.kind in "ub" and bool((known <= 1).all()), what)
    thresholds = vars(mapper).get("bin_thresholds_")
    need(type(thresholds) is list and len(thresholds) == width, what)
    for column in np.flatnonzero(known):
        values = thresholds[column]
        need(type(values) is np.ndarray and values.ndim == 1 and values.dtype.kind == "f", what)
        need(bool(((values >= 0) & (values < 256)).all()), what)
    need(type(inst._predictors) is list, what)
    outputs = count(inst, "n_trees_per_iteration_")
    for stage in inst._predictors:
        need(type(stage) is list and len(stage) == outputs, what)
        for tree in stage:
            need(type(tree).__name__ == "TreePredictor", what)
            nodes = tree.nodes
            inner = nodes[nodes["is_leaf"] == 0]
            need(len(nodes) > 0, what)
            if len(inner):
                columns = inner["feature_idx"]
                need(int(columns.min()) >= 0 and int(columns.max()) < width, what)
                need(bool(known[columns[inner["is_categorical"] != 0]].all()), what)
    _prepared(inst, width, int(known.sum()))


def _prepared(inst: Any, width: int, categories: int) -> None:
    """Check that boosting's preprocessor returns as many columns as its trees read."""
    import numpy as np

    what = f"the `_preprocessor` of a {type(inst).__name__}"
    before = vars(inst).get("_preprocessor")
    if before is None:
        return
    need(type(before).__name__ == "ColumnTransformer", what)
    columns = 0
    for name, step, chosen in before.transformers_:
        if step == "drop":
            need(name == "remainder", what)
            continue
        size = int(np.asarray(chosen).sum()) if np.asarray(chosen).dtype == bool else len(chosen)
        columns += size
        if type(step).__name__ == "OrdinalEncoder":
            need(len(step.categories_) == size == categories, what)
        else:
            need(type(step).__name__ == "FunctionTransformer", what)
            need(getattr(getattr(step.func, "func", None), "__name__", "") == "check_array", what)
    need(columns == width, what)
