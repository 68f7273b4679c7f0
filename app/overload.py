"""Requests beyond those that the service works on at once: 503 at once, and nothing is begun."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from flask import Flask

from mlsys.errors import TryAgain

_refusing: ContextVar[bool] = ContextVar("refusing", default=False)


class Overloaded(TryAgain):
    """The service has as many requests in work as it takes."""

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
    """Answer refused requests by 503, before anything else is looked at."""

    @app.before_request
    def refuse() -> None:
        if is_refusing():
            raise Overloaded(
                "The service works on as many requests as it can. Repeat the request later."
            )
