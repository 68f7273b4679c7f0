"""Deliver messages to an HTTP endpoint as a Pub/Sub push subscription does.

The rules are those of https://cloud.google.com/pubsub/docs/push (envelope, acknowledgement),
/handling-failures (retry policy, dead letter): at least once, in no order, several at a time.
"""

import base64
import heapq
import http.client
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

ACKNOWLEDGED = frozenset({102, 200, 201, 202, 204})  # 203, 206 and redirects are not among them
OUTSTANDING = 8  # pushes under way at the same time, for one subscription

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Message:
    """A published message."""

    data: bytes
    attributes: Mapping[str, str]
    message_id: str
    publish_time: datetime  # UTC
    ordering_key: str = ""


@dataclass(frozen=True, slots=True)
class PushSubscription:
    """The endpoint of a topic's messages, and the retry policy. Times in seconds."""

    name: str
    topic: str
    endpoint: str  # http://host:port/path
    ack_deadline: float = 600.0  # also the push request's timeout
    minimum_backoff: float = 10.0
    maximum_backoff: float = 600.0
    max_delivery_attempts: int | None = 5  # counts only with a dead-letter topic
    dead_letter_topic: str | None = None
    wanted: Callable[[Message], bool] | None = None  # a filter; the other messages are dropped

    @property
    def attempts_allowed(self) -> int | None:
        """Deliveries before a message is dead-lettered; None: retried until acknowledged."""
        return self.max_delivery_attempts if self.dead_letter_topic else None

    def backoff(self, attempts: int) -> float:
        """Return the seconds from the failure of delivery `attempts` (1, 2, …) to the next one."""
        # The exponent is capped because a float overflows past 2**1023.
        grown = self.minimum_backoff * 2.0 ** min(attempts - 1, 64)
        return min(grown, self.maximum_backoff)


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts of a subscription's messages. A message delivered again counts again."""

    delivered: int = 0  # pushes that ended, well or badly
    acked: int = 0
    nacked: int = 0
    dead_lettered: int = 0
    pending: int = 0  # waiting, or being pushed


@dataclass(order=True)
class _Delivery:
    due: float  # time.monotonic()
    number: int  # settles ties, so that messages are never compared
    message: Message = field(compare=False)
    attempt: int = field(default=1, compare=False)


def envelope(message: Message, subscription: str, attempt: int | None = None) -> bytes:
    """Return the request body of a wrapped push, for the subscription's full name.

    As in the cloud, empty fields are left out, and `attempt` is given only if a dead-letter policy
    counts the deliveries.
    """
    published = message.publish_time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    inner: dict[str, Any] = {}
    if message.attributes:
        inner["attributes"] = dict(message.attributes)
    if message.data:
        inner["data"] = base64.b64encode(message.data).decode("ascii")
    inner |= {"messageId": message.message_id, "message_id": message.message_id}
    if message.ordering_key:
        inner["orderingKey"] = message.ordering_key
    inner |= {"publishTime": published, "publish_time": published}
    outer: dict[str, Any] = {"message": inner, "subscription": subscription}
    if attempt is not None:
        outer["deliveryAttempt"] = attempt
    return json.dumps(outer).encode()


