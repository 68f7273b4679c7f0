"""Pub/Sub in memory: each message is pushed until it is acknowledged, at least once.

A push that fails, or whose process dies, is repeated after ten seconds or more
(https://cloud.google.com/pubsub/docs/handling-failures); one that is not answered is repeated after
its deadline, while the first may still be at work.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from mlsys.cloud.clients import is_passing
from mlsys.errors import TryAgain
from simulator.choices import KINDS, STALL
from simulator.kernel import Actor, Simulation, call

BACKOFF = (10.0, 12.0, 30.0, 100.0)
DEADLINE = 600.0  # seconds, after which a push counts as failed
DELAYS = (0.1, 0.02, 1.0, 8.0, 120.0)  # until a message is delivered
USUAL = (10, 10, 6, 2, 1)
DUPLICATE, LOSE = 1, 2  # what may happen to a message


@dataclass(eq=False)
class Message:
    """A message of a subscription."""

    name: str
    attributes: dict[str, str]
    data: bytes = b""
    acknowledged: bool = False
    deliveries: int = 0
    about: Any = None  # for the tests


@dataclass(eq=False)
class Subscription:
    """Pushes messages to a handler, which acknowledges one by returning."""

    simulation: Simulation
    name: str
    handle: Callable[[Message, Callable[[], None]], Any]
    lossy: bool = False  # messages may get lost
    doubling: bool = False  # and be delivered twice
    lost: list[Message] = field(default_factory=list)
    errors: list[tuple[str, Exception]] = field(default_factory=list)
    handlers: list[Actor] = field(default_factory=list)

    def publish(self, message: Message) -> None:
        """Take a message, and deliver it later, perhaps twice or never."""
        choices = self.simulation.choices
        if self.lossy and choices.happens(0.1):
            self.simulation.note(f"{message.name} is lost", "")
            self.lost.append(message)
            return
        copies = 2 if self.doubling and choices.happens(0.2) else 1
        for _ in range(copies):
            self._deliver(message, DELAYS[choices.pick(len(DELAYS), USUAL)])

    def _deliver(self, message: Message, after: float) -> None:
        self.simulation.schedule(after, lambda: self._push(message))

    def _push(self, message: Message) -> None:
        if message.acknowledged:
            return
        message.deliveries += 1
        name = f"{message.name}.{message.deliveries}"
        answered = [False]

        def acknowledge() -> None:
            message.acknowledged = True

        def ended(actor: Actor) -> None:
            answered[0] = True
            if actor.error is not None and not may_pass(actor.error):
                self.errors.append((actor.name, actor.error))
                return
            if actor.crashed or actor.error is not None:
                after = BACKOFF[self.simulation.choices.pick(len(BACKOFF))]
                self._deliver(message, after)

        def late() -> None:
            if not answered[0]:
                self._push(message)

        def work() -> None:
            self.handle(message, acknowledge)
            acknowledge()

        self.handlers.append(self.simulation.start(name, work, ended=ended))
        self.simulation.schedule(DEADLINE, late)


def may_pass(exc: Exception) -> bool:
    """Return whether the service answers the error with a 503, so that the caller repeats."""
    return isinstance(exc, TryAgain) or is_passing(exc)


class PublisherClient:
    """The client of all topics; `take` gets each message, with the topic's name."""

    def __init__(self, take: Callable[[str, bytes, dict[str, str]], None]) -> None:
        self._take = take

    def publish(self, topic: str, data: bytes, timeout: float, **attributes: str) -> Any:
        name = topic.rpartition("/")[2]

        def publish() -> None:
            self._take(name, data, attributes)

        kinds = tuple(kind for kind in KINDS if kind != STALL)
        call("publish", publish, about=f"{name} {attributes.get('ce-type', '')}", kinds=kinds)
        return SimpleNamespace(result=lambda timeout: "id")
