"""The numbers that a prediction holds per row, from which its memory follows.

KernelRidge compares each row with every training row, and PolynomialFeatures makes thousands of
columns from ten. With 65,536 rows, a file of a few kilobytes exceeds the memory of any machine.
"""

from __future__ import annotations

from typing import Any

from mlsys.artifact.estimators.parts import parts_of
from mlsys.safe_pickle.roles import called

MOST = 50_000_000  # of a row; 400 MB
AT_ONCE = 2**27  # of a batch; 1 GiB
# Arrays with which each row is compared or multiplied, and the axis that sets the width.
COMPARED = {
    "X_": 0, "X_fit_": 0, "X_train_": 0, "cluster_centers_": 0, "code_book_": 0, "coef_": 0,
    "components_": 0, "dist_matrix_": 0, "means_": 0, "random_weights_": 1,
    "subcluster_centers_": 0, "theta_": 0,
}  # fmt: skip
COUNTS = ("_n_out_full", "n_features_out_", "n_output_features_", "n_outputs_")
VOCABULARY = ("CountVectorizer", "DictVectorizer", "TfidfVectorizer")


def row_width(model: Any) -> int:
    """Return an upper bound of the numbers that a prediction holds per row at once.

    Sparse columns count only if they are made dense.
    """
    dense = any(
        type(part).__name__ == "ColumnTransformer" and not vars(part).get("sparse_output_", True)
        for part in parts_of(model)
    )
    total: dict[int, int] = {}
    left = [(model, False)]
    kept = []  # keeps ids unique
    while left:
        part, done = left.pop()
        inside = list(called(part)) if hasattr(part, "__dict__") else []
        if done:
            # A forest adds up its trees' predictions one by one; others keep all predictions.
            trees = [total[id(p)] for p in inside if _is_tree(p)]
            others = sum(total[id(p)] for p in inside if not _is_tree(p))
            total[id(part)] = _own(part, dense) + max(trees, default=0) + others
        elif id(part) not in total:
            kept.append(part)
            total[id(part)] = 0  # an object of a trusted class may contain itself
            left.append((part, True))
            left += [(p, False) for p in inside]
    return total[id(model)]


def rows_at_once(model: Any) -> int:
    """Return how many rows the model may predict at once."""
    return max(1, AT_ONCE // max(1, row_width(model)))


def _is_tree(part: Any) -> bool:
    return type(part).__module__ == "sklearn.tree._classes"


def _own(part: Any, dense: bool) -> int:
    held: dict[str, Any] = vars(part) if hasattr(part, "__dict__") else {}
    sizes = [_number(held.get(name)) for name in COUNTS]
    for name, axis in COMPARED.items():
        shape = getattr(held.get(name), "shape", ())
        if len(shape) == 2:
            sizes.append(shape[axis])
    sizes += [getattr(layer, "shape", (0,))[-1] for layer in _listed(held.get("coefs_"))]
    sizes.append(getattr(held.get("intercept_"), "size", 0))
    sizes.append(len(_listed(held.get("estimators_"))))
    labels = held.get("classes_")
    sizes.append(
        sum(map(_length, _listed(labels))) if isinstance(labels, list) else _length(labels)
    )
    sizes.append(_of_kind(part, held, dense))
    return int(max(sizes))


def _of_kind(part: Any, held: dict[str, Any], dense: bool) -> int:
    """Return the width that depends on the class: neighbours, categories, words, samples."""
    name, module = type(part).__name__, type(part).__module__
    if module.startswith("sklearn.neighbors.") and "_fit_X" in held:
        outputs = getattr(held.get("_y"), "shape", (0,))[1:] or (1,)
        known = getattr(held["_fit_X"], "shape", (0,))[0]
        near = known if name.startswith("Radius") else _number(held.get("n_neighbors"))
        return min(near, known) * int(outputs[0])
    if name == "OneHotEncoder" and "categories_" in held:
        made = int(sum(part._compute_n_features_outs()))
        sparse = held.get("sparse_output", held.get("sparse", True))
        return made if dense or not sparse else len(held["categories_"])
    if name in VOCABULARY:
        return _length(held.get("vocabulary_")) if dense or held.get("sparse") is False else 0
    if name in ("FeatureHasher", "HashingVectorizer"):
        return _number(held.get("n_features")) if dense else 0
    if name == "PolynomialCountSketch":
        return _number(held.get("n_components"))
    if name == "AdditiveChi2Sampler":
        return 2 * _number(held.get("sample_steps")) * _number(held.get("n_features_in_"))
    return 0


def _number(value: Any) -> int:
    whole = type(value) is int or getattr(getattr(value, "dtype", None), "kind", "") in ("i", "u")
    return max(0, int(value)) if whole and getattr(value, "shape", ()) == () else 0


def _listed(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else ()


def _length(value: Any) -> int:
    return len(value) if hasattr(value, "__len__") and getattr(value, "shape", (0,)) != () else 0
