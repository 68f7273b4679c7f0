"""What stands on the unpickler's stack in place of the classes and functions of a pickle."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

TRIPLET = "sklearn.impute._iterative._ImputerTriplet"  # a named tuple: its values are arguments


class Refused(Exception):
    """The pickle asks for something that no model needs; the message goes behind its name."""


class StandIn:
    """In place of an object that no prediction needs, such as what a search drew values from."""


class Handle:
    """A listed class or constructor on the unpickler's stack: it can be used up, but not kept.

    What is listed for being made by the pickle cannot become an attribute that is called later.
    """

    __slots__ = ("key", "make", "value")

    def __init__(
        self, key: str, value: type | None = None, make: Callable[..., Any] | None = None
    ) -> None:
        self.key, self.value, self.make = key, value, make


def resolve(key: str) -> Any:
    """Return what `module.name` names; the module is imported."""
    module, _, name = key.rpartition(".")
    return getattr(importlib.import_module(module), name)


def need(condition: bool, what: str) -> None:
    """Refuse what does not hold.

    Raises:
        Refused: `condition` is false; `what` says of what the pickle has made a wrong use.
    """
    if not condition:
        raise Refused(f"holds {what} in a form that no library writes")


def simple_key(value: Any, depth: int = 2) -> bool:
    """True of what may be a key or the member of a set: its hash runs no code and ends soon."""
    if value is None or type(value) in (bool, int, float, complex, str, bytes):
        return True
    if type(value) is tuple and depth and len(value) < 1000:
        return all(simple_key(v, depth - 1) for v in value)
    return type(value).__module__ == "numpy" and _is_numpy_scalar(value)


def _is_numpy_scalar(value: Any) -> bool:
    import numpy as np

    return isinstance(value, np.generic) and not isinstance(value, np.void | np.object_)


def new(cls: Handle, args: tuple[Any, ...] = ()) -> Any:
    """Return a listed class's object as `__new__` makes it, without an argument (but see TRIPLET).

    Raises:
        Refused: it is no listed class, or gets an argument.
    """
    need(cls.value is not None and cls.make is None, f"`{cls.key}`")
    kind: Any = cls.value
    if cls.key == TRIPLET:
        need(len(args) == 3 and not any(type(a) is Handle for a in args), f"`{cls.key}`")
        return kind(*args)
    need(args == (), f"`{cls.key}`")
    return kind.__new__(kind)
