"""Threads that take turns: each stops before every call, and goes on when it is told to.

Whoever tells them decides the order, or ends one where it stands; nothing is left to chance.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

_turn = threading.local()


class Killed(BaseException):
    """The process of a handler is gone: nothing of it runs any more."""


class Turn:
    """Work in a thread of its own that runs only while `step` waits for it."""

    def __init__(self, work: Callable[[], None]) -> None:
        self.at = "start"  # which call it stands before, or in
        self.ended = self.killed = False
        self.error: BaseException | None = None
        self._work = work
        self._go, self._back = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def step(self) -> None:
        """Let it run to its next call, or to its end."""
        if self.ended:
            return
        self._go.release()
        assert self._back.acquire(timeout=60), f"stuck at {self.at}"
        if self.ended:
            self._thread.join(60)

    def run(self, to: str = "") -> bool:
        """Let it run to its end, or to a call; whether it came to that."""
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
        except BaseException as exc:  # whoever steps it judges
            self.error = exc
        self.ended = True
        self._back.release()


def pause(at: str) -> None:
    """Stop before a call, if this is a turn's thread."""
    turn = getattr(_turn, "now", None)
    if turn is not None:
        turn.pause(at)


def current_turn() -> Turn | None:
    """The turn that runs, if one does."""
    return getattr(_turn, "now", None)
