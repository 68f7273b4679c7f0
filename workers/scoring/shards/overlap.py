"""Work that goes on in a thread while its caller does something else; a step ahead, no more."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, cast


def ahead[T](items: Iterable[T]) -> Iterator[T]:
    """Yield the items; the next one is got while the caller works on the one it has."""
    iterator, end = iter(items), object()
    with ThreadPoolExecutor(1, "ahead") as thread:
        coming: Future[Any] = thread.submit(next, iterator, end)
        while (item := coming.result()) is not end:
            coming = thread.submit(next, iterator, end)
            yield cast(T, item)


class Behind:
    """Does one thing after the other in a thread; whoever brings the next waits for the last."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "behind")
        self._last: Future[None] | None = None

    def do(self, work: Callable[[], None]) -> None:
        """Have `work` done; raises what the last work raised."""
        self.wait()
        self._last = self._thread.submit(work)

    def wait(self) -> None:
        """Wait until all is done; raises what the last work raised."""
        last, self._last = self._last, None
        if last is not None:
            last.result()

    def close(self) -> None:
        """Wait until all is done, whatever came of it."""
        self._thread.shutdown()
