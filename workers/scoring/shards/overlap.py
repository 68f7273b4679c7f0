"""Overlap one step of work in a thread with the caller's own work.

The thread's log lines have the fields of the caller's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, cast

from workers import logs


def ahead[T](items: Iterable[T]) -> Iterator[T]:
    """Yield the items; fetch the next one while the caller works on the current one."""
    iterator, end = iter(items), object()
    with ThreadPoolExecutor(1, "ahead") as thread:

        def fetch() -> Future[Any]:
            return thread.submit(logs.within, logs.about(), lambda: next(iterator, end))

        coming = fetch()
        while (item := coming.result()) is not end:
            coming = fetch()
            yield cast(T, item)


class Behind:
    """Runs one task at a time in a thread; starting the next one waits for the last."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "behind")
        self._last: Future[None] | None = None

    def do(self, work: Callable[[], None]) -> None:
        """Start `work` once the last one is done; raise what that one raised."""
        self.wait()
        self._last = self._thread.submit(logs.within, logs.about(), work)

    def wait(self) -> None:
        """Wait until all work is done; raise what the last one raised."""
        last, self._last = self._last, None
        if last is not None:
            last.result()

    def close(self) -> None:
        """Wait until all work is done, and ignore its errors."""
        self._thread.shutdown()
