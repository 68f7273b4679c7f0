"""Checks of arrays that compiled code indexes by other arrays, on the final objects.

Each check is for one kind of object; `CHECKS` has them by the class's name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlsys.safe_pickle import compiled, sizes
from mlsys.safe_pickle.handles import UnsafePickle, need
from mlsys.safe_pickle.trees import count

MAX_WIDTH = 2**31


def check(value: Any) -> None:
    """Refuse an object whose arrays index beyond one another.

    Raises:
        UnsafePickle: the message names its class.
    """
    kind = type(value)
    for base in kind.__mro__:
        key = f"{base.__module__}.{base.__name__}"
        for check_one in (CHECKS.get(key), sizes.SIZED.get(key)):
            if check_one is None:
                continue
            try:
                check_one(value, f"a {kind.__name__}")
            except (AttributeError, TypeError, ValueError, IndexError, KeyError) as exc:
                raise UnsafePickle(
                    f"holds a {kind.__name__} in a form that no library writes "
                    f"({type(exc).__name__})"
                ) from exc


def _sparse(inst: Any, what: str) -> None:
    """Check that indices lie within the shape; copy arrays, so that nothing shares their memory."""
    for name in ("_has_sorted_indices", "_has_canonical_format"):
        inst.__dict__.pop(name, None)  # SciPy computes it again
    shape = inst.__dict__.get("_shape")
    need(type(shape) is tuple and len(shape) in (1, 2), what)
    need(all(0 <= int(n) < MAX_WIDTH for n in shape), what)
    import numpy as np

    for name in ("data", "indices", "indptr"):
        array = inst.__dict__.get(name)
        need(type(array) is np.ndarray and array.ndim == 1, what)
        inst.__dict__[name] = array.copy()
    need(inst.data.dtype != object and len(inst.data) >= len(inst.indices), what)
    compiled.sparse_matrix(inst)


def _vectors(inst: Any, what: str) -> None:
    """Check support vectors: libsvm copies by the lengths in `_n_support` and the shapes."""
    import numpy as np

    held = vars(inst)
    need(not {"_impl", "_sparse_kernels"} & set(held), what)
    if "support_vectors_" not in held:
        return
    vectors, support, counts = held["support_vectors_"], held["support_"], held["_n_support"]
    coefficients, starts = held["_dual_coef_"], held["_intercept_"]
    sparse = held["_sparse"]
    need(type(sparse) is bool, what)
    arrays = (support, counts, starts, held["_probA"], held["_probB"])
    need(all(type(a) is np.ndarray and a.ndim == 1 for a in arrays), what)
    need(len(counts) > 0 and bool((counts >= 0).all()), what)
    # With the author's own kernel function, scikit-learn does not count columns.
    counted = "n_features_in_" in held or not callable(held["kernel"])
    total, width = len(support), count(inst) if counted else 0
    classes = type(inst).__name__ in ("SVC", "NuSVC")
    need(len(counts) >= 2, what)
    if classes:
        need(len(counts) == len(held["classes_"]) and int(counts.sum()) == total, what)
        pairs, rows = len(counts) * (len(counts) - 1) // 2, len(counts) - 1
    else:
        pairs, rows = 1, 1
        need(len(counts) == 2 and int(counts[0]) in (total, total or counts[0]), what)
    need(len(starts) == pairs, what)
    need(all(len(a) in (0, 1 if not classes else 0, pairs) for a in arrays[3:]), what)
    need(len(arrays[3]) == len(arrays[4]) or not classes, what)
    need(tuple(coefficients.shape) == (rows, total), what)
    fitted = held["shape_fit_"]
    need(type(fitted) is tuple and len(fitted) >= 1 and type(fitted[0]) is int, what)
    need(bool(((support >= 0) & (support < fitted[0])).all()), what)
    if sparse:
        need(not callable(held["kernel"]), what)
        need(type(vectors).__name__ in ("csr_matrix", "csr_array"), what)
        need(type(coefficients).__name__ in ("csr_matrix", "csr_array"), what)
        need(tuple(vectors.shape) == (total, width), what)
        need(len(coefficients.data) == rows * total, what)
        need(len(vectors.data) == len(vectors.indices) == int(vectors.indptr[-1]), what)
        return
    need(type(vectors) is np.ndarray and type(coefficients) is np.ndarray, what)
    if held["kernel"] == "precomputed" or callable(held["kernel"]):
        need(vectors.shape in ((0, 0), (total, width), (total, fitted[0])), what)
    else:
        need(vectors.shape == (total, width), what)


def _centres(inst: Any, what: str) -> None:
    import numpy as np

    held = vars(inst)
    if "cluster_centers_" not in held:
        return
    centres, width = held["cluster_centers_"], count(inst)
    need(type(centres) is np.ndarray and centres.ndim == 2 and centres.shape[1] == width, what)
    need(len(centres) > 0 and centres.dtype.kind == "f", what)
    need("_n_threads" not in held or 0 < count(inst, "_n_threads") < 10_000, what)
    node = held.get("_bisecting_tree")
    left, seen = [node] if node is not None else [], 0
    while left:
        node = left.pop()
        seen += 1
        need(type(node).__name__ == "_BisectingTree" and seen <= 4 * len(centres), what)
        need(np.shape(node.center) == (width,), what)
        pair = [node.left, node.right]
        need(pair.count(None) in (0, 2), what)
        if pair[0] is not None:
            left += pair
        else:
            need(0 <= count(node, "label") < len(centres), what)


def _labels_of_neighbours(inst: Any, what: str) -> None:
    """Check `_y`: compiled code counts its labels in an array as long as `classes_`."""
    import numpy as np

    held = vars(inst)
    if "_y" not in held or "classes_" not in held or "_fit_X" not in held:
        return
    labels, classes = held["_y"], held["classes_"]
    need(type(labels) is np.ndarray and labels.dtype.kind == "i", what)
    need(len(labels) == held["_fit_X"].shape[0], what)
    columns = labels.reshape(len(labels), -1)
    several = classes if isinstance(classes, list) else [classes]
    need(columns.shape[1] == len(several), what)
    for column, known in zip(columns.T, several, strict=True):
        need(len(column) == 0 or (column.min() >= 0 and column.max() < len(known)), what)


def _known_points(inst: Any, what: str) -> None:
    held = vars(inst)
    if "_fit_X" not in held or "n_features_in_" not in held:
        return
    points = held["_fit_X"]
    need(len(points.shape) == 2, what)
    tree = held.get("_tree")
    if tree is not None:
        need(type(tree).__name__ in ("KDTree", "BallTree"), what)
        data = tree.__getstate__()[0]
        need(data.shape == points.shape and data.shape[1] == count(inst), what)


def _neighbours(inst: Any, what: str) -> None:
    compiled.check_neighbours(inst, inst.__getstate__())


def _spline(inst: Any, what: str) -> None:
    import numpy as np

    for array in (inst.t, inst.c):
        need(type(array) is np.ndarray and array.dtype == np.float64, what)
    knots = len(inst.t) - inst.k - 1
    need(type(inst.k) is int and 0 <= inst.k < 100 and inst.t.ndim == 1, what)
    need(knots > inst.k and inst.c.ndim > 0 and inst.c.shape[0] >= knots, what)


def _vocabulary(inst: Any, what: str) -> None:
    """Check a vocabulary's columns, which go into a sparse matrix without a check by SciPy."""
    for name in ("vocabulary_", "_cached_dict"):
        words = vars(inst).get(name)
        if words is None:
            continue
        need(isinstance(words, dict), what)
        size = len(words)
        need(all(_integer(n) and 0 <= n < size for n in words.values()), what)
    names = vars(inst).get("feature_names_")
    if names is not None and "vocabulary_" in vars(inst):
        need(len(names) == len(vars(inst)["vocabulary_"]), what)


