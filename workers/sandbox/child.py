"""The loop of a sandbox: put up the walls, then answer one question after the other.

This is what runs beside a model's code, so nothing here guards anything: the walls do, and the
requester validates whatever comes back.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NoReturn

from workers.sandbox import walls
from workers.sandbox.channel import Closed, SandboxEnd
from workers.sandbox.died import EXIT_MEMORY, describe
from workers.sandbox.memory import Mapped
from workers.sandbox.tables import one_batch, stream_size, write_stream

if TYPE_CHECKING:
    import pyarrow as pa

# A handler gets the question's body, and the table or the bytes that came with it. It returns the
# answer's body, and a table if one is due. The table it got is valid until it returns.
type Handler = Callable[
    [dict[str, Any], pa.Table | bytes | None], tuple[Mapping[str, Any], pa.Table | None]
]


def enclose(fds: list[int], memory: int) -> dict[str, Any]:
    """Put up the walls, and return which ones stand. Elsewhere than on Linux there are fewer."""
    made = walls.Limits(memory=memory)
    return asdict(walls.enclose(made, keep=fds, required=sys.platform == "linux"))


def run(fds: list[int], handlers: str, enclosing: str | None, memory: int) -> NoReturn:
    """Answer by the table of handlers named `module:NAME`, behind walls.

    `enclosing`, named `module:function`, is called with the descriptors to keep and the memory to
    allow, after the handlers are imported and before anything is read. It returns JSON, the answer
    to question 0.
    """
    channel, output, *inputs = fds
    end = SandboxEnd(channel)
    try:
        table: Mapping[str, Handler] = _named(handlers)
        held = _named(enclosing)(fds, memory) if enclosing else {}
        end.send({"n": 0, "body": held})
    except BaseException as exc:
        end.send({"n": 0, "error": describe(exc)})
        os._exit(1)
    try:
        _serve(
            end, [Mapped(fd, writable=False) for fd in inputs], Mapped(output, writable=True), table
        )
    except Closed:
        os._exit(0)
    except MemoryError:
        os._exit(EXIT_MEMORY)
    except BaseException:
        os._exit(1)


def _named(name: str) -> Any:
    module, attribute = name.split(":")
    return getattr(importlib.import_module(module), attribute)


def _serve(
    end: SandboxEnd, inputs: list[Mapped], output: Mapped, handlers: Mapping[str, Handler]
) -> NoReturn:
    while True:
        question = end.receive()
        number = question["n"]
        payload: Any = None
        if (content := question.get("content")) is not None:
            payload = end.read(content)
        try:
            if (slot := question.get("slot")) is not None:
                payload = inputs[slot].table(question["size"])
            body, table = handlers[question["op"]](question["body"], payload)
            answer: dict[str, Any] = {"n": number, "body": dict(body)}
            if table is not None:
                answer["size"] = _give(end, output, number, question["room"], one_batch(table))
            end.send(answer)
        except Closed:
            raise
        except BaseException as exc:  # SystemExit of a model's code too
            end.send({"n": number, "error": describe(exc)})
        payload = body = table = answer = None  # type: ignore[assignment]


def _give(end: SandboxEnd, output: Mapped, number: int, room: int, table: pa.Table) -> int:
    """Write the table where the requester reads it, once there is room. Return its bytes."""
    size = stream_size(table)
    if size > room:
        end.send({"n": number, "need": size})
        end.receive()
    write_stream(table, output.view(size))
    return size
