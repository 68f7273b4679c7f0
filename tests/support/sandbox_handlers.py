"""Handlers that run inside a test's sandbox: honest ones, and hostile ones."""

from __future__ import annotations

import ctypes
import faulthandler
import mmap
import os
import re
import resource
import signal
import stat
import threading
import time
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from mlsys.errors import (
    Conflict,
    InvalidRequest,
    MetadataInvalid,
    ModelUnusable,
    PredictionFailed,
    SchemaMismatch,
    TryAgain,
)
from workers.sandbox.channel import MAX_ANSWER, SandboxEnd, encode

Body = dict[str, Any]


def channel() -> int:
    """Return the descriptor of this process's channel."""
    return next(fd for fd in range(3, 64) if _is_socket(fd))


def output() -> int:
    """Return the descriptor of the memory for answers, passed by the nursery after the channel."""
    return channel() + 1


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
        return True
    except OSError:
        return False


def _is_socket(fd: int) -> bool:
    return _is_open(fd) and stat.S_ISSOCK(os.fstat(fd).st_mode)


def send(message: Body) -> None:
    os.write(channel(), encode(message, MAX_ANSWER))


def raising(exc: BaseException) -> Callable[..., Any]:
    def handler(body: Body, payload: Any) -> Any:
        raise exc

    return handler


def doing(action: Callable[[], Any]) -> Callable[..., Any]:
    def handler(body: Body, payload: Any) -> Any:
        action()
        return {}, None

    return handler


def raw(content: bytes) -> Callable[..., Any]:
    """Write bytes that are not an answer, and wait."""

    def handler(body: Body, payload: Any) -> Any:
        os.write(channel(), content)
        time.sleep(60)

    return handler


def answering(message: Body) -> Callable[..., Any]:
    """Answer with parts that do not belong together; `n` is the question's."""

    def handler(body: Body, payload: Any) -> Any:
        send({"n": body["n"]} | message)
        time.sleep(60)

    return handler


def dot(body: Body, table: pa.Table) -> Any:
    total = sum(column.to_numpy() for column in table.columns)
    return {"rows": table.num_rows}, pa.table({"p": total})


def rows_of(body: Body, payload: Any) -> Any:
    """Answer with a table of text, with the number of rows in the body."""
    return {}, pa.table({"t": ["x" * body["length"]] * body["rows"]})


def forged(body: Body, payload: Any) -> Any:
    """Answer with an IPC stream that the requester made: the bytes in the payload."""
    with mmap.mmap(output(), 0) as room:
        room[: len(payload)] = payload
    send({"n": body["n"], "body": {}, "size": len(payload)})
    SandboxEnd(channel()).receive()  # the next question


def restless(body: Body, table: pa.Table) -> Any:
    """Answer, and continue to change the answer."""
    answer, result = dot(body, table)
    room = mmap.mmap(output(), 0)

    def change() -> None:
        while True:
            for i in range(512, len(room) - 512):
                room[i] = 255

    threading.Thread(target=change, daemon=True).start()
    return answer, result


def late_answer(body: Body, payload: Any) -> Any:
    """Send the next question's answer before the question."""
    threading.Timer(0.05, send, [{"n": body["n"] + 1, "body": {"early": True}}]).start()
    return {}, None


def twice(body: Body, payload: Any) -> Any:
    send({"n": body["n"], "body": {"first": True}})
    return {"second": True}, None


def too_much_memory(body: Body, payload: Any) -> Any:
    resource.setrlimit(resource.RLIMIT_AS, (2**32, 2**32))
    return {"n": len(bytearray(2**33))}, None


def wants_memory(body: Body, payload: Any) -> Any:
    """Raise an error about missing memory, as a predictor does."""
    try:
        return {"n": len(bytearray(body["bytes"]))}, None
    except MemoryError as exc:
        raise TryAgain("There was not enough memory") from exc


def flood() -> None:
    while True:
        os.write(channel(), b"A" * 2**16)


