"""The parameters of `/predict` as a notebook passes them, and as the texts that the route takes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mlsys.arguments import kind_of
from mlsys.errors import InvalidRequest


def texts(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Return the parameters that are given, as texts.

    None and False are not given. A list is joined by commas, a dict is JSON, a float below 1 is a
    share. The service checks what they mean.

    Raises:
        InvalidRequest: a value of another type, or a name with a comma in it.
    """
    out, faults = {}, []
    for name, value in parameters.items():
        if value is None or value is False:
            continue
        try:
            out[name] = text(value)
        except ValueError as exc:
            faults.append((name, str(exc)))
    if faults:
        raise InvalidRequest(*faults)
    return out


def text(value: Any) -> str:
    """Return one value as the route takes it.

    >>> text(["predict", "predict_proba"]), text(True), text({"<=50K": "low"}), text(0.01)
    ('predict,predict_proba', 'true', '{"<=50K": "low"}', '0.01')

    Raises:
        ValueError: it has no such form.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return f"{value:.9f}".rstrip("0").rstrip(".")
    if isinstance(value, Mapping):
        return json.dumps({str(k): v for k, v in value.items()}, ensure_ascii=False)
    if isinstance(value, list | tuple):
        return _joined(value)
    if type(value).__module__.startswith("mlsys."):
        return str(value)  # a TableRef
    raise ValueError(f"is {kind_of(value)}: pass a text, a number, a list of texts or a dict")


def switch(value: object) -> str | None:
    """Return a parameter that is true by default as the route takes it: None if it is true."""
    return None if value is None or value is True else str(value).lower()


def _joined(values: list[Any] | tuple[Any, ...]) -> str:
    for value in values:
        if not isinstance(value, str):
            raise ValueError(f"holds {kind_of(value)}: pass texts")
        if "," in value:
            raise ValueError(f"{value!r} has a comma, which separates names: rename the column")
    return ",".join(values)
