"""How often a postponed request is repeated, and for how long."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from mlsys.errors import TryAgain
from mlsys.remote.progress import rows_done, say
from mlsys.remote.service import Unreachable

TRIES = 10  # in a row, without a new row or shard
PLAIN_TRIES = 2  # without progress; later messages count the tries
STALLED = 900.0  # seconds without progress, after which a third try is the last


class Patience:
    """The limit on repeating a postponed request: it holds while rows or shards are added."""

    def __init__(
        self, before: Mapping[str, Any] | None = None, note: Callable[[str], None] = say
    ) -> None:
        self._done = _done(before or {})
        self._note = note
        self._tries = 0
        self._since = time.monotonic()

    def wait(self, exc: TryAgain, status: Mapping[str, Any] | None = None) -> None:
        """Wait as long as the service asks for; `status` is the run's latest known status.

        Raises:
            TryAgain: nothing was added for `TRIES` tries, or for `STALLED` seconds; the message
                quotes the service.
        """
        counts = [_done(exc.progress), _done(status or {})]
        if any(new > old for done in counts for new, old in zip(done, self._done, strict=True)):
            self._tries, self._since = 0, time.monotonic()
        self._done = tuple(max(column) for column in zip(self._done, *counts, strict=True))
        self._tries += 1
        seconds = time.monotonic() - self._since
        stalled = self._tries > PLAIN_TRIES and seconds > STALLED
        if self._tries >= TRIES or stalled:
            raise TryAgain(
                f"gave up after {self._tries} tries in {seconds:.0f} s without progress: try again "
                f"later. The service says: {exc}",
                exc.progress,
            ) from exc
        if self._tries <= PLAIN_TRIES:
            self._note(f"{exc}; trying again in {exc.retry_after} s")
        else:
            self._note(
                f"{self._tries} of {TRIES} tries made no progress; trying again in "
                f"{exc.retry_after} s. The service says: {exc}"
            )
        time.sleep(exc.retry_after)


def repeated[T](ask: Callable[[], T]) -> T:
    """Return what `ask` returns; what the service postpones is asked again.

    Raises:
        Unreachable, TryAgain: the service cannot be reached, or kept postponing it.
    """
    patience = Patience()
    while True:
        try:
            return ask()
        except Unreachable:
            raise
        except TryAgain as exc:
            patience.wait(exc)


def _done(status: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the rows and the shards of a run that are done."""
    return rows_done(status), int(status.get("shards_done") or 0)
