"""Placeholders on the unpickler's stack for the classes and functions of a pickle."""

from __future__ import annotations

import datetime
import importlib
from collections.abc import Callable
from typing import Any

TRIPLET = "sklearn.impute._iterative._ImputerTriplet"  # a named tuple: its values are arguments


PRIME = 2**61 - 1  # whole numbers below it have distinct hashes
RARE = 1000  # keys per pickle whose hashes an author can make equal
DATES = frozenset(
    "datetime.datetime datetime.time datetime.timedelta decimal.Decimal uuid.UUID "
    "pandas.Timestamp pandas.Timedelta pandas._libs.tslibs.nattype.NaTType "
    "pandas._libs.tslibs.timestamps.Timestamp pandas._libs.tslibs.timedeltas.Timedelta".split()
)
MEMBERS = 1_000_000  # of tuples that are keys, per pickle


class UnsafePickle(Exception):
    """The pickle requests something that no model needs; the message continues its name."""


class Malformed(UnsafePickle):
    """A part of a model in a form that its library does not write."""


class Untrusted(UnsafePickle):
    """The name `key` is not on the allow-list; `mlsys.artifact.refusals` says what to do.

    `nested`: it is a method, or a class inside another.
    """

    def __init__(self, key: str, nested: bool = False) -> None:
        self.nested = nested
        self.key = (key if key.isprintable() else ascii(key))[:200]
        super().__init__(f"needs `{self.key}`, which is not on the list")


class StandIn:
    """A placeholder for an object that no prediction needs, such as a search's distribution.

    `key` is set for an object that only ignored attributes may hold (`mlsys.safe_pickle.left_out`).
    """

    def __init__(self, key: str | None = None) -> None:
        self.key = key

    def append(self, *values: Any) -> None:
        """Discard what the pickle puts into the object."""

    extend = add = __setitem__ = append


class Handle:
    """A listed class or constructor on the unpickler's stack: usable during loading, but not kept.

    So a name that is listed only for loading cannot become an attribute that is called later.
    """

    __slots__ = ("key", "left_out", "make", "value")

    def __init__(
        self, key: str, value: type | None = None, make: Callable[..., Any] | None = None
    ) -> None:
        self.key, self.value, self.make = key, value, make
        self.left_out: str | None = None


def resolve(key: str) -> Any:
    """Import the module of `module.name` and return the named object."""
    module, _, name = key.rpartition(".")
    return getattr(importlib.import_module(module), name)


def need(condition: bool, what: str) -> None:
    """Refuse the pickle unless `condition` holds.

    Raises:
        Malformed: it does not; the message names `what`.
    """
    if not condition:
        raise Malformed(f"holds {what} in a form that no library writes")


class Keys:
    """The check of a pickle's keys and members of sets: hashing them runs no code and is fast.

    Each key is checked, and the whole pickle has limits for tuples and for numbers whose hashes an
    author can make equal.
    """

    def __init__(self) -> None:
        self._rare, self._members = RARE, MEMBERS

    def simple(self, value: Any, depth: int = 2) -> bool:
        """Return whether the value may be a key, within the limits of the whole pickle."""
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
    """Return an empty object of a listed class, from `__new__` without arguments (except TRIPLET).

    Raises:
        UnsafePickle: the class is not listed, or gets an argument.
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
