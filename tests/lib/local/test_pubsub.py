"""The local Pub/Sub follows Google's documentation of push subscriptions."""

import base64
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
from google.api_core.exceptions import MethodNotImplemented, NotFound
from google.cloud import pubsub_v1
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport

from mlsys.cloud.clients import Clients
from mlsys.local.pubsub import PubSub
from mlsys.local.push import Message, PushSubscription, envelope
from mlsys.settings import Emulators, Settings
from receiver import Receiver


@pytest.fixture
def pubsub() -> Iterator[PubSub]:
    """Yield a running Pub/Sub with two topics, whose waits are a thousand times shorter."""
    broker = PubSub("p", time_scale=0.001)
    broker.create_topic("uploads")
    broker.create_topic("uploads-dead-letter")
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def publisher(pubsub: PubSub) -> Iterator[pubsub_v1.PublisherClient]:
    """Yield Google's own publisher, connected to the local Pub/Sub."""
    with grpc.insecure_channel(pubsub.address) as channel:
        client = pubsub_v1.PublisherClient(transport=PublisherGrpcTransport(channel=channel))
        yield client
        client.stop()


def subscribe(pubsub: PubSub, receiver: Receiver, **options: Any) -> PushSubscription:
    subscription = PushSubscription("s", "uploads", receiver.url, **options)
    pubsub.create_subscription(subscription)
    return subscription


def wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def test_the_envelope_is_the_documented_one() -> None:
    """It follows https://cloud.google.com/pubsub/docs/push#receive_push field by field."""
    message = Message(
        data=b"Hello Cloud Pub/Sub! Here is my message!",
        attributes={"key": "value"},
        message_id="2070443601311540",
        publish_time=datetime(2021, 2, 26, 19, 13, 55, 749000, UTC),
    )
    assert json.loads(envelope(message, "projects/myproject/subscriptions/mysubscription")) == {
        "message": {
            "attributes": {"key": "value"},
            # pragma: allowlist nextline secret
            "data": "SGVsbG8gQ2xvdWQgUHViL1N1YiEgSGVyZSBpcyBteSBtZXNzYWdlIQ==",
            "messageId": "2070443601311540",
            "message_id": "2070443601311540",
            "publishTime": "2021-02-26T19:13:55.749Z",
            "publish_time": "2021-02-26T19:13:55.749Z",
        },
        "subscription": "projects/myproject/subscriptions/mysubscription",
    }


def test_the_envelope_has_optional_fields_only_where_they_apply() -> None:
    now = datetime.now(UTC)
    bare = json.loads(envelope(Message(b"", {}, "1", now), "s"))
    assert not {"attributes", "data", "orderingKey"} & bare["message"].keys()
    full = json.loads(envelope(Message(b"", {}, "1", now, ordering_key="k"), "s", attempt=3))
    assert (full["message"]["orderingKey"], full["deliveryAttempt"]) == ("k", 3)


def test_a_subscription_drops_the_messages_that_its_filter_does_not_want(
    pubsub: PubSub, receiver: Receiver
) -> None:
    subscribe(pubsub, receiver, wanted=lambda message: message.data != b"noise")
    for data in (b"noise", b"signal", b"noise"):
        pubsub.publish("uploads", data)
    pubsub.wait_until_quiet(10)
    assert pubsub.counts("s").acked == 1
    assert [message.data for message in pubsub.messages("uploads")].count(b"noise") == 2


def test_a_message_goes_from_googles_publisher_to_the_endpoint(
    pubsub: PubSub, publisher: pubsub_v1.PublisherClient, receiver: Receiver
) -> None:
    subscribe(pubsub, receiver)
    topic = pubsub.topic_path("uploads")
    message_id = publisher.publish(topic, b"\x00data", bucketId="b").result(timeout=10)
    pubsub.wait_until_quiet(10)
    [body] = receiver.bodies
    received = json.loads(body)
    assert received["subscription"] == "projects/p/subscriptions/s"
    assert received["message"]["messageId"] == message_id
    assert received["message"]["attributes"] == {"bucketId": "b"}
    assert base64.b64decode(received["message"]["data"]) == b"\x00data"
    assert receiver.headers[0]["content-type"] == "application/json"
    assert pubsub.counts("s").acked == 1


def test_publishing_to_an_unknown_topic_is_not_found(
    pubsub: PubSub, publisher: pubsub_v1.PublisherClient
) -> None:
    with pytest.raises(NotFound):
        publisher.publish(pubsub.topic_path("nowhere"), b"").result(timeout=10)
    with pytest.raises(LookupError):
        pubsub.publish("nowhere")


