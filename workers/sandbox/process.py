"""The requester's handle of a sandbox: a process that holds a model, and answers questions.

```
sandbox = Sandbox("workers.inference.host:HANDLERS")
described = sandbox.call("load", {"name": "churn"}, content=model_bytes, seconds=60).body
slot = sandbox.put(batch)  # in a thread that reads, while the sandbox computes
expect = Expected(schema, batch.num_rows)
predictions = sandbox.call("predict", table=slot, expect=expect, seconds=60).table
sandbox.close()
```
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlsys.errors import MlsysError
from workers.sandbox import nursery
from workers.sandbox.channel import MAX_REQUEST, Channel, Closed, Late, Malformed, encode
from workers.sandbox.died import SandboxDied, count, of_exit, rebuild
from workers.sandbox.memory import Region
from workers.sandbox.slots import SLOTS, Slot, Slots
from workers.sandbox.tables import Expected, read_answer

if TYPE_CHECKING:
    import pyarrow as pa

RUN, WALLS = "workers.sandbox.child:run", "workers.sandbox.child:enclose"
MEMORY = 4 * 2**30  # bytes of data
START_SECONDS = 60.0  # for a process to be up, whose imports may take seconds where it is spawned
GRACE = 0.5  # seconds for a process that closed its channel to end

Start = Callable[
    [str, Sequence[Any], Sequence[int], Sequence[str]], nursery.Child | nursery.Spawned
]


class OverMemory(Exception):
    """The sandbox says that it has no memory left."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a handler gave: anything that has the form, since anybody may have written it."""

    body: dict[str, Any]
    table: pa.Table | None = None


