"""Answer requests beyond the service's capacity by 503 at once, before any work begins."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from flask import Flask

from mlsys.errors import TryAgain

_refusing: ContextVar[bool] = ContextVar("refusing", default=False)


class Overloaded(TryAgain):
    """The service works on as many requests as it can."""

    retry_after = 10


@contextmanager
def refusing() -> Iterator[None]:
    """Refuse the requests that are handled in this block."""
    token = _refusing.set(True)
    try:
        yield
    finally:
        _refusing.reset(token)


def is_refusing() -> bool:
    """Tell whether the request that is being handled is refused."""
    return _refusing.get()


def register(app: Flask) -> None:
    """Answer refused requests by 503, before anything else is checked."""

    @app.before_request
    def refuse() -> None:
        if is_refusing():
            raise Overloaded(
                "The service works on as many requests as it can. Repeat the request later."
            )
