"""Checks of the states that a model's pickle may set in its objects.

Compiled code trusts its arrays: a tree whose child lies beyond its last node, a sparse matrix with
an index beyond its columns or a dtype with forged flags makes it read and write foreign memory. So
`put_state` has a check for each kind of object whose state is more than plain attributes.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from mlsys.safe_pickle import names, values
from mlsys.safe_pickle.arrays import array_state, put_dtype, put_masked
from mlsys.safe_pickle.callables import put_function_metric, put_partial
from mlsys.safe_pickle.handles import Handle, StandIn, UnsafePickle, Untrusted, need, resolve
from mlsys.safe_pickle.left_out import mentions

# Repeated splitters keep the class of the splitter that they repeat.
KEPT = {"sklearn.model_selection._split.KFold", "sklearn.model_selection._split.StratifiedKFold"}

# Attributes that predictions do not need, left out if they hold a stand-in.
NOT_NEEDED = {"_raw_predict", "loss_function_", "_loss_function_", "scorer_"}
COLUMN_TYPES = names.keys(names.COLUMN_TYPES)

FUNCTION_METRIC = "sklearn.metrics._dist_metrics.PyFuncDistance"
MAX_VERSIONS = 10
DEPTH = 10_000  # of a decision tree
# The scikit-learn releases that saved the estimators of the model that is being loaded. Its
# InconsistentVersionWarning would not do: warnings are caught for all threads of a process at once.
saved_by: ContextVar[set[str] | None] = ContextVar("saved_by", default=None)


def put_state(inst: Any, state: Any, key: str | None) -> None:
    """Do what the opcode BUILD does, for `inst` of the listed class `key` (None: not listed).

    Raises:
        UnsafePickle: the object's own class does not write such a state.
    """
    import numpy as np

    if type(inst) is StandIn:
        return
    if isinstance(inst, np.dtype):
        return put_dtype(inst, state)
    if type(inst) is np.ndarray:
        need(inst.shape == (0,) and inst.dtype == np.int8, "an array")
        return inst.__setstate__(array_state(state))
    if type(inst) is np.ma.MaskedArray:
        return put_masked(inst, state)
    if isinstance(inst, np.random.BitGenerator | np.random.RandomState | np.random.Generator):
        return _random(inst, state)
    name = key or f"{type(inst).__module__}.{type(inst).__qualname__}"
    if name in STATES:
        return STATES[name](inst, state)
    if name.startswith(FUNCTION_METRIC) and key:
        return put_function_metric(inst, state)
    if name.startswith("sklearn.metrics._dist_metrics.") and key:
        return _metric(inst, state)
    if key is None:
        raise UnsafePickle(f"changes an object of `{name}`, which no library's pickle does")
    _attributes(inst, state)
    if name in AFTERWARDS:
        AFTERWARDS[name](inst)


def _note_version(inst: Any, state: dict[str, Any]) -> None:
    """Record the scikit-learn release of an estimator, as `BaseEstimator.__setstate__` reads it."""
    from sklearn.base import BaseEstimator

    seen = saved_by.get()
    if seen is not None and isinstance(inst, BaseEstimator) and len(seen) < MAX_VERSIONS:
        seen.add(str(state.get("_sklearn_version", "before 0.18"))[:40])


def _attributes(inst: Any, state: Any) -> None:
    """Set attributes by name; only a parameter may hide an attribute of the class."""
    kind, name = type(inst), type(inst).__name__
    need(type(state) is dict, f"a {name}")
    kept: dict[str, Any] = {}
    dropped = set()
    for key, value in state.items():
        if type(value) is StandIn:
            if key in NOT_NEEDED or not mentions(kind, key):
                dropped.add(key)
                continue
            if value.key:
                raise Untrusted(value.key)
        if key in ("dtype_include", "dtype_exclude"):
            kept[key] = _column_types(value)
            continue
        need(type(key) is str and not key.startswith("__"), f"a {name}")
        if type(value) is Handle and value.key in KEPT and key == "cv":
            kept[key] = value.value
            continue
        if type(value) is Handle:
            raise UnsafePickle(
                f"keeps `{value.key}` itself in `{name}.{key}`, not an object of it: leave it out "
                "of the model, or pass a function in its place"
            )
        need(type(value) is not StandIn, f"`{name}.{key}`")
        own = inspect.getattr_static(kind, key, None)
        if type(own) is property and own.fset is None and kind.__module__.startswith("sklearn."):
            dropped.add(key)  # an attribute of another release: the property hides it
            continue
        need(not _hides(kind, key), f"`{name}.{key}`")  # type: ignore[arg-type]
        need(key != "_sklearn_version" or type(value) is str, f"`{name}.{key}`")
        if key == "input" and kind.__module__ == "sklearn.feature_extraction.text":
            if value != "content":
                raise UnsafePickle(
                    f"has a {name} with input={str(value)!r}, which opens files of the service: "
                    "pass the texts themselves (input='content')"
                )
    _note_version(inst, state)
    state = {k: v for k, v in {**state, **kept}.items() if k not in dropped}
    own_way = getattr(kind, "__setstate__", None)
    if own_way is None:
        inst.__dict__.update(state)
    else:
        own_way(inst, state)


@functools.lru_cache(10_000)
def _hides(kind: type, key: str) -> bool:
    """Return whether an object's attribute would hide an attribute of its class."""
    own = inspect.getattr_static(kind, key, _hides)
    if own is _hides:
        return False
    init = getattr(kind, "__init__", None)
    parameters = inspect.signature(init).parameters if inspect.isfunction(init) else ()
    return hasattr(type(own), "__get__") or key not in parameters


