"""A share of the calls to Google Cloud fails."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from collections import Counter

from proxy import Call, Reply, Service

KINDS = ("refused", "cut before", "cut after", "late")


class Faulty:
    """Wraps the service behind a proxy, and makes a share of its answers fail.

    A call is refused with 503; its connection is cut before or after the call takes effect (in the
    second case only the answer is lost); or it is answered late.
    """

    def __init__(self, service: Service, share: float, seed: int) -> None:
        self.wait_here = service.wait_here
        self.done: Counter[str] = Counter()
        self._service, self._share = service, share
        self._rng, self._guard = random.Random(seed), threading.Lock()

    def answer(self, call: Call) -> Reply:
        """Answer a call, or fail it."""
        with self._guard:
            kind = self._rng.choice(KINDS) if self._rng.random() < self._share else "well"
            self.done[kind] += 1
        if kind == "refused":
            return Reply.error(503, "backendError", "injected by the test")
        if kind == "cut before":
            return _cut(call)
        if kind == "late":
            time.sleep(0.3)
        reply = self._service.answer(call)
        return _cut(call) if kind == "cut after" else reply


def _cut(call: Call) -> Reply:
    """Close the caller's connection; later writes to it are lost."""
    call.close_connection = True
    call.upstream.close()  # it may hold an answer that nobody reads
    with contextlib.suppress(OSError):
        call.connection.shutdown(socket.SHUT_RDWR)
    return Reply(503, [])
