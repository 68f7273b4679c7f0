"""The tries as questions to a real sandbox."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from escapes import TRIES

# Those about descriptors that a test opens before: a sandbox has none of them.
WITHOUT_DESCRIPTORS = [
    name
    for name, made in TRIES.items()
    if not {"kept", "inherited_file", "inherited_socket"} & set(made.function.__code__.co_names)
]


def _try(body: Mapping[str, Any], _: object) -> tuple[dict[str, Any], None]:
    made = TRIES[body["name"]]
    try:
        value = made.function(SimpleNamespace(**body["canaries"]))
    except BaseException as exc:
        cause = getattr(exc, "reason", exc)
        number = getattr(cause, "errno", None)
        return {"error": f"{type(exc).__name__}: {exc}", "errno": number or 0}, None
    return {"value": repr(value)[:200]}, None


HANDLERS = {"try": _try}