def _column_types(value: Any) -> Any:
    """Return the column types of a `make_column_selector`, which pandas compares."""
    if type(value) in (list, tuple):
        return type(value)(_column_types(v) for v in value)
    if type(value) is not Handle:
        return value
    if value.key not in COLUMN_TYPES:
        raise UnsafePickle(f"selects columns by `{value.key}`, which is not a type of columns")
    return resolve(value.key)


def _random(inst: Any, state: Any) -> None:
    need(state is not None, "a random generator")
    parts = state[0] if type(state) is tuple and state else state
    inner = parts.get("state") if type(parts) is dict else None
    place = inner.get("pos") if type(inner) is dict else None
    need(place is None or (type(place) is int and 0 <= place <= 624), "a random generator")
    place = parts.get("buffer_pos") if type(parts) is dict else None
    need(place is None or (type(place) is int and 0 <= place <= 4), "a random generator")
    inst.__setstate__(state)


def _metric(inst: Any, state: Any) -> None:
    import numpy as np

    need(type(state) is tuple and len(state) == 3 and type(state[0]) is float, "a metric")
    need(all(type(a) is np.ndarray and a.dtype == np.float64 for a in state[1:]), "a metric")
    need(state[1].ndim == 1 and state[2].ndim == 2, "a metric")
    need(state[2].shape[0] == state[2].shape[1], "a metric")
    inst.__setstate__(state)


def _neighbours(inst: Any, state: Any) -> None:
    check_neighbours(inst, state)
    import numpy as np

    copied = [a.copy() if type(a) is np.ndarray else a for a in state]
    inst.__setstate__(tuple(copied))  # copies, so that nothing shares their memory


def check_neighbours(inst: Any, state: Any) -> None:
    """Check that a KDTree's or BallTree's indices, ranges and children lie within their arrays."""
    import numpy as np

    what = f"a {type(inst).__name__}"
    need(type(state) is tuple and len(state) == 13, what)
    data, index, nodes, bounds = state[:4]
    n_nodes, metric = state[6], state[11]
    need(all(type(a) is np.ndarray for a in state[:4]), what)
    need(all(type(n) is int and n >= 0 for n in state[4:11]) and state[4] > 0, what)
    need(data.ndim == 2 and index.shape == data.shape[:1] and index.dtype == np.intp, what)
    need(bool(((index >= 0) & (index < len(data))).all()), what)
    need(nodes.ndim == 1 and len(nodes) == n_nodes and n_nodes > 0 and bounds.ndim == 3, what)
    need(bounds.shape[1] == n_nodes and bounds.shape[2] == data.shape[1], what)
    need(bounds.shape[0] == (2 if "KDTree" in what else 1), what)
    need({"idx_start", "idx_end", "is_leaf"} <= set(nodes.dtype.names or ()), what)
    start, end = nodes["idx_start"], nodes["idx_end"]
    need(bool(((start >= 0) & (start <= end) & (end <= len(data))).all()), what)
    inner = np.flatnonzero(nodes["is_leaf"] == 0)
    need(not inner.size or int(inner.max()) * 2 + 2 < n_nodes, what)
    vector = metric.__getstate__()[1]
    kind = type(metric).__name__
    need(not kind.startswith("SEuclidean") or len(vector) == data.shape[1], what)
    need(not kind.startswith("Minkowski") or len(vector) in (0, 1, data.shape[1]), what)
    matrix = metric.__getstate__()[2]
    need(not kind.startswith("Mahalanobis") or matrix.shape == (data.shape[1],) * 2, what)
    need(not kind.startswith("Haversine") or data.shape[1] == 2, what)
    weights = state[12]
    need(weights is None or np.shape(weights) == data.shape[:1], what)


def _tree(inst: Any, state: Any) -> None:
    """Check a decision tree: children come after their parent, and features exist."""
    import numpy as np

    what = "a tree"
    need(type(state) is dict and inst.node_count == 0, what)
    nodes, count = state.get("nodes"), state.get("node_count")
    need(type(nodes) is np.ndarray and nodes.ndim == 1 and type(count) is int, what)
    need(len(nodes) == count > 0 and type(state.get("max_depth")) is int, what)
    if {"left_child", "right_child", "feature"} <= set(nodes.dtype.names or ()):
        left, right, feature = nodes["left_child"], nodes["right_child"], nodes["feature"]
        inner = left != -1
        place = np.arange(count)
        for child in (left, right):
            need(bool(((child > place) & (child < count))[inner].all()), what)
        need(bool(((feature >= 0) & (feature < inst.n_features))[inner].all()), what)
        check_depth(left, right, inner, what)
    inst.__setstate__(state)


