"""How much each feature counts in a model, where the model tells it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def importances(model: Any, features: Sequence[str]) -> list[float] | None:
    """Return a share of 1 for each feature, or None if the model does not tell.

    By `feature_importances_`, else by the size of `coef_`. In a pipeline the importances of a
    feature's columns (`cat__sex_female`) are added up, if every column's name leads to one feature.
    """
    import numpy as np

    steps = getattr(model, "steps", None)
    last = steps[-1][1] if isinstance(steps, list) and steps else model
    weights = getattr(last, "feature_importances_", None)
    if weights is None:
        weights = getattr(last, "coef_", None)
    try:
        sizes = np.abs(np.asarray(weights, float))
    except (TypeError, ValueError):  # none, or sparse
        return None
    sizes = sizes.mean(axis=0) if sizes.ndim == 2 else sizes
    if sizes.ndim != 1 or not np.isfinite(sizes).all() or sizes.sum() <= 0:
        return None
    if last is not model:
        places = _places(model, features)
        if places is None or len(places) != len(sizes):
            return None
        sizes = np.bincount(places, weights=sizes, minlength=len(features))
    if len(sizes) != len(features):
        return None
    return [round(float(size), 4) for size in sizes / sizes.sum()]


def _places(pipeline: Any, features: Sequence[str]) -> list[int] | None:
    """Return the feature that each input of the last step is made of, or None if one is unclear."""
    try:
        names = [str(name) for name in pipeline[:-1].get_feature_names_out(list(features))]
    except Exception:  # a step may lack it, or refuse the names
        return None
    order = sorted(range(len(features)), key=lambda i: -len(features[i]))  # the longest match
    places = []
    for name in names:
        plain = name.rpartition("__")[2] if "__" in name else name
        match = [
            i for i in order if plain == features[i] or plain.startswith(f"{features[i]}_")
        ] or [i for i in order if name == features[i]]
        if not match:
            return None
        places.append(match[0])
    return places
