"""The parameters of an estimator as texts: for `metadata.json`, and to compare two versions."""

from __future__ import annotations

from typing import Any

MAX_PARAMETERS = 500
MAX_TEXT = 200  # characters of a value
MAX_ITEMS = 20  # of a list or a dict
MAX_DEPTH = 4


def parameters_of(model: Any) -> dict[str, str]:
    """Return the model's parameters and those of its parts, by name: `get_params(deep=True)`.

    The value of a parameter is the text that Python code would have for it. An estimator is named
    by its class, since its own parameters follow. A model without parameters has none.

    >>> from sklearn.linear_model import Ridge
    >>> from sklearn.pipeline import Pipeline
    >>> parameters_of(Pipeline([("ridge", Ridge(alpha=2.0))]))["ridge__alpha"]
    '2.0'
    """
    try:
        given = model.get_params(deep=True)
        return {
            str(name)[:MAX_TEXT]: _text(given[name])
            for name in sorted(given, key=str)[:MAX_PARAMETERS]
        }
    except Exception:  # an estimator's own get_params, or a value's repr, may raise anything
        return {}


def _text(value: Any, depth: int = 0) -> str:
    text = ascii(value) if _is_odd(value) else _shape(value, depth)
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}..."


def _is_odd(value: Any) -> bool:
    """Return whether it is text that JSON or BigQuery cannot hold."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return True
    return "\0" in value


def _shape(value: Any, depth: int) -> str:
    import numpy as np

    if depth > MAX_DEPTH:
        return "..."
    if isinstance(value, np.generic):
        value = value.item()
    if hasattr(value, "get_params") and not isinstance(value, type):
        return type(value).__name__
    if isinstance(value, np.ndarray):
        return f"array of {value.shape}, {value.dtype}"
    if isinstance(value, dict):
        items = list(value.items())[:MAX_ITEMS]
        inner = ", ".join(f"{_text(k, depth + 1)}: {_text(v, depth + 1)}" for k, v in items)
        return f"{{{inner}{', ...' if len(value) > MAX_ITEMS else ''}}}"
    if isinstance(value, list | tuple | set | frozenset):
        inner = ", ".join(_text(v, depth + 1) for v in list(value)[:MAX_ITEMS])
        inner += ", ..." if len(value) > MAX_ITEMS else ""
        return f"[{inner}]" if isinstance(value, list) else f"({inner})"
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{getattr(value, '__module__', '')}.{value.__qualname__}"
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return repr(value)
    return type(value).__name__  # a repr may hold an address, which always differs