def check_depth(left: Any, right: Any, inner: Any, what: str) -> None:
    """Check that no node has two parents, and that none lies deeper than `DEPTH`.

    A row takes as many steps as its leaf lies deep.
    """
    import numpy as np

    children = np.concatenate((left[inner], right[inner])).astype(np.intp)
    parents = np.bincount(children, minlength=1)
    need(len(parents) <= len(inner) and int(parents.max()) <= 1, what)
    if len(inner) <= 2 * DEPTH:  # every second node is a leaf
        return
    level, depth = np.zeros(1, np.intp), 0
    while level.size:
        depth += 1
        need(depth <= DEPTH, what)
        level = level[inner[level]]
        level = np.concatenate((left[level], right[level])).astype(np.intp)


def _predictor(inst: Any) -> None:
    """Check a histogram gradient boosting tree, which does not know its number of features."""
    import numpy as np

    what = "a TreePredictor"
    nodes = inst.nodes
    need(type(nodes) is np.ndarray and nodes.ndim == 1, what)
    inner = nodes[nodes["is_leaf"] == 0]
    place = np.flatnonzero(nodes["is_leaf"] == 0)
    for child in (inner["left"], inner["right"]):
        need(bool(((child > place) & (child < len(nodes))).all()), what)
    need(bool((inner["feature_idx"] >= 0).all()), what)
    check_depth(nodes["left"], nodes["right"], nodes["is_leaf"] == 0, what)
    for bits in (inst.binned_left_cat_bitsets, inst.raw_left_cat_bitsets):
        need(type(bits) is np.ndarray and bits.dtype == np.uint32 and bits.ndim == 2, what)
        need(bits.shape[1] == 8, what)
        categories = inner[inner["is_categorical"] != 0]["bitset_idx"]
        need(bool((categories < len(bits)).all()), what)


def sparse_matrix(inst: Any) -> None:
    """Check that a sparse matrix's indices lie within its shape."""
    try:
        inst.check_format(full_check=True)
    except (ValueError, AttributeError, TypeError, IndexError) as exc:
        raise UnsafePickle(f"holds a malformed sparse matrix ({exc}): fit the model again") from exc


def _spline(inst: Any, state: Any) -> None:
    import numpy as np

    what = "a spline"
    need(type(state) is tuple and len(state) == 2 and type(state[1]) is np.ndarray, what)
    inner = state[0]
    need(type(inner) is resolve("scipy.interpolate._bsplines._BSpline"), what)
    need(type(inner.k) is int and inner.k >= 0, what)
    need(all(type(a) is np.ndarray for a in (inner.t, inner.c)) and inner.t.ndim == 1, what)
    need(inner.t.dtype == np.float64 and inner.c.dtype == np.float64, what)
    count = len(inner.t) - inner.k - 1
    need(count > inner.k and inner.c.ndim > 0 and inner.c.shape[0] >= count, what)
    inst.__setstate__(state)


def _strings(inst: Any, state: Any) -> None:
    import pandas as pd
    import pyarrow as pa

    what = "an array of strings"
    need(type(state) is dict and {"_pa_array", "_dtype"} <= set(state), what)
    need(isinstance(state["_pa_array"], pa.StringArray | pa.LargeStringArray), what)
    need(type(state["_dtype"]) is pd.StringDtype, what)
    made = pd.array(state["_pa_array"].to_pylist(), dtype=state["_dtype"])
    inst.__dict__.update(made.__dict__)


def _seed(inst: Any, state: Any) -> None:
    need(type(state) is tuple, "a SeedSequence")
    inst.__setstate_cython__(state)


STATES: dict[str, Callable[[Any, Any], None]] = {
    "functools.partial": put_partial,
    "numpy.random.bit_generator.SeedSequence": _seed,
    "pandas.arrays.ArrowStringArray": _strings,
    "scipy.interpolate._bsplines.BSpline": _spline,
    "sklearn.neighbors._ball_tree.BallTree": _neighbours,
    "sklearn.neighbors._kd_tree.KDTree": _neighbours,
    "sklearn.tree._tree.Tree": _tree,
    **values.STATES,
}
AFTERWARDS: dict[str, Callable[[Any], None]] = {
    "scipy.sparse._csc.csc_array": sparse_matrix,
    "scipy.sparse._csc.csc_matrix": sparse_matrix,
    "scipy.sparse._csr.csr_array": sparse_matrix,
    "scipy.sparse._csr.csr_matrix": sparse_matrix,
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor": _predictor,
}
