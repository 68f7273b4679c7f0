"""One sandbox that is started ahead, so that a run over a small table does not wait for it.

No model has been in it. It is taken by the first one that needs a sandbox, and never given back.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from workers.sandbox.process import Sandbox

log = logging.getLogger(__name__)

# Seconds after one was taken: its run needs the cores more than the next one does.
PAUSE = 0.25


class Spare:
    """Keeps one sandbox ahead, once `keep` was called. Safe to share by threads."""

    def __init__(self, start: Callable[[], Sandbox], pause: float = PAUSE) -> None:
        """`start` starts a sandbox and makes it ready for a model."""
        self._start = start
        self._pause = pause
        self._lock = threading.Lock()
        self._keeps = False
        self._sandbox: Sandbox | None = None
        self._coming: threading.Timer | None = None

    def keep(self) -> None:
        """Keep one from now on."""
        with self._lock:
            self._keeps = True
            self._call_for_one(0)

    def take(self) -> Sandbox | None:
        """Return the sandbox that was started ahead, or None; another one is started later."""
        with self._lock:
            sandbox, self._sandbox = self._sandbox, None
            if self._keeps:
                self._call_for_one(self._pause)
        if sandbox is not None and not sandbox.alive:
            sandbox.close()
            return None
        return sandbox

    def end(self) -> None:
        """End the sandbox, and start no other one."""
        with self._lock:
            self._keeps = False
            coming, self._coming = self._coming, None
        if coming is not None:
            coming.cancel()
            coming.join()
        with self._lock:
            sandbox, self._sandbox = self._sandbox, None
        if sandbox is not None:
            sandbox.close()

    def _call_for_one(self, pause: float) -> None:
        if self._coming is None:
            self._coming = threading.Timer(pause, self._bring)
            self._coming.name, self._coming.daemon = "spare sandbox", True
            self._coming.start()

    def _bring(self) -> None:
        sandbox = None
        try:
            sandbox = self._start()
        except Exception as exc:  # the next run starts its own, and says what is wrong
            log.warning("No sandbox was started ahead: %s", exc)
        with self._lock:
            self._coming = None
            if self._sandbox is None and self._keeps:
                self._sandbox, sandbox = sandbox, None
        if sandbox is not None:
            sandbox.close()
