"""Callers as the tests see them: forked from a warm process, observed, killed, stopped."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SECONDS = 60.0  # for a caller to reach any point


@dataclass
class Outcome:
    """How a caller ended: with a "result", with "again" or "error" and a text, or "killed"."""

    kind: str
    value: Any
    calls: list[tuple[str, str]]

    @property
    def phase(self) -> str:
        """Return the phase in which it ended, by the calls that it made."""
        phase = "planning"
        for moment, name in self.calls:
            if name in (
                "POST session",
                "POST part",
                "POST reject",
                "read_rows",
                "create_read_session",
            ):
                phase = "scoring"
            elif name in ("GET part", "GET job") or (moment, name) == ("before", "POST load"):
                phase = "publishing"
            elif name == "POST load" or name.endswith("POST result.json"):
                phase = "finishing"
        return phase


@dataclass
class Caller:
    """A process that works on a request; end it with `end`."""

    zygote: Zygote
    pipe: int
    pid: int = 0
    reports: list[list[Any]] = field(default_factory=list)
    _rest: bytes = b""
    _open: bool = True

    def read(self, deadline: float) -> bool:
        """Read its next report; return False if it is gone or the deadline has passed."""
        ready, _, _ = select.select([self.pipe], [], [], max(0.0, deadline - time.monotonic()))
        piece = os.read(self.pipe, 1 << 16) if ready else b""
        *whole, self._rest = (self._rest + piece).split(b"\n")
        self.reports += [json.loads(line) for line in whole]
        self._open = self._open and not (ready and not piece)
        return bool(piece)

    def until(self, kind: str, value: str | None = None, seconds: float = SECONDS) -> Any:
        """Wait for a report and return its value, or None if the caller ended without it."""
        deadline = time.monotonic() + seconds
        seen = 0
        while True:
            for found, what in self.reports[seen:]:
                if found == kind and value in (None, what):
                    return what
            seen = len(self.reports)
            if not self.read(deadline):
                assert not self._open, f"no {kind} {value} within {seconds} s: {self.reports[-3:]}"
                return None

    def signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)  # its zygote reserves the PID until `end`

    def end(self, seconds: float = SECONDS, force: bool = False) -> Outcome:
        """Wait until it has ended (`force`: kill it) and return its outcome."""
        try:
            if force:
                self.signal(signal.SIGKILL)
            deadline = time.monotonic() + seconds
            while self.read(deadline):
                pass
            if self._open:
                self.signal(signal.SIGUSR2)  # it prints where its threads are
                time.sleep(1)
                self.signal(signal.SIGKILL)
                raise AssertionError(f"a caller hung: {self.reports[-3:]}")
        finally:
            os.close(self.pipe)
            self.zygote.ask({"reap": self.pid})
        calls = [(k, v) for k, v in self.reports if k in ("before", "after")]
        # A thread of Google's storage client may call once more after it.
        ends = [r for r in self.reports if r[0] in ("result", "again", "error")]
        kind, value = ends[-1] if ends else ("killed", None)
        return Outcome(kind, value, calls)


class Zygote:
    """The process that callers are forked from: see `callers`."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        self._lock = threading.Lock()
        here = Path(__file__).parent
        root = here.parents[1]
        paths = [str(root), str(root / "lib"), str(here)]
        environment = {"PYTHONPATH": os.pathsep.join(paths)}
        # No threads: a fork would not copy them.
        environment |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        environment |= {"JE_ARROW_MALLOC_CONF": "background_thread:false"}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, str(here / "callers.py"), str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=os.environ | environment,
            )
        self._socket.settimeout(SECONDS)

    def ask(self, message: Mapping[str, Any], fds: tuple[int, ...] = ()) -> None:
        """Send a message and wait for its acknowledgement."""
        with self._lock:
            socket.send_fds(self._socket, [json.dumps(message).encode()], fds)
            assert self._socket.recv(1) == b"."

    def fork(self, message: Mapping[str, Any]) -> Caller:
        """Start a caller and return once it runs."""
        ours, theirs = os.pipe()
        try:
            self.ask(message, (theirs,))
        finally:
            os.close(theirs)
        caller = Caller(self, ours)
        caller.pid = caller.until("pid")
        return caller

    def stop(self) -> None:
        """End the zygote, and with it every remaining caller."""
        self._socket.close()
        try:
            self._process.wait(10)
        finally:
            self._process.kill()
            self._process.wait()
