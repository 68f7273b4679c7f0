"""Verify new models in a child process with a time and a memory limit.

A model's file may be anything: too large, made to be slow, made to be harmful. So registering a
model loads it (by the allow-list) and replays its golden rows in a child process that has a time
and a memory limit and whose death ends nothing else. The child stays for the next model, because
its imports take seconds if it is not forked, and exits when idle.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

from mlsys.artifact.loading import load_model, sklearn_version
from mlsys.artifact.metadata import ModelMetadata
from mlsys.errors import MlsysError, TryAgain
from mlsys.settings import MAX_MODEL_BYTES
from workers import machine
from workers.forking import context, kill
from workers.inference.verdict import Verdict, judge, short

SECONDS = 60.0  # for one model, once the process is up
WAIT_SECONDS = 200.0  # for the verdicts on others, below the 600 in which a push must be answered
START_SECONDS = 120.0  # for the first one, with its imports on a busy machine
IDLE_SECONDS = 60.0  # after which the process exits
MEMORY = 4 * 2**30  # bytes of data that the process may hold, at most
REMEMBERED = 1000  # verdicts
MAX_ANSWER = 100_000  # bytes


class Verifier:
    """The child process, and the verdicts that it gave. Safe to share between threads.

    A model may have taken the child over by the time it answers, so its answers are only parsed as
    JSON, and every exchange with it has a timeout.
    """

    def __init__(self, seconds: float = SECONDS, memory: int | None = None) -> None:
        self._seconds = seconds
        self._memory = memory or memory_limit()
        self._lock = threading.Lock()
        self._process: Any = None
        self._pipe: Connection | None = None
        self._known: OrderedDict[Any, Verdict] = OrderedDict()

    def verdict(
        self,
        key: Any,
        fetch: Callable[[], bytes],
        document: Mapping[str, Any],
        trusted: tuple[str, ...] = (),
        max_bytes: int = MAX_MODEL_BYTES,
    ) -> Verdict:
        """Return the verdict on the model that `fetch` gives, with its metadata's document.

        `key` identifies both; a verdict given for it is reused. Models are fetched and verified
        one at a time.

        Raises:
            TryAgain: other models took too long, or the process does not start.
            Exception: what `fetch` raises.
        """
        if (known := self._known.get(key)) is not None:
            return known
        if not self._lock.acquire(timeout=WAIT_SECONDS):
            raise TryAgain("Other models are still being verified: try again")
        try:
            if (known := self._known.get(key)) is not None:
                return known
            content = fetch()
            request = json.dumps([dict(document), trusted, max_bytes]).encode()
            verdict = self._ask(request, content)
            if verdict is None:  # the machine may have been busy with something else
                verdict = self._ask(request, content) or self._ended()
            self._known[key] = verdict
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
            if trusted:  # a model's own code may stay behind in it
                self._end()
            return verdict
        finally:
            self._lock.release()

    def close(self) -> None:
        """End the process, if it runs."""
        with self._lock:
            self._end()

    def _ended(self) -> Verdict:
        return Verdict(
            "rejected",
            f"loading it and replaying its golden rows took over {self._seconds:.0f} s or "
            f"{self._memory // 2**20} MiB of memory, twice",
        )

    def _ask(self, request: bytes, content: bytes) -> Verdict | None:
        """Return the process's verdict, or None if it took too long or died."""
        pipe = self._start()
        with (
            _kill_after(self._process, self._seconds),
            contextlib.suppress(EOFError, OSError, ValueError, TypeError),
        ):
            pipe.send_bytes(request)
            pipe.send_bytes(content)
            status, reason, release = json.loads(pipe.recv_bytes(MAX_ANSWER))
            valid = isinstance(reason, str | None) and isinstance(release, str | None)
            if status in ("ready", "rejected") and valid:
                return Verdict(status, reason, release and short(release[:100]))
        self._end()
        return None

    def _start(self) -> Connection:
        """Return the pipe to a process that is up.

        Raises:
            TryAgain: it does not start.
        """
        if self._pipe is not None and self._up(5.0, ask=True):
            return self._pipe
        self._end()
        ours, theirs = multiprocessing.Pipe()
        process = context().Process(
            target=_serve, args=(theirs, self._memory, IDLE_SECONDS), daemon=True
        )
        try:
            process.start()
        except (EOFError, OSError) as exc:
            ours.close()
            raise TryAgain("The process that verifies models cannot be started: try again") from exc
        finally:
            theirs.close()
        self._pipe, self._process = ours, process
        if self._up(START_SECONDS, ask=False):
            return ours
        self._end()
        raise TryAgain("The process that verifies models did not start in time: try again")

    def _up(self, seconds: float, *, ask: bool) -> bool:
        """Return whether the process reports in time that it is up."""
        assert self._pipe is not None
        with contextlib.suppress(EOFError, OSError), _kill_after(self._process, seconds):
            if ask:  # it may just be about to exit
                self._pipe.send_bytes(b"")
            return self._pipe.recv_bytes(1) == b""
        return False

    def _end(self) -> None:
        if self._pipe is not None:
            self._pipe.close()
        if self._process is not None:
            kill(self._process)
            self._process.join(5)
        self._pipe = self._process = None


@contextlib.contextmanager
def _kill_after(process: Any, seconds: float) -> Iterator[None]:
    """Kill the process if the block takes longer than `seconds`, which ends every wait for it."""
    timer = threading.Timer(seconds, kill, [process])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def memory_limit() -> int:
    """Return the bytes that the process may hold: half of the memory, and at most 4 GiB."""
    return min(MEMORY, machine.memory() // 2)


def _serve(pipe: Connection, memory: int, idle: float) -> None:
    """Report once up and at every empty request; judge the model of any other. Exit when idle."""
    import resource

    import sklearn.pipeline  # noqa: F401  what nearly every model needs, before the clock runs

    with contextlib.suppress(ValueError, OSError):  # macOS has no such limit
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    pipe.send_bytes(b"")
    with contextlib.suppress(EOFError, OSError, KeyboardInterrupt):
        while pipe.poll(idle):
            request = pipe.recv_bytes()
            if not request:
                pipe.send_bytes(b"")
                continue
            document, trusted, max_bytes = json.loads(request)
            verdict = _verdict(pipe, document, tuple(trusted), max_bytes)
            answer = [verdict.status, short(verdict.reason), verdict.sklearn_version]
            pipe.send_bytes(json.dumps(answer).encode())


def _verdict(
    pipe: Connection, document: dict[str, Any], trusted: tuple[str, ...], max_bytes: int
) -> Verdict:
    content = pipe.recv_bytes()
    try:
        loaded = load_model(content, trusted=trusted, max_bytes=max_bytes)
        verdict = judge(loaded, ModelMetadata.parse(json.dumps(document).encode()))
        return replace(verdict, sklearn_version=loaded.sklearn_version)
    except MemoryError:
        return Verdict("rejected", "loading it needs more memory than a model may take")
    except MlsysError as exc:
        return Verdict("rejected", str(exc), sklearn_version(content, max_bytes))
    except (EOFError, OSError):
        raise
    except Exception as exc:  # the file may be anything
        return Verdict("rejected", f"verifying it raised {type(exc).__name__}")
