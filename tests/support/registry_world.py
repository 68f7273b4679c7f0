"""A bucket, its notifications and their handlers, and the invariants that must hold."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest
import tenacity

from mlsys.artifact.refs import ModelRef
from mlsys.errors import TryAgain
from turns import Turn
from warehouse import Blob, Row, Warehouse, metadata_generation
from workers.inference.verdict import Verdict
from workers.registry import verify
from workers.registry.sync import converge, rescan

HANDLERS = 5  # at a time


class Mismatch(AssertionError):
    """The registry differs from the bucket."""


@dataclass(eq=False)
class Message:
    """A notification; `blob` is the object in its payload."""

    event: str  # FINALIZE or DELETE
    blob: Blob
    state: str = "waiting"  # delivered (a handler has it), acknowledged, dropped

    @property
    def ref(self) -> ModelRef:
        return ModelRef.of_object(self.blob.name)[0]

    def acknowledge(self) -> None:
        self.state = "acknowledged"


# A function that handles a message, and acknowledges it by the call.
Design = Callable[[Warehouse, Message, Callable[[], None]], Any]


def as_the_service_does(clients: Any, message: Message, acknowledge: Callable[[], None]) -> None:
    converge(clients, "dev", message.ref)
    acknowledge()


@dataclass(eq=False)
class Handler:
    """A turn that handles a message, or that runs a rescan (None)."""

    turn: Turn
    message: Message | None


@dataclass
class World:
    """The whole state; the machine's rules are steps of it."""

    design: Design = as_the_service_does
    cloud: Warehouse = field(default_factory=Warehouse)
    messages: list[Message] = field(default_factory=list)
    handlers: list[Handler] = field(default_factory=list)
    rescan_owed: bool = False
    # Versions that are stored and registered, and that no running handler saw in another state.
    visible: set[str] = field(default_factory=set)
    suspects: dict[str, set[Turn]] = field(default_factory=dict)

    # The bucket

    def put(self, path: str, *, lower: bool = False) -> None:
        old = self.cloud.bucket.objects.get(path)
        self._stored(path, old, self.cloud.bucket.put(path, lower=lower))

    def restore(self, path: str, which: int) -> None:
        """Restore an earlier version of an object, with its generation."""
        old = self.cloud.bucket.objects.get(path)
        past = [blob for blob in self.cloud.bucket.past.get(path, []) if blob is not old]
        if past:
            self.cloud.bucket.objects[path] = past[which % len(past)]
            self._stored(path, old, self.cloud.bucket.objects[path])

    def delete(self, path: str) -> None:
        if path in self.cloud.bucket.objects:
            self.messages.append(Message("DELETE", self.cloud.bucket.delete(path)))
            if path.endswith("model.pkl"):
                key = path.removesuffix("/model.pkl")
                self.visible.discard(key)
                self.suspects.pop(key, None)

    def _stored(self, path: str, old: Blob | None, new: Blob) -> None:
        self.messages.append(Message("FINALIZE", new))
        if old is not None:
            self.messages.append(Message("DELETE", old))
        elif path.endswith("model.pkl"):
            self.suspects[path.removesuffix("/model.pkl")] = self._under_way()

    # Messages and handlers

    def waiting(self) -> list[Message]:
        return [message for message in self.messages if message.state == "waiting"]

    def duplicate(self, message: Message) -> None:
        """Announce an event again, "with multiple IDs": each copy is acknowledged separately."""
        self.messages.append(Message(message.event, message.blob))

    def drop(self, message: Message) -> None:
        message.state = "dropped"
        self.rescan_owed = True

    def deliver(self, message: Message) -> Handler:
        # A message is delivered again after ten seconds or more
        # (https://cloud.google.com/pubsub/docs/handling-failures): by then the statement of a dead
        # handler is assumed to have ended (`test_registry_gaps` covers the case that it has not).
        self.end_orphans()
        return self.deliver_at_once(message)

    def deliver_at_once(self, message: Message) -> Handler:
        message.state = "delivered"
        work = functools.partial(self.design, self.cloud, message, message.acknowledge)
        return self._begin(work, message)

    def start_rescan(self) -> Handler:
        self.rescan_owed = False
        return self._begin(lambda: rescan(self.cloud, "dev"), None)

    def _begin(self, work: Callable[[], Any], message: Message | None) -> Handler:
        handler = Handler(Turn(work), message)
        self.handlers.append(handler)
        return handler

    def step(self, handler: Handler, times: int = 1) -> None:
        for _ in range(times):
            handler.turn.step()
        self.settle(handler)

    def run(self, handler: Handler, to: str = "") -> None:
        handler.turn.run(to)
        self.settle(handler)

    def kill(self, handler: Handler) -> None:
        """End a handler; a statement that it has begun continues without it."""
        handler.turn.kill()
        self.settle(handler)

    def settle(self, handler: Handler) -> None:
        """Update the state if a handler has ended."""
        turn, message = handler.turn, handler.message
        if not turn.ended:
            return
        self.handlers.remove(handler)
        if turn.error is not None and not turn.killed and not isinstance(turn.error, TryAgain):
            raise turn.error
        if turn.error is None:
            return
        if message is None:
            self.rescan_owed = True
        elif message.state == "delivered":
            message.state = "waiting"

    def orphans(self) -> list[Any]:
        alive = {handler.turn for handler in self.handlers}
        return [job for job in self.cloud.registry.jobs if job.owner not in alive]

    def end_orphans(self) -> None:
        self.cloud.registry.end_all(self.orphans())

    # What must hold

    def quiet(self, order: Random, crashes: int = 3) -> None:
        """Deliver every message until it is acknowledged; rescan if any was lost."""
        while (waiting := self.waiting()) or self.handlers:
            if waiting and len(self.handlers) < HANDLERS and order.random() < 0.5:
                self.deliver(order.choice(waiting))
            elif self.handlers and crashes and order.random() < 0.05:
                crashes -= 1
                self.kill(order.choice(self.handlers))
            elif self.handlers:
                self.step(order.choice(self.handlers), order.randint(1, 3))
            self.check_that_no_version_vanishes()
        self.end_orphans()
        if self.rescan_owed:
            self.run(self.start_rescan())
            assert not self.rescan_owed
        if self.registered() != self.stored():
            raise Mismatch(f"registered {self.registered()}, stored {self.stored()}")

    def stored(self) -> list[tuple[Any, ...]]:
        objects = self.cloud.bucket.objects
        found = []
        for path, blob in sorted(objects.items()):
            if path.endswith("/model.pkl"):
                described = objects.get(path.replace("model.pkl", "metadata.json"))
                metrics = json.loads(described.content)["metrics"] if described else None
                number = described.generation if described else None
                key = path.removesuffix("/model.pkl")
                found.append((key, blob.generation, blob.crc32c, number, metrics))
        return found

    def registered(self) -> list[tuple[Any, ...]]:
        def version_of(row: Row) -> tuple[Any, ...]:
            values = row.values
            known = values["generation"], values["crc32c"], metadata_generation(row)
            return row.key, *known, values.get("metrics")

        return sorted(map(version_of, self.cloud.registry.rows), key=str)

    def check_that_no_version_vanishes(self) -> None:
        """Check that a registered model that stays in the bucket stays in the registry."""
        rows = {row.key for row in self.cloud.registry.rows}
        if vanished := self.visible - rows:
            raise Mismatch(f"{vanished} vanished from the registry")
        under_way = self._under_way()
        for key in rows & self.suspects.keys():
            if not self.suspects[key] & under_way:
                self.visible.add(key)

    def _under_way(self) -> set[Turn]:
        turns = {handler.turn for handler in self.handlers}
        return turns | {job.owner for job in self.cloud.registry.jobs if job.owner}

    def close(self) -> None:
        """End every thread."""
        for handler in self.handlers:
            handler.turn.kill()
        self.handlers.clear()


def nothing_takes_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the waits between retries and the processes that load models: every model is ready."""

    class AllReady:
        def verdict(self, *arguments: Any, **options: Any) -> Verdict:
            return Verdict("ready")

    monkeypatch.setattr(tenacity, "wait_random_exponential", lambda **_: tenacity.wait_none())
    monkeypatch.setattr(verify, "verifier", AllReady)