def shut() -> None:
    os.close(channel())
    time.sleep(60)


class Odd(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even this")


HANDLERS = {
    "echo": lambda body, payload: (body, None),
    "length": lambda body, payload: ({"length": len(payload), "end": payload[-1]}, None),
    "pid": lambda body, payload: ({"pid": os.getpid(), "parent": os.getppid()}, None),
    "open": lambda body, payload: ({"fds": [fd for fd in range(256) if _is_open(fd)]}, None),
    "dot": dot,
    "rows": rows_of,
    "print": doing(lambda: (print("x" * 2**20), os.write(2, b"y" * 2**20))),
    # errors
    "ModelUnusable": raising(ModelUnusable("not \x1b[31mfitted")),
    "SchemaMismatch": raising(SchemaMismatch("They do not fit.", [("a", "is missing")])),
    "PredictionFailed": raising(PredictionFailed("1 row failed", [{"id": 1, "x": float("nan")}])),
    "InvalidRequest": raising(InvalidRequest(("model", "is missing"))),
    "MetadataInvalid": raising(MetadataInvalid("not JSON")),
    "Conflict": raising(Conflict("taken")),
    "ValueError": raising(ValueError("first\nsecond")),
    "SystemExit": raising(SystemExit(3)),
    "Odd": raising(Odd()),
    "long": raising(ModelUnusable("x" * 10**6)),
    "nan": lambda body, payload: ({"x": float("nan")}, None),
    "object": lambda body, payload: ({"x": object()}, None),
    "too long": lambda body, payload: ({"x": "x" * MAX_ANSWER}, None),
    # deaths
    "segfault": doing(lambda: ctypes.string_at(1)),
    "abort": doing(os.abort),
    "stack overflow": doing(faulthandler._stack_overflow),  # type: ignore[attr-defined]
    "exit": doing(lambda: os._exit(3)),
    "out of memory": doing(lambda: os.kill(os.getpid(), signal.SIGKILL)),
    "over its time": doing(lambda: os.kill(os.getpid(), signal.SIGXCPU)),
    "memory bomb": too_much_memory,
    "wants memory": wants_memory,
    "sleep": doing(lambda: time.sleep(3600)),
    "busy": doing(lambda: re.match(r"(a+)+$", "a" * 60 + "b")),  # holds the interpreter's lock
    "stop": doing(lambda: os.kill(os.getpid(), signal.SIGSTOP)),
    # malformed answers
    "flood": doing(flood),
    "shut": doing(shut),
    "4 GiB": raw(b"\xff\xff\xff\xff"),
    "depth": raw((2 * 10**5).to_bytes(4, "big") + b"[" * 10**5 + b"]" * 10**5),
    "garbage": raw(b"\0\0\0\x04\xff\xfe\0\0"),
    "empty": raw(b"\0\0\0\0"),
    "other number": answering({"n": 10**6, "body": {}}),
    "number as text": answering({"n": "1", "body": {}}),
    "no body": answering({}),
    "body is a list": answering({"body": []}),
    "unexpected table": answering({"body": {}, "size": 0}),
    "unexpected need": answering({"need": 8}),
    "negative need": answering({"need": -1}),
    "error without a kind": answering({"error": {"message": "x"}}),
    "error of a kind that does not cross": answering(
        {"error": {"kind": "TryAgain", "message": "x", "details": []}}
    ),
    "error with a list for a text": answering({"error": {"kind": "ModelUnusable", "message": []}}),
    "error with rows of lists": answering(
        {"error": {"kind": "PredictionFailed", "message": "", "details": [{"a": []}]}}
    ),
    "late": late_answer,
    "twice": twice,
    "forged": forged,
    "restless": restless,
}


def fenced(fds: list[int], memory: int) -> Body:
    """Replace the walls: return the arguments that were passed."""
    return {"kept": len(fds), "memory": memory}


def fallen(fds: list[int], memory: int) -> Body:
    """Replace the walls: fail to start."""
    raise RuntimeError("no walls here")
