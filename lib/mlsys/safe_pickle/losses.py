"""The losses and links of scikit-learn's estimators, which predict calls.

`PoissonRegressor.predict` is `self._base_loss.link.inverse(...)`, boosting's is
`self._loss.link.inverse(...)` or `self._loss.predict_proba(...)`. So such an attribute may only
hold an object of scikit-learn's own loss class, and a loss only the parts that its class creates.
"""

from __future__ import annotations

import functools
from collections.abc import Collection
from typing import Any

from mlsys.safe_pickle import names as trusted_names
from mlsys.safe_pickle.handles import UnsafePickle, resolve

LOSS_MODULE = "sklearn._loss.loss"
LINK_MODULE = "sklearn._loss.link"
LOSSES = frozenset(f"{LOSS_MODULE}.{n}" for n in trusted_names.CLASSES[LOSS_MODULE].split())
COMPILED = frozenset(trusted_names.keys(trusted_names.OF_NUMBERS)) | {
    "sklearn._loss._loss.CyHalfMultinomialLoss"
}
PLACES: dict[str, frozenset[str]] = {
    "_base_loss": LOSSES,
    "base_loss": LOSSES,
    "_loss": LOSSES,
    "_loss_function_": COMPILED,
    "loss_function_": COMPILED,
}
PARTS = frozenset(("closs", "link", "interval_y_true", "interval_y_pred"))
# Numbers or words in some estimators, objects in others. No class here calls them.
WORDS = frozenset(("loss_", "link", "closs", "interval_y_true", "interval_y_pred"))

DATA = "a number or a word"


def check_of(inst: Any, name: str, value: Any, where: str, free: Collection[type]) -> None:
    """Check the attribute `name` of a scikit-learn object if it is a loss or part of one.

    Raises:
        UnsafePickle: it holds an object that is not a loss, or not a part of this loss.
    """
    if value is None or type(value) in free:
        return
    place = f"{type(inst).__module__}.{type(inst).__qualname__}"
    if place in LOSSES:
        part = _parts(place).get(name)
        if not (type(value) is part if name in PARTS else _is_data(value)):
            raise _refusal(value, where, f"scikit-learn's `{part.__name__}`" if part else DATA)
    elif type(inst).__module__ == LINK_MODULE:  # the bounds of an interval; a link has none
        if not _is_data(value):
            raise _refusal(value, where, DATA)
    elif name in PLACES:
        if f"{type(value).__module__}.{type(value).__qualname__}" not in PLACES[name]:
            raise _refusal(value, where, "a loss of scikit-learn's")
    elif name in WORDS and (callable(value) or type(value).__module__.startswith("sklearn.")):
        raise _refusal(value, where, DATA)


def _refusal(value: Any, where: str, what: str) -> UnsafePickle:
    kind = type(value).__name__
    return UnsafePickle(f"has an object of `{kind}` in `{where}`, where {what} belongs")


@functools.cache
def _parts(key: str) -> dict[str, type]:
    """Return the classes of the parts that a loss of the listed class `key` creates."""
    made = resolve(key)()
    return {name: type(part) for name, part in vars(made).items() if name in PARTS}


def _is_data(value: Any) -> bool:
    """Return whether the value is a number, a word or an array of numbers."""
    if type(value) in (bool, int, float, str):
        return True
    dtype = getattr(value, "dtype", None)
    return type(value).__module__ == "numpy" and getattr(dtype, "kind", "O") in "biuf"
