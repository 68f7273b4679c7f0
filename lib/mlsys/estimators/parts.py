"""The estimators inside a model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def parts_of(model: Any) -> Iterator[Any]:
    """Yield the estimators in the model, and what scikit-learn wraps them in."""
    seen: set[int] = set()
    left = [model]
    while left:  # no recursion: how deep it goes is the pickle's choice
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
            if own or hasattr(value, "get_params"):
                left += vars(value).values()
                yield value
