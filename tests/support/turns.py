"""Threads that take turns: each stops before every call, and continues when a test steps it.

The test decides the order, or ends a thread where it stands; nothing is left to chance.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

_turn = threading.local()


class Killed(BaseException):
    """The process of a handler has been killed: none of its code runs any more."""


class Turn:
    """Work in a thread of its own that runs only during `step`."""

    def __init__(self, work: Callable[[], None]) -> None:
        self.at = "start"  # the call before or in which it stopped
        self.ended = self.killed = False
        self.error: BaseException | None = None
        self._work = work
        self._go, self._back = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def step(self) -> None:
        """Run to the next call, or to the end."""
        if self.ended:
            return
        self._go.release()
        assert self._back.acquire(timeout=60), f"stuck at {self.at}"
        if self.ended:
            self._thread.join(60)

    def run(self, to: str = "") -> bool:
        """Run to the end, or to a call; return whether that call was reached."""
        for _ in range(10_000):
            if self.ended or self.at == to:
                return not self.ended
            self.step()
        raise AssertionError(f"no end in sight at {self.at}")

    def kill(self) -> None:
        """End it where it stands."""
        self.killed = True
        self.step()

    def pause(self, at: str) -> None:
        self.at = at
        self._back.release()
        self._go.acquire()
        if self.killed:
            raise Killed

    def _run(self) -> None:
        _turn.now = self
        self._go.acquire()
        try:
            if self.killed:
                raise Killed
            self._work()
        except BaseException as exc:  # the caller of `step` decides
            self.error = exc
        self.ended = True
        self._back.release()


def pause(at: str) -> None:
    """Stop before a call, if this thread is a turn's."""
    turn = getattr(_turn, "now", None)
    if turn is not None:
        turn.pause(at)


def current_turn() -> Turn | None:
    """Return the running turn, if there is one."""
    return getattr(_turn, "now", None)
