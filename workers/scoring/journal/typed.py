"""Read the objects of a run as the classes that they have here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from typing import Any

from workers.scoring.journal.store import RunStore, UnknownFields


def read[T](store: RunStore, name: str, to: Callable[[dict[str, Any]], T]) -> T | None:
    """Return what `to` makes of the object, or None if the run does not have it.

    Raises:
        Conflict, NewerRelease: see `RunStore.parse`.
    """
    value = store.read(name)
    return None if value is None else store.parse(name, value, to)


def known(cls: type[Any], value: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of `cls` that `value` has; another release may write more.

    Raises:
        KeyError: a field without a default is missing.
    """
    optional = {
        f.name for f in fields(cls) if f.default is not MISSING or f.default_factory is not MISSING
    }
    return {f.name: value[f.name] for f in fields(cls) if f.name in value or f.name not in optional}


def exactly(cls: type[Any], value: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return `value` if `cls` has all its fields: each may change which rows are written, and how.

    Raises:
        KeyError: a field without a default is missing.
        UnknownFields: it has others.
    """
    known(cls, value)
    if unknown := value.keys() - {f.name for f in fields(cls)}:
        raise UnknownFields(", ".join(sorted(unknown)))
    return value
