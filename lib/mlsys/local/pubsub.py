"""A small Pub/Sub: it takes `Publisher/Publish` over gRPC and pushes over HTTP.

Messages live in memory and end with the process; on the cloud they are kept for seven days.
It also describes its topics and subscriptions (`mlsys.local.pubsub_reads`). Every other method of
the Pub/Sub API answers UNIMPLEMENTED.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from mlsys.local.addresses import HOST
from mlsys.local.pubsub_reads import read_handlers
from mlsys.local.push import Counts, Message, Pusher, PushSubscription

KEPT = 10_000  # messages of a topic that are kept for inspection

log = logging.getLogger(__name__)


class _Topic:
    def __init__(self) -> None:
        self.received: deque[Message] = deque(maxlen=KEPT)
        self.pushers: list[Pusher] = []
        self.listeners: list[Callable[[Message], None]] = []


class PubSub:
    """Topics, push subscriptions with retries and dead letter, and a gRPC server for publishers.

    `time_scale` multiplies every backoff (0.01: ten seconds become 0.1); the
    acknowledgement deadline stays in true seconds, because the endpoint's work does too.
    `duplicate` is a fault for tests and can be set at any time: each message published from then
    on is delivered that many extra times, each copy with its own acknowledgement and retries.
    """

    def __init__(
        self, project: str, *, port: int = 0, time_scale: float = 1.0, duplicate: int = 0
    ) -> None:
        self.project = project
        self.duplicate = duplicate
        self._port = port
        self._time_scale = time_scale
        self._topics: dict[str, _Topic] = {}
        self._pushers: dict[str, Pusher] = {}
        self._lock = threading.Lock()
        # Ids must differ between two runs as well: a subscriber may remember them.
        self._ids = itertools.count(time.time_ns() // 1000)
        self._newest_id = ""
        self._server: Any = None

    @property
    def address(self) -> str:
        """The address for publishers, `host:port`."""
        return f"{HOST}:{self._port}"

    def topic_path(self, topic: str) -> str:
        """Return the full name of a topic given by its id; a full name is returned unchanged."""
        return topic if "/" in topic else f"projects/{self.project}/topics/{topic}"

    def has_topic(self, topic: str) -> bool:
        """Return whether the topic exists."""
        return self.topic_path(topic) in self._topics

    def subscription(self, name: str) -> PushSubscription | None:
        """Return the push subscription, or None if it does not exist."""
        pusher = self._pushers.get(name)
        return None if pusher is None else pusher.subscription

    def create_topic(self, topic: str) -> None:
        """Create the topic unless it exists."""
        with self._lock:
            self._topics.setdefault(self.topic_path(topic), _Topic())

    def create_subscription(self, subscription: PushSubscription) -> None:
        """Push what is published to the subscription's topic from now on to its endpoint.

        Raises:
            LookupError: its topic or dead-letter topic does not exist.
            ValueError: the name is taken, or the endpoint is not an http:// URL.
        """
        topic = self._topic(subscription.topic)
        if subscription.dead_letter_topic:
            self._topic(subscription.dead_letter_topic)

        def dead_letter(message: Message, deliveries: int) -> None:
            # https://cloud.google.com/pubsub/docs/handling-failures#dead_letter_topic
            published = message.publish_time.isoformat(timespec="milliseconds")
            source = "CloudPubSubDeadLetterSource"
            added = {
                f"{source}DeliveryCount": str(deliveries),
                f"{source}Subscription": subscription.name,
                f"{source}SubscriptionProject": self.project,
                f"{source}TopicPublishTime": published,
            }
            self.publish(
                subscription.dead_letter_topic or "",
                message.data,
                {**message.attributes, **added},
                message.ordering_key,
            )

        full_name = f"projects/{self.project}/subscriptions/{subscription.name}"
        with self._lock:
            if subscription.name in self._pushers:
                raise ValueError(f"a subscription named {subscription.name!r} exists already")
            pusher = Pusher(subscription, full_name, self._time_scale, dead_letter)
            self._pushers[subscription.name] = pusher
            topic.pushers.append(pusher)

    def delete_subscription(self, name: str) -> None:
        """Delete the subscription; its pending messages are lost.

        Raises:
            LookupError: the subscription does not exist.
        """
        with self._lock:
            pusher = self._pushers.pop(name)
            self._topic(pusher.subscription.topic).pushers.remove(pusher)
        pusher.stop()

    def listen(self, topic: str, listener: Callable[[Message], None]) -> None:
        """Call `listener` in this process with every message of the topic, while it is published.

        Raises:
            LookupError: the topic does not exist.
        """
        self._topic(topic).listeners.append(listener)

    def publish(
        self,
        topic: str,
        data: bytes = b"",
        attributes: Mapping[str, str] | None = None,
        ordering_key: str = "",
    ) -> str:
        """Publish a message and return its id.

        Raises:
            LookupError: the topic does not exist.
        """
        target = self._topic(topic)
        message = Message(
            data, dict(attributes or {}), str(next(self._ids)), datetime.now(UTC), ordering_key
        )
        target.received.append(message)
        self._newest_id = message.message_id
        for listener in target.listeners:
            listener(message)
        for pusher in list(target.pushers):
            for _ in range(1 + self.duplicate):
                pusher.add(message)
        return message.message_id

    def messages(self, topic: str) -> list[Message]:
        """Return the topic's messages so far, at most the last `KEPT`, for instance dead letters.

        Raises:
            LookupError: the topic does not exist.
        """
        return list(self._topic(topic).received)

    def counts(self, subscription: str) -> Counts:
        """Return the counts of a subscription's messages so far.

        Raises:
            LookupError: the subscription does not exist.
        """
        return self._pushers[subscription].counts

    def wait_until_quiet(self, timeout: float, settle: float = 0.2) -> None:
        """Wait until no message has been pending for `settle` seconds.

        The pause is for delayed publishers: Cloud Storage announces an object about ten
        milliseconds after it answered that it is stored.

        Raises:
            TimeoutError: naming how many messages of each subscription are pending.
        """
        deadline = time.monotonic() + timeout
        quiet_since, newest = time.monotonic(), self._newest_id
        while True:
            pending = {name: p.counts.pending for name, p in list(self._pushers.items())}
            now = time.monotonic()
            if any(pending.values()) or newest != self._newest_id:
                quiet_since, newest = now, self._newest_id
            elif now - quiet_since >= settle:
                return
            if now >= deadline:
                raise TimeoutError(f"messages were still pending after {timeout} s: {pending}")
            time.sleep(0.01)

    def start(self) -> None:
        """Accept messages over gRPC at `address` from now on.

        Raises:
            RuntimeError: the port is taken.
        """
        import grpc
        from google.pubsub_v1.types import PublishRequest, PublishResponse

        def publish(request: Any, context: Any) -> Any:
            try:
                ids = [
                    self.publish(request.topic, m.data, m.attributes, m.ordering_key)
                    for m in request.messages
                ]
            except LookupError:
                context.abort(
                    grpc.StatusCode.NOT_FOUND, f"Resource not found (resource={request.topic})."
                )
            return PublishResponse(message_ids=ids)

        handler = grpc.unary_unary_rpc_method_handler(
            publish,
            request_deserializer=PublishRequest.deserialize,
            response_serializer=PublishResponse.serialize,
        )
        self._server = grpc.server(
            ThreadPoolExecutor(8, "pubsub"), options=[("grpc.so_reuseport", 0)]
        )
        self._server.add_generic_rpc_handlers(read_handlers(self, handler))
        self._port = self._server.add_insecure_port(f"{HOST}:{self._port}")
        self._server.start()

    def stop(self) -> None:
        """Accept and deliver no more messages; pending ones are lost."""
        if self._server is not None:
            self._server.stop(grace=0.5).wait(5)
        for pusher in list(self._pushers.values()):
            pusher.stop()

    def _topic(self, topic: str) -> _Topic:
        try:
            return self._topics[self.topic_path(topic)]
        except KeyError:
            raise LookupError(f"the topic {self.topic_path(topic)} does not exist") from None
