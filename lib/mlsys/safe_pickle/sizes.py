"""Numbers of a fitted estimator that decide a prediction's memory or number of rounds.

A number that follows from the estimator's arrays must match them: scikit-learn allocates by it and
fills only the arrays' part, or reads beyond them. Other numbers have limits in `MOST`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlsys.safe_pickle.handles import need
from mlsys.safe_pickle.trees import count

MOST_BYTES = 1024  # of one element of a dtype
NGRAMS = 100  # words or letters of one: a text has as many of each length as it has words
# The most rounds or columns of a transform, by a class's name and an attribute.
MOST = {
    ("AdditiveChi2Sampler", "sample_steps"): 1_000,
    ("LatentDirichletAllocation", "max_doc_update_iter"): 10_000,
    ("MiniBatchNMF", "max_iter"): 100_000,
    ("NMF", "max_iter"): 100_000,
    ("PolynomialCountSketch", "n_components"): 1_000_000,
}


def check_numbers(inst: Any) -> None:
    """Refuse rounds, and elements of a dtype, beyond what any model needs.

    Raises:
        UnsafePickle: the message names the attribute.
    """
    name = type(inst).__name__
    for (kind, attribute), most in MOST.items():
        value = vars(inst).get(attribute)
        if kind == name and value is not None:
            need(value <= most, f"`{name}.{attribute}`")
    rounds = vars(inst).get("transform_max_iter")
    need(rounds is None or rounds <= 100_000, f"`{name}.transform_max_iter`")
    words = vars(inst).get("ngram_range")
    need(words is None or max(words) <= NGRAMS, f"`{name}.ngram_range`")
    if "dtype" in vars(inst):
        need(small_dtype(inst.dtype), f"`{name}.dtype`")


def small_dtype(value: Any) -> bool:
    """Return whether a possible dtype has elements of a sane size, unlike "S1000000000"."""
    import numpy as np

    try:
        if np.dtype(value).itemsize > MOST_BYTES:
            return False
    except (TypeError, ValueError, SyntaxError):  # words such as "numeric", lists of dtypes
        pass
    return type(value) not in (list, tuple) or all(small_dtype(v) for v in value)


def _powers(inst: Any, what: str) -> None:
    """Check the numbers of columns: scikit-learn returns uninitialized memory in excess columns."""
    held = vars(inst)
    if "_n_out_full" not in held:
        return
    need(count(inst, "_min_degree") >= 0 and count(inst, "_max_degree") <= 1_000, what)
    made = {
        name: inst._num_combinations(
            n_features=count(inst),
            min_degree=lowest,
            max_degree=count(inst, "_max_degree"),
            interaction_only=bool(inst.interaction_only),
            include_bias=bool(inst.include_bias),
        )
        for name, lowest in (("n_output_features_", count(inst, "_min_degree")), ("_n_out_full", 0))
    }
    need(all(int(held[name]) == size for name, size in made.items()), what)


def _splines(inst: Any, what: str) -> None:
    held = vars(inst)
    if "bsplines_" not in held:
        return
    each = held["bsplines_"][0].c.shape[1] - (not inst.include_bias)
    need(int(held["n_features_out_"]) == count(inst) * each, what)


def _points(inst: Any, what: str) -> None:
    """Check the number of points, by which scikit-learn itself refuses too many neighbours."""
    held = vars(inst)
    if "_fit_X" in held and "n_samples_fit_" in held:
        need(count(inst, "n_samples_fit_") == held["_fit_X"].shape[0], what)


def _norms(inst: Any, what: str) -> None:
    held = vars(inst)
    if "subcluster_centers_" in held and "_subcluster_norms" in held:
        need(held["_subcluster_norms"].shape == (len(held["subcluster_centers_"]),), what)


def _sketches(inst: Any, what: str) -> None:
    held = vars(inst)
    if "indexHash_" in held:
        need(len(held["indexHash_"]) == count(inst, "degree"), what)


def _embedding(inst: Any, what: str) -> None:
    held = vars(inst)
    if "embedding_" in held:
        need(held["embedding_"].shape[1] == count(inst, "n_components"), what)


def _factors(inst: Any, what: str) -> None:
    held = vars(inst)
    if "components_" in held and "_n_components" in held:
        need(len(held["components_"]) == count(inst, "_n_components"), what)


SIZED: dict[str, Callable[[Any, str], None]] = {
    "sklearn.cluster._birch.Birch": _norms,
    "sklearn.decomposition._nmf._BaseNMF": _factors,
    "sklearn.kernel_approximation.PolynomialCountSketch": _sketches,
    "sklearn.manifold._locally_linear.LocallyLinearEmbedding": _embedding,
    "sklearn.neighbors._base.NeighborsBase": _points,
    "sklearn.preprocessing._polynomial.PolynomialFeatures": _powers,
    "sklearn.preprocessing._polynomial.SplineTransformer": _splines,
}
