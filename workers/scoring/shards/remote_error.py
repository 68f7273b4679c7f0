"""Exceptions that cross from a scoring process to the service with class and attributes intact.

Many exceptions cannot be pickled or unpickled: gRPC's hold a call, with its locks; Cloud Storage's
hold a response; a class with its own constructor is called with other arguments than it takes.
`ProcessPoolExecutor` then raises pickle's error, or gives up the whole pool. The caller has to see
the same class with the same attributes as if it had scored the rows itself: `app.api.problems` and
`mlsys.cloud.clients.is_passing` decide by those.
"""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from workers.sandbox.died import Cause

MAX_TRACEBACK = 20_000  # characters, the last ones
MAX_DEPTH = 4  # of values inside an exception that are looked at one by one


class RemoteTraceback(Exception):
    """The traceback of the scoring process: the cause of the exception that crossed."""

    def __str__(self) -> str:
        return f"in a scoring process:\n{self.args[0]}"


@dataclass(frozen=True, slots=True)
class RemoteError:
    """An exception on its way between processes. It can always be pickled and unpickled."""

    pickled: bytes
    traceback: str
    deaths: Mapping[Cause, int] = field(default_factory=dict)  # of the process's sandboxes

    @classmethod
    def of(cls, exc: Exception) -> Self:
        """Return the exception in a form that crosses: as itself, else as its nearest base."""
        import grpc
        from google.api_core.exceptions import from_grpc_error

        lines = "".join(traceback.format_exception(exc))[-MAX_TRACEBACK:]
        if isinstance(exc, grpc.RpcError):  # the call itself, with its threads
            exc = from_grpc_error(exc)
        for form, kind in _forms(exc):
            try:
                pickled = pickle.dumps(form)
                arrived = pickle.loads(pickled)
                if type(arrived) is kind and str(arrived):
                    return cls(pickled, lines)
            except Exception:  # any class may do anything as it is pickled, built or shown
                continue
        return cls(pickle.dumps(RuntimeError(f"{type(exc).__name__}: {_text(exc)}")), lines)

    def error(self) -> Exception:
        """Return the exception, with the other process's traceback as its cause."""
        exc: Exception = pickle.loads(self.pickled)
        exc.__cause__ = RemoteTraceback(self.traceback)
        return exc


class _Rebuilt:
    """Unpickles as an exception that was built without its class's constructor."""

    def __init__(self, exc: Exception, depth: int) -> None:
        attributes = {name: _portable(value, depth) for name, value in vars(exc).items()}
        self._state = (type(exc), _portable(exc.args, depth), attributes)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, self._state


def _rebuild(kind: type[Exception], args: tuple[Any, ...], attributes: dict[str, Any]) -> Exception:
    exc = kind.__new__(kind, *args)
    exc.args = args
    exc.__dict__.update(attributes)
    return exc


def _forms(exc: Exception, depth: int = MAX_DEPTH) -> Iterator[tuple[Any, type[Exception]]]:
    """Yield replacements of the exception, the most exact first, and their class once unpickled."""
    if _survives(exc):
        yield exc, type(exc)
    if hasattr(type(exc), "__del__"):  # gRPC's: it may need its constructor
        return
    if depth:
        yield _Rebuilt(exc, depth - 1), type(exc)
    for kind in type(exc).__mro__:
        if kind is Exception:
            return
        if issubclass(kind, Exception):
            try:
                yield kind(_text(exc)), kind
            except Exception:  # its constructor takes more
                continue


def _survives(exc: Exception) -> bool:
    """Tell whether pickle alone keeps the exception's text and attributes."""
    try:
        arrived = pickle.loads(pickle.dumps(exc))
        return str(arrived) == str(exc) and vars(arrived).keys() == vars(exc).keys()
    except Exception:  # any class may do anything as it is pickled, built or shown
        return False


def _portable(value: Any, depth: int) -> Any:
    """Return `value`, or the parts that can be pickled, with None for those that cannot."""
    if isinstance(value, Exception):
        forms = (form for form, _ in _forms(value, depth))
        last = RuntimeError(f"{type(value).__name__}: {_text(value)}")
        return next((form for form in forms if _travels(form)), last)
    if _travels(value):
        return value
    if type(value) in (list, tuple) and depth:
        return type(value)(_portable(item, depth - 1) for item in value)
    if type(value) is dict and depth:
        return {k: _portable(item, depth - 1) for k, item in value.items() if type(k) is str}
    return () if type(value) is tuple else None


def _travels(value: Any) -> bool:
    try:
        pickle.loads(pickle.dumps(value))
        return True
    except Exception:  # any class may do anything as it is pickled or built
        return False


def _text(exc: BaseException) -> str:
    try:
        return str(exc)
    except Exception:  # any class may raise here
        return "its message cannot be read"
