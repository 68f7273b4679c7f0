"""Start the sandboxes that models are loaded in: with memory enough, and one of them ahead."""

from __future__ import annotations

import atexit
from dataclasses import dataclass

from mlsys.errors import TryAgain
from workers import machine
from workers.sandbox.died import SandboxDied
from workers.sandbox.process import Sandbox
from workers.sandbox.spare import Spare

HANDLERS = "workers.inference.host:HANDLERS"
REHEARSAL_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model's file and how it may be loaded. `content` is fetched and checked already."""

    content: bytes
    name: str  # in error messages
    trusted: tuple[str, ...]
    max_bytes: int  # that it may unpack to
    loader: str = "listed"  # or "any": `MLSYS_MODELS` of the service, never what a request says


def keep_spare() -> None:
    """Start sandboxes ahead from now on, one at a time, until this process exits."""
    atexit.register(_spare.end)
    _spare.keep()


def start(file: ModelFile) -> Sandbox:
    """Return a sandbox that may have half of the memory, or more if the model needs it."""
    is_pickle = file.content.startswith(b"\x80")  # else it is compressed, and unpacks to more
    need = machine.model_memory(len(file.content) if is_pickle else file.max_bytes)
    data = min(need, machine.room_for_models()) + machine.UNUSED_BYTES
    if data > machine.memory() // 2:
        return _start_now(data)
    return _spare.take() or _start_now()


def _rehearsed() -> Sandbox:
    """Start a sandbox, and have it answer for a model of our own."""
    sandbox = _start_now()
    try:
        sandbox.call("rehearse", seconds=REHEARSAL_SECONDS)
    except BaseException:
        sandbox.close()
        raise
    return sandbox


_spare = Spare(_rehearsed)


def _start_now(memory: int | None = None) -> Sandbox:
    try:
        return Sandbox(HANDLERS, memory=memory or machine.memory() // 2)
    except SandboxDied as exc:  # no model was there yet
        raise TryAgain(f"A sandbox did not start: {exc.detail}: try again") from exc