def _integer(value: Any) -> bool:
    return type(value) is int or (type(value).__module__ == "numpy" and value.dtype.kind in "iu")


def _one_hot(inst: Any, what: str) -> None:
    held = vars(inst)
    if "categories_" not in held:
        return
    made = list(inst._compute_n_features_outs())
    need(list(held.get("_n_features_outs", made)) == made, what)
    dropped = held.get("drop_idx_")
    for at, values in enumerate(held["categories_"]):
        mapping = held.get("_default_to_infrequent_mappings") or {}
        mapping = mapping[at] if len(mapping) > at else None
        if mapping is not None:
            need(len(mapping) == len(values) and int(mapping.min()) >= 0, what)
            drop = dropped is not None and dropped[at] is not None
            need(int(mapping.max()) < made[at] + drop, what)
    after, before = held.get("_drop_idx_after_grouping"), dropped
    need((after is None) == (before is None) or "_drop_idx_after_grouping" not in held, what)
    if after is not None:
        for at, drop in enumerate(after):
            need((drop is None) == (before[at] is None), what)
            need(drop is None or (_integer(drop) and 0 <= drop <= made[at]), what)


def _agglomerated(inst: Any, what: str) -> None:
    import numpy as np

    labels = vars(inst).get("labels_")
    if labels is not None and len(labels):
        need(type(labels) is np.ndarray and labels.dtype.kind == "i", what)
        need(int(labels.min()) >= 0 and int(labels.max()) < len(labels), what)


CHECKS: dict[str, Callable[[Any, str], None]] = {
    "scipy.interpolate._bsplines.BSpline": _spline,
    "scipy.sparse._csc.csc_array": _sparse,
    "scipy.sparse._csc.csc_matrix": _sparse,
    "scipy.sparse._csr.csr_array": _sparse,
    "scipy.sparse._csr.csr_matrix": _sparse,
    "sklearn.cluster._agglomerative.FeatureAgglomeration": _agglomerated,
    "sklearn.cluster._kmeans._BaseKMeans": _centres,
    "sklearn.feature_extraction._dict_vectorizer.DictVectorizer": _vocabulary,
    "sklearn.feature_extraction.text.CountVectorizer": _vocabulary,
    "sklearn.neighbors._ball_tree.BallTree": _neighbours,
    "sklearn.neighbors._base.NeighborsBase": _known_points,
    "sklearn.neighbors._classification.KNeighborsClassifier": _labels_of_neighbours,
    "sklearn.neighbors._classification.RadiusNeighborsClassifier": _labels_of_neighbours,
    "sklearn.neighbors._kd_tree.KDTree": _neighbours,
    "sklearn.preprocessing._encoders.OneHotEncoder": _one_hot,
    "sklearn.preprocessing._label.MultiLabelBinarizer": _vocabulary,
    "sklearn.svm._base.BaseLibSVM": _vectors,
}
