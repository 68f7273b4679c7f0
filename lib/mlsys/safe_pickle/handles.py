"""What stands on the unpickler's stack in place of the classes and functions of a pickle."""

from __future__ import annotations

import datetime
import importlib
from collections.abc import Callable
from typing import Any

TRIPLET = "sklearn.impute._iterative._ImputerTriplet"  # a named tuple: its values are arguments


PRIME = 2**61 - 1  # whole numbers below it have hashes of their own
RARE = 1000  # keys whose hash may be made equal to that of others, in a pickle
DATES = frozenset(
    "datetime.datetime datetime.time datetime.timedelta decimal.Decimal uuid.UUID "
    "pandas.Timestamp pandas.Timedelta pandas._libs.tslibs.nattype.NaTType "
    "pandas._libs.tslibs.timestamps.Timestamp pandas._libs.tslibs.timedeltas.Timedelta".split()
)
MEMBERS = 1_000_000  # of tuples that are keys, in a pickle


class UnsafePickle(Exception):
    """The pickle asks for something that no model needs; the message goes behind its name."""


class Malformed(UnsafePickle):
    """Something of a model in a form that its library does not write."""


class Untrusted(UnsafePickle):
    """A name that is not on the list; `key` is the name. `mlsys.artifact.refusals` says what helps.

    `nested` says that it is a method, or a class inside another.
    """

    def __init__(self, key: str, nested: bool = False) -> None:
        self.nested = nested
        self.key = (key if key.isprintable() else ascii(key))[:200]
        super().__init__(f"needs `{self.key}`, which is not on the list")


class StandIn:
    """In place of an object that no prediction needs, such as what a search drew values from.

    `key` is the name of one that may stand nowhere else (`mlsys.safe_pickle.left_out`).
    """

    def __init__(self, key: str | None = None) -> None:
        self.key = key

    def append(self, *values: Any) -> None:
        """Take what a pickle puts into the object, and forget it."""

    extend = add = __setitem__ = append


class Handle:
    """A listed class or constructor on the unpickler's stack: it can be used up, but not kept.

    What is listed for being made by the pickle cannot become an attribute that is called later.
    """

    __slots__ = ("key", "left_out", "make", "value")

    def __init__(
        self, key: str, value: type | None = None, make: Callable[..., Any] | None = None
    ) -> None:
        self.key, self.value, self.make = key, value, make
        self.left_out: str | None = None


def resolve(key: str) -> Any:
    """Return what `module.name` names; the module is imported."""
    module, _, name = key.rpartition(".")
    return getattr(importlib.import_module(module), name)


def need(condition: bool, what: str) -> None:
    """Refuse what does not hold.

    Raises:
        Malformed: `condition` is false; `what` says of what the pickle has made a wrong use.
    """
    if not condition:
        raise Malformed(f"holds {what} in a form that no library writes")


class Keys:
    """What may be a key or the member of a set: its hash runs no code and ends soon.

    Each key is looked at on its own, and there is a bound for all of a pickle. Whole and complex
    numbers whose hashes an author can make equal, and tuples, cost more than others.
    """

    def __init__(self) -> None:
        self._rare, self._members = RARE, MEMBERS

    def simple(self, value: Any, depth: int = 2) -> bool:
        kind = type(value)
        if value is None or kind in (bool, float, str, bytes, datetime.date):
            return True
        if kind is int:
            if -PRIME < value < PRIME:
                return True
            self._rare -= 1
            return value.bit_length() <= 1024 and self._rare >= 0
        if kind is complex or f"{kind.__module__}.{kind.__name__}" in DATES:
            self._rare -= 1
            return self._rare >= 0
        if kind is tuple and depth and len(value) < 1000:
            self._members -= len(value) + 1
            return self._members >= 0 and all(self.simple(v, depth - 1) for v in value)
        return kind.__module__ == "numpy" and _is_numpy_scalar(value)


def simple_key(value: Any) -> bool:
    """Return whether a single value may be a key (see `Keys`)."""
    return Keys().simple(value)


def _is_numpy_scalar(value: Any) -> bool:
    import numpy as np

    return isinstance(value, np.generic) and not isinstance(value, np.void | np.object_)


def new(cls: Handle, args: tuple[Any, ...] = ()) -> Any:
    """Return a listed class's object as `__new__` makes it, without an argument (but see TRIPLET).

    Raises:
        UnsafePickle: it is no listed class, or gets an argument.
    """
    need(cls.value is not None and cls.make is None, f"`{cls.key}`")
    kind: Any = cls.value
    if kind is StandIn:
        return StandIn(cls.left_out)
    if cls.key == TRIPLET:
        need(len(args) == 3 and not any(type(a) is Handle for a in args), f"`{cls.key}`")
        return kind(*args)
    need(args == (), f"`{cls.key}`")
    return kind.__new__(kind)
