"""Checks of the states of objects in compiled code.

Compiled code trusts its arrays: a tree whose child lies beyond its last node, a sparse matrix with
an index beyond its columns or a dtype with forged flags makes it read and write foreign memory. So
each kind of such an object has a check: before its state is set (`STATES`), or after its plain
attributes are set (`AFTERWARDS`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlsys.safe_pickle import values
from mlsys.safe_pickle.callables import put_partial
from mlsys.safe_pickle.handles import UnsafePickle, need, resolve

DEPTH = 10_000  # of a decision tree


def put_random(inst: Any, state: Any) -> None:
    """Set the state of a random generator whose places lie within its buffers."""
    need(state is not None, "a random generator")
    parts = state[0] if type(state) is tuple and state else state
    inner = parts.get("state") if type(parts) is dict else None
    place = inner.get("pos") if type(inner) is dict else None
    need(place is None or (type(place) is int and 0 <= place <= 624), "a random generator")
    place = parts.get("buffer_pos") if type(parts) is dict else None
    need(place is None or (type(place) is int and 0 <= place <= 4), "a random generator")
    inst.__setstate__(state)


def put_metric(inst: Any, state: Any) -> None:
    """Set the state of a distance metric whose arrays have the right dtype and shape."""
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