def test_other_methods_of_pubsub_are_unimplemented(
    pubsub: PubSub, publisher: pubsub_v1.PublisherClient
) -> None:
    with pytest.raises(MethodNotImplemented):
        publisher.create_topic(name=pubsub.topic_path("new"), timeout=10)


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_these_answers_acknowledge(pubsub: PubSub, receiver: Receiver, status: int) -> None:
    receiver.statuses = [status]
    subscribe(pubsub, receiver)
    pubsub.publish("uploads")
    pubsub.wait_until_quiet(10)
    assert pubsub.counts("s").acked == len(receiver.bodies) == 1


def test_102_acknowledges_although_it_is_not_a_final_answer(
    pubsub: PubSub, receiver: Receiver
) -> None:
    test_these_answers_acknowledge(pubsub, receiver, 102)


@pytest.mark.parametrize("status", [203, 206, 301, 307, 400, 401, 404, 409, 429, 500, 503])
def test_after_any_other_answer_the_message_is_delivered_again(
    pubsub: PubSub, receiver: Receiver, status: int
) -> None:
    receiver.statuses = [status, status]
    subscribe(pubsub, receiver)
    pubsub.publish("uploads")
    pubsub.wait_until_quiet(10)
    counts = pubsub.counts("s")
    assert (counts.delivered, counts.nacked, counts.acked) == (3, 2, 1)
    assert len({json.loads(body)["message"]["messageId"] for body in receiver.bodies}) == 1


def test_an_answer_past_the_deadline_does_not_acknowledge(
    pubsub: PubSub, receiver: Receiver
) -> None:
    receiver.hold.clear()
    subscribe(pubsub, receiver, ack_deadline=0.2)
    pubsub.publish("uploads")
    wait_for(lambda: pubsub.counts("s").nacked > 0)
    receiver.hold.set()
    pubsub.wait_until_quiet(10)
    assert pubsub.counts("s").acked == 1
    assert len(receiver.bodies) >= 2


def test_an_endpoint_that_starts_later_gets_the_message(pubsub: PubSub) -> None:
    pubsub.create_subscription(PushSubscription("s", "uploads", "http://127.0.0.1:9/push"))
    pubsub.publish("uploads")
    with pytest.raises(TimeoutError, match="'s': 1"):
        pubsub.wait_until_quiet(0.2)
    assert pubsub.counts("s").nacked > 0


def test_the_backoff_doubles_from_ten_seconds_to_ten_minutes() -> None:
    subscription = PushSubscription("s", "t", "http://127.0.0.1/")
    waits = [subscription.backoff(attempt) for attempt in range(1, 9)]
    assert waits == [10, 20, 40, 80, 160, 320, 600, 600]
    assert subscription.backoff(100_000) == 600


def test_the_backoff_follows_the_time_scale(receiver: Receiver) -> None:
    pubsub = PubSub("p", time_scale=0.01)
    pubsub.create_topic("uploads")
    receiver.statuses = [500, 500, 500]
    subscribe(pubsub, receiver)
    began = time.monotonic()
    pubsub.publish("uploads")
    pubsub.wait_until_quiet(10, settle=0)
    assert time.monotonic() - began >= 0.1 + 0.2 + 0.4
    pubsub.stop()


def test_a_message_that_is_never_acknowledged_becomes_a_dead_letter(
    pubsub: PubSub, receiver: Receiver
) -> None:
    receiver.statuses = [500] * 50
    subscribe(pubsub, receiver, dead_letter_topic="uploads-dead-letter", max_delivery_attempts=5)
    message_id = pubsub.publish("uploads", b"poison", {"bucketId": "b"})
    pubsub.wait_until_quiet(10)
    assert [json.loads(body)["deliveryAttempt"] for body in receiver.bodies] == [1, 2, 3, 4, 5]
    [letter] = pubsub.messages("uploads-dead-letter")
    [original] = pubsub.messages("uploads")
    assert letter.data == b"poison"
    assert letter.message_id != message_id
    assert letter.attributes == {
        "bucketId": "b",
        "CloudPubSubDeadLetterSourceDeliveryCount": "5",
        "CloudPubSubDeadLetterSourceSubscription": "s",
        "CloudPubSubDeadLetterSourceSubscriptionProject": "p",
        "CloudPubSubDeadLetterSourceTopicPublishTime": letter.attributes[
            "CloudPubSubDeadLetterSourceTopicPublishTime"
        ],
    }
    published = letter.attributes["CloudPubSubDeadLetterSourceTopicPublishTime"]
    assert abs(datetime.fromisoformat(published) - original.publish_time).total_seconds() < 0.001
    counts = pubsub.counts("s")
    assert (counts.dead_lettered, counts.acked, counts.pending) == (1, 0, 0)