class Pusher:
    """Pushes one subscription's messages from a few threads until each is settled."""

    def __init__(
        self,
        subscription: PushSubscription,
        full_name: str,
        time_scale: float,
        dead_letter: Callable[[Message, int], None],
    ) -> None:
        """Start the threads; `dead_letter(message, deliveries)` is called for a message given up.

        Raises:
            ValueError: the endpoint is not an http:// URL.
        """
        self._url = urlsplit(subscription.endpoint)
        if self._url.scheme != "http" or not self._url.hostname:
            raise ValueError(
                f"{subscription.endpoint!r} is not an endpoint: pass http://host:port/path"
            )
        self.subscription = subscription
        self._full_name = full_name
        self._time_scale = time_scale
        self._dead_letter = dead_letter
        self._changed = threading.Condition()
        self._waiting: list[_Delivery] = []
        self._numbers = 0
        self._counts = Counts()
        self._connections: set[http.client.HTTPConnection] = set()
        self._stopped = False
        self._threads = [
            threading.Thread(target=self._work, name=f"push-{subscription.name}-{n}", daemon=True)
            for n in range(OUTSTANDING)
        ]
        for thread in self._threads:
            thread.start()

    def add(self, message: Message) -> None:
        """Deliver `message` as soon as a thread is free, unless the subscription drops it."""
        if (wanted := self.subscription.wanted) is not None and not wanted(message):
            return
        with self._changed:
            self._count(pending=1)
            self._schedule(message, attempt=1, delay=0.0)

    @property
    def counts(self) -> Counts:
        """The counts of the messages so far."""
        with self._changed:
            return self._counts

    def stop(self, timeout: float = 5.0) -> None:
        """Give up all pending messages."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
            for connection in self._connections:
                # A push may wait ten minutes for its answer: wake its thread up.
                if connection.sock is not None:
                    _shut_down(connection.sock)
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _count(self, **changes: int) -> None:
        now = asdict(self._counts)
        self._counts = replace(self._counts, **{k: now[k] + n for k, n in changes.items()})

    def _schedule(self, message: Message, attempt: int, delay: float) -> None:
        self._numbers += 1
        due = time.monotonic() + delay
        heapq.heappush(self._waiting, _Delivery(due, self._numbers, message, attempt))
        # All, because each idle thread sleeps until the first message is due: it may be this.
        self._changed.notify_all()

    def _next(self) -> _Delivery | None:
        with self._changed:
            while not self._stopped:
                pause = self._waiting[0].due - time.monotonic() if self._waiting else None
                if pause is not None and pause <= 0:
                    return heapq.heappop(self._waiting)
                self._changed.wait(pause)
        return None

    def _work(self) -> None:
        while (delivery := self._next()) is not None:
            acknowledged = self._push(delivery)
            if self._stopped:
                return
            self._settle(delivery, acknowledged)

    def _push(self, delivery: _Delivery) -> bool:
        """Push once; return whether it was acknowledged within the deadline."""
        counted = self.subscription.attempts_allowed is not None
        body = envelope(delivery.message, self._full_name, delivery.attempt if counted else None)
        # http.client ignores proxy variables: a loopback push must never leave the machine.
        connection = http.client.HTTPConnection(
            self._url.hostname or "", self._url.port, timeout=self.subscription.ack_deadline
        )
        target = self._url.path + (f"?{self._url.query}" if self._url.query else "")
        with self._changed:
            self._connections.add(connection)
        try:
            connection.request("POST", target or "/", body, {"Content-Type": "application/json"})
            status = connection.getresponse().status
            outcome = f"status {status}"
            return status in ACKNOWLEDGED
        except (OSError, http.client.HTTPException) as exc:
            outcome = repr(exc)
            return False
        finally:
            with self._changed:
                self._connections.discard(connection)
            connection.close()
            log.info(
                "pushed %s of %s, attempt %d: %s",
                delivery.message.message_id,
                self.subscription.name,
                delivery.attempt,
                outcome,
            )

    def _settle(self, delivery: _Delivery, acknowledged: bool) -> None:
        allowed = self.subscription.attempts_allowed
        give_up = not acknowledged and allowed is not None and delivery.attempt >= allowed
        if give_up:
            # Before it is counted: after `wait_until_quiet` it is among the dead letters.
            self._dead_letter(delivery.message, delivery.attempt)
        with self._changed:
            if acknowledged:
                self._count(delivered=1, acked=1, pending=-1)
            elif give_up:
                self._count(delivered=1, nacked=1, dead_lettered=1, pending=-1)
            else:
                self._count(delivered=1, nacked=1)
                delay = self.subscription.backoff(delivery.attempt) * self._time_scale
                self._schedule(delivery.message, delivery.attempt + 1, delay)


def _shut_down(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # it has ended meanwhile