class Sandbox:
    """A process behind walls. Threads may share it: one calls at a time, another may `put`."""

    def __init__(
        self,
        handlers: str,
        *,
        memory: int = MEMORY,
        walls: str | None = WALLS,
        seconds: float = START_SECONDS,
        start: Start = nursery.start,
    ) -> None:
        """Start a process that answers by the table of handlers named `module:NAME`.

        It may have `memory` bytes of data. `walls` names what encloses it (for tests).

        Raises:
            TryAgain: the system has no process or memory left for it.
            SandboxDied: it did not come up.
        """
        self._lock = threading.RLock()  # for calls
        self._ending = threading.RLock()
        self._death: SandboxDied | None = None
        self._number = 0
        self._output = Region()
        self._slots = Slots()
        try:
            try:
                self._process, self._channel = self._begin(start, handlers, walls, memory)
            except nursery.NurseryDied:
                self._process, self._channel = self._begin(start, handlers, walls, memory)
        except BaseException:
            self._output.close()
            self._slots.close()
            raise
        held = (self._channel.close, self._output.close, self._slots.close)
        self._abandoned = weakref.finalize(self, _end_abandoned, self._process, *held)
        self._abandoned.atexit = False
        with self._guard("start", seconds) as deadline:
            answer = self._answer(deadline, None, "Starting it")
            if not isinstance(answer, Answer):
                raise self._end(
                    SandboxDied("exited", f"it did not start. {answer}".rstrip(".")), "start"
                )
        self.walls = answer.body

    def _begin(
        self, start: Start, handlers: str, walls: str | None, memory: int
    ) -> tuple[nursery.Child | nursery.Spawned, Channel]:
        """Start the process, and return it with a channel that no other process has had."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            fds = [theirs.fileno(), self._output.fd, *self._slots.fds]
            process = start(RUN, [handlers, walls, memory], fds, [handlers.partition(":")[0]])
            return process, Channel(ours.detach())

    @property
    def pid(self) -> int:
        """The process's PID."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process can be asked, as far as is known before it is."""
        if not self._lock.acquire(blocking=False):  # it is being asked
            return self._death is None
        try:
            with self._ending:
                return self._death is None and self._channel.is_quiet()
        finally:
            self._lock.release()

    def put(self, table: pa.Table) -> Slot:
        """Copy a table to where the sandbox reads it. Wait for a free slot.

        If the sandbox has ended, the slot has the table alone: a call of another sandbox copies it.
        So a thread that reads ahead does not fail for what a batch before did.
        """
        return self._slots.put(table)

    def call(
        self,
        op: str,
        body: Mapping[str, Any] | None = None,
        *,
        table: pa.Table | Slot | None = None,
        content: bytes | None = None,
        expect: Expected | None = None,
        seconds: float,
    ) -> Answer:
        """Ask the handler `op` and return its answer, which is untrusted.

        A table in a slot of another sandbox, which may have died, is copied to this one. The slot
        is free afterwards. The answer has a table if and only if one is expected.

        Raises:
            SandboxDied: it has ended, or was ended since it took longer than `seconds` or its
                answer is malformed. It cannot be asked again.
            ModelUnusable, PredictionFailed, ...: what the handler raised, see `died.KINDS`.
            ValueError, TypeError: the question is too long, is not JSON, or has both a table and
                content.
        """
        if table is not None and content is not None:
            raise ValueError("A question has a table or content, not both")
        with self._lock:
            slot = table if isinstance(table, Slot) and table.slots is self._slots else None
            try:
                self._check()
                self._number += 1
                question = {"n": self._number, "op": op, "body": dict(body or {})}
                question["room"] = self._output.size
                if slot is not None:
                    question |= {"slot": slot.number, "size": slot.size}
                elif table is not None:
                    rows = table.table if isinstance(table, Slot) else table
                    question |= {"slot": SLOTS, "size": self._slots.put_now(rows)}
                elif content is not None:
                    question["content"] = len(content)
                message = encode(question, MAX_REQUEST)
                with self._guard(op, seconds) as deadline:
                    self._channel.send(message, content, deadline)
                    answer = self._answer(deadline, expect)
            finally:
                if slot is not None:
                    slot.release()
        if isinstance(answer, Answer):
            return answer
        raise answer

    def refuse(self, part: str) -> SandboxDied:
        """End the process, which gave an answer of another form. Return the death to raise."""
        death = SandboxDied("malformed answer", f"malformed answer: {part} has another form")
        return self._end(death, part)

    def close(self) -> None:
        """End the process. A call in another thread raises `SandboxDied`."""
        self._end(SandboxDied("closed", "closed by the process that asked"), "close")

    def _answer(
        self, deadline: float, expect: Expected | None, doing: str = "Using the model"
    ) -> Answer | MlsysError:
        """Return what comes back for the question that was sent, or the error that it describes."""
        message = self._receive(deadline)
        if set(message) == {"n", "need"}:
            need = message["need"]
            if expect is None or not _is_size(need, expect.max_bytes):
                raise Malformed("its table is larger than is allowed")
            self._output.grow(need)
            grown = {"n": self._number, "room": self._output.size}
            self._channel.send(encode(grown, MAX_REQUEST), None, deadline)
            message = self._receive(deadline)
        if set(message) == {"n", "error"}:
            try:
                error = rebuild(message["error"], doing)
            except ValueError as exc:
                raise Malformed(str(exc)) from exc
            if isinstance(error, MlsysError):
                return error
            raise OverMemory
        body, keys = message.get("body"), {"n", "body"} | ({"size"} if expect else set())
        if set(message) != keys or not isinstance(body, dict):
            raise Malformed("it has other parts than an answer")
        if expect is None:
            return Answer(body)
        if not _is_size(size := message["size"], min(expect.max_bytes, self._output.size)):
            raise Malformed("its table is larger than is allowed")
        return Answer(body, read_answer(self._output.copy(size), expect))

    def _receive(self, deadline: float) -> dict[str, Any]:
        message = self._channel.receive(deadline)
        if not _is_size(message.get("n"), self._number) or message["n"] != self._number:
            raise Malformed("it is not for this question")
        return message

    @contextlib.contextmanager
    def _guard(self, op: str, seconds: float) -> Iterator[float]:
        """Give the deadline; whatever goes wrong in the block ends the process.

        Raises:
            SandboxDied: it died, broke the form, or did not answer in time.
        """
        try:
            yield time.monotonic() + seconds
        except Closed:
            raise self._end(self._exit(), op) from None
        except Late:
            raise self._end(SandboxDied("over time", f"over time ({seconds:g} s)"), op) from None
        except OverMemory:
            raise self._end(SandboxDied("over memory", "over memory"), op) from None
        except Malformed as exc:
            death = SandboxDied("malformed answer", f"malformed answer: {exc}")
            raise self._end(death, op) from exc
        except BaseException:  # the next answer would be to this question
            self.close()
            raise

    def _exit(self) -> SandboxDied:
        """Return why a process ended that has closed its channel."""
        deadline, pause = time.monotonic() + GRACE, 0.0005
        try:
            while (code := self._reap()) is None:
                if time.monotonic() > deadline:
                    return SandboxDied(
                        "malformed answer", "malformed answer: it closed its channel"
                    )
                time.sleep(pause := min(0.05, pause * 2))
        except LookupError:
            code = None
        return of_exit(code)

    def _reap(self) -> int | None:
        with self._ending:
            return self._process.reap(end=False)

    def _end(self, death: SandboxDied, op: str) -> SandboxDied:
        """End the process if that was not done before. Return what it died of."""
        with self._ending:
            if self._death is None:
                self._death = death
                self._abandoned.detach()
                with contextlib.suppress(LookupError):
                    self._process.reap(end=True)
                if death.cause != "closed":
                    count(death, self.pid, op)
            death = self._death
        self._slots.end()
        with self._lock, self._ending:  # once no call uses them
            self._channel.close()
            self._output.close()
            self._slots.close()
        return SandboxDied(death.cause, death.detail)

    def _check(self) -> None:
        if self._death is not None:
            raise SandboxDied(self._death.cause, self._death.detail)


def _end_abandoned(process: nursery.Child | nursery.Spawned, *closings: Callable[[], None]) -> None:
    """End the process of a sandbox that was not closed and is not referenced any more."""
    with contextlib.suppress(LookupError):
        process.reap(end=True)
    for close in closings:
        close()


def _is_size(value: Any, most: int) -> bool:
    return type(value) is int and 0 <= value <= most
