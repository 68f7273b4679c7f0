"""The estimators inside a model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def parts_of(model: Any) -> Iterator[Any]:
    """Yield the estimators in the model, and the objects around them."""
    seen: set[int] = set()
    left = [model]
    while left:  # no recursion: the pickle decides the depth
        value = left.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, list | tuple):
            left += value
        elif isinstance(value, dict):
            left += value.values()
        elif hasattr(value, "__dict__") and not isinstance(value, type):
            own = type(value).__module__.partition(".")[0] == "sklearn"
            if own or hasattr(value, "get_params") or _answers(value):
                left += vars(value).values()
                yield value


def _answers(value: Any) -> bool:
    """Tell whether a class that is not an estimator is used like one; a DataFrame is not."""
    kind = type(value)
    return hasattr(kind, "predict") or (hasattr(kind, "fit") and hasattr(kind, "transform"))