def test_without_a_dead_letter_topic_delivery_goes_on_without_an_attempt_count(
    pubsub: PubSub, receiver: Receiver
) -> None:
    receiver.statuses = [500] * 7
    subscribe(pubsub, receiver, max_delivery_attempts=5, maximum_backoff=10.0)
    pubsub.publish("uploads")
    pubsub.wait_until_quiet(10)
    assert len(receiver.bodies) == 8
    assert all("deliveryAttempt" not in json.loads(body) for body in receiver.bodies)


def test_a_duplicate_has_the_same_message_id(pubsub: PubSub, receiver: Receiver) -> None:
    subscribe(pubsub, receiver)
    pubsub.duplicate = 2
    pubsub.publish("uploads", b"once")
    pubsub.wait_until_quiet(10)
    assert len(receiver.bodies) == 3
    assert len(set(receiver.bodies)) == 1


def test_concurrent_deliveries_are_bounded(pubsub: PubSub, receiver: Receiver) -> None:
    receiver.hold.clear()
    subscribe(pubsub, receiver)
    for _ in range(20):
        pubsub.publish("uploads")
    wait_for(lambda: len(receiver.bodies) >= 8)
    time.sleep(0.1)
    assert len(receiver.bodies) == 8
    receiver.hold.set()
    pubsub.wait_until_quiet(10)
    assert pubsub.counts("s").acked == 20


def test_a_deleted_subscription_receives_nothing_more(pubsub: PubSub, receiver: Receiver) -> None:
    receiver.statuses = [500] * 1000
    subscribe(pubsub, receiver)
    pubsub.publish("uploads")
    pubsub.delete_subscription("s")
    pubsub.wait_until_quiet(5)
    seen = len(receiver.bodies)
    pubsub.publish("uploads")
    pubsub.wait_until_quiet(5)
    assert len(receiver.bodies) == seen
    with pytest.raises(LookupError):
        pubsub.delete_subscription("s")


def test_stop_does_not_wait_for_an_answer(pubsub: PubSub, receiver: Receiver) -> None:
    receiver.hold.clear()
    subscribe(pubsub, receiver)
    pubsub.publish("uploads")
    wait_for(lambda: len(receiver.bodies) > 0)
    began = time.monotonic()
    pubsub.stop()
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("endpoint", ["https://example.com/", "127.0.0.1:80", "http:///x"])
def test_an_invalid_endpoint_is_refused(pubsub: PubSub, endpoint: str) -> None:
    with pytest.raises(ValueError, match="pass http://host:port/path"):
        pubsub.create_subscription(PushSubscription("s", "uploads", endpoint))


def test_a_subscription_needs_its_topics_and_a_name_of_its_own(
    pubsub: PubSub, receiver: Receiver
) -> None:
    with pytest.raises(LookupError):
        pubsub.create_subscription(PushSubscription("s", "nowhere", receiver.url))
    with pytest.raises(LookupError):
        subscribe(pubsub, receiver, dead_letter_topic="nowhere")
    subscribe(pubsub, receiver)
    with pytest.raises(ValueError, match="already"):
        subscribe(pubsub, receiver)


def test_topics_and_subscriptions_are_described(
    pubsub: PubSub, publisher: pubsub_v1.PublisherClient, receiver: Receiver
) -> None:
    subscribe(pubsub, receiver, dead_letter_topic="uploads-dead-letter", max_delivery_attempts=7)
    settings = Settings("p", emulators=Emulators(pubsub=pubsub.address))
    subscriber = Clients(settings).subscriber
    with subscriber:
        read = subscriber.get_subscription(subscription="projects/p/subscriptions/s", timeout=10)
        with pytest.raises(NotFound):
            subscriber.get_subscription(subscription="projects/p/subscriptions/t", timeout=10)
    assert read.topic == "projects/p/topics/uploads"
    assert read.push_config.push_endpoint == receiver.url
    policy = read.dead_letter_policy
    assert policy.dead_letter_topic == "projects/p/topics/uploads-dead-letter"
    assert policy.max_delivery_attempts == 7
    assert read.ack_deadline_seconds == 600

    assert publisher.get_topic(topic="projects/p/topics/uploads").name.endswith("uploads")
    with pytest.raises(NotFound):
        publisher.get_topic(topic="projects/p/topics/none")


@pytest.mark.parametrize(("topic", "granted"), [("uploads", True), ("none", False)])
def test_permissions_are_granted_on_topics_that_exist(
    publisher: pubsub_v1.PublisherClient, topic: str, granted: bool
) -> None:
    wanted = ["pubsub.topics.publish"]
    answer = publisher.test_iam_permissions(
        request={"resource": f"projects/p/topics/{topic}", "permissions": wanted}
    )
    assert list(answer.permissions) == (wanted if granted else [])
