"""A process that forks sandboxes: without a client, a token or a connection in its memory.

It has the imports, so a fork takes milliseconds, and it runs no code of a model. The service starts
it from the fork server (`workers.forking`); a process of the scoring pool forks it before it has
any client. It ends with its requester, in whatever way that ends, and its sandboxes end with it.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Sequence
from typing import Any

from mlsys.errors import TryAgain
from workers.forking import context, kill
from workers.sandbox.forks import MAX_MESSAGE, serve
from workers.sandbox.spawned import Spawned

SECONDS = 30.0  # for an answer of the nursery, which takes milliseconds
START_SECONDS = 120.0  # for the first one, while the fork server imports on a busy machine


class NurseryDied(TryAgain):
    """The nursery ended before it answered.

    It may have forked, and its child may have used the descriptors: try again with others.
    """


class Nursery:
    """The requester's side. Safe to share by threads.

    In the service a nursery that died is replaced at the next fork. One that was forked in this
    process cannot be, since this process has clients by then.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._process: Any = None
        self._generation = 0
        self._forked: int | None = None  # its PID, if it was forked from this process

    @classmethod
    def forked(cls) -> Nursery:
        """Return a nursery forked from this process, which must not have any client yet."""
        made = cls()
        ours, theirs = _pair()
        parent = os.getpid()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pid = os.fork()
        if not pid:
            try:
                serve(theirs, parent)
            finally:
                os._exit(1)
        theirs.close()
        made._socket, made._forked = ours, pid
        return made

    def prepare(self, imports: Sequence[str]) -> None:
        """Start the nursery if it does not run, and let it import modules.

        Raises:
            TryAgain: it does not start.
        """
        with self._lock:
            try:
                self._start()
                self._ask({"imports": imports})
            except (OSError, EOFError) as exc:
                self._end()
                raise TryAgain("The process that starts others for models did not start.") from exc

    def fork(
        self, main: str, arguments: Sequence[Any], fds: Sequence[int], imports: Sequence[str] = ()
    ) -> Child:
        """Return a new process that calls `main`, named `module:function`.

        It calls it with the numbers that `fds` have there, and `arguments`, which are JSON. The
        nursery has imported the modules `imports` before.

        Raises:
            NurseryDied: see there.
            TryAgain: the system has no process or memory for it.
        """
        request = {"fork": main, "arguments": arguments, "imports": imports}
        with self._lock:
            try:
                self._start()
                answer = self._ask(request, fds)
            except (OSError, EOFError) as exc:
                self._end()
                raise NurseryDied(
                    "The process that starts others for models has died: try again."
                ) from exc
            if "pid" in answer:
                return Child(self, self._generation, answer["pid"])
        raise TryAgain(f"No process starts for the model: {answer['error']}. Try again.")

    def close(self) -> None:
        """End the nursery, and every sandbox of it."""
        with self._lock:
            self._end()

    def reap(self, generation: int, pid: int, end: bool) -> int | None:
        """Return a child's exit code: see `Child.reap`.

        Raises:
            LookupError: its nursery has died, and the child with it.
        """
        with self._lock:
            if generation == self._generation:
                try:
                    return self._ask({"reap": pid, "end": end})["code"]  # KeyError: not its own
                except (OSError, EOFError):
                    self._end()
        raise LookupError(pid)

    def _start(self) -> None:
        if self._socket is not None:
            return
        if self._forked is not None:
            raise EOFError("a forked nursery cannot be replaced")
        self._socket, theirs = _pair()
        with theirs:
            self._process = context().Process(target=serve, args=(theirs,), daemon=True)
            self._process.start()
        self._socket.settimeout(START_SECONDS)
        self._ask({})
        self._socket.settimeout(SECONDS)

    def _ask(self, request: dict[str, Any], fds: Sequence[int] = ()) -> dict[str, Any]:
        if self._socket is None:
            raise EOFError
        socket.send_fds(self._socket, [json.dumps(request).encode()], list(fds))
        answer = self._socket.recv(MAX_MESSAGE)
        if not answer:
            raise EOFError
        return json.loads(answer)

    def _end(self) -> None:
        self._generation += 1
        if self._socket is not None:
            self._socket.close()  # which ends it
            self._socket = None
            if self._forked is not None:
                os.kill(self._forked, signal.SIGKILL)
                os.waitpid(self._forked, 0)
        if self._process is not None:
            self._process.join(1)
            kill(self._process)
            self._process.join(5)
            self._process = None


class Child:
    """A process that a nursery has forked."""

    def __init__(self, nursery: Nursery, generation: int, pid: int) -> None:
        self.pid = pid
        self._nursery, self._generation = nursery, generation
        self._code: int | None = None

    def reap(self, *, end: bool) -> int | None:
        """Return its exit code, negative for a signal; None while it runs.

        `end` kills it first, if it runs.

        Raises:
            LookupError: its nursery has died, and the child with it.
        """
        if self._code is None:  # later the PID may be another child's
            self._code = self._nursery.reap(self._generation, self.pid, end)
        return self._code


_own: list[Nursery] = []  # this process's, if it has one
_starting = threading.Lock()


def fork_own() -> None:
    """Fork this process's nursery. Call it before the process has a client or a thread."""
    if sys.platform == "linux":
        _own[:] = [Nursery.forked()]


def start(
    main: str, arguments: Sequence[Any], fds: Sequence[int], imports: Sequence[str] = ()
) -> Child | Spawned:
    """Return a new process that calls `main`: see `Nursery.fork`.

    Raises:
        NurseryDied, TryAgain: see `Nursery.fork`.
    """
    if sys.platform != "linux":
        return Spawned(main, arguments, fds)
    return _nursery().fork(main, arguments, fds, imports)


def warm_up(handlers: str) -> None:
    """Let the first sandbox with these handlers start as fast as the others.

    Raises:
        TryAgain: see `Nursery.prepare`.
    """
    if sys.platform == "linux":
        _nursery().prepare([handlers.partition(":")[0]])


def _nursery() -> Nursery:
    with _starting:
        if not _own:
            _own.append(Nursery())
            atexit.register(close)
        return _own[0]


def close() -> None:
    """End this process's nursery, and every sandbox of it."""
    with _starting:
        for nursery in _own:
            nursery.close()
        _own.clear()


def _pair() -> tuple[socket.socket, socket.socket]:
    """Return both ends of a connection that keeps messages apart."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(SECONDS)
    return ours, theirs
