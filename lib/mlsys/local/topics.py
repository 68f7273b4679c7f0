"""The topics and subscriptions of the cloud, created on this machine."""

from mlsys.local.pubsub import PubSub
from mlsys.local.push import Message, PushSubscription
from mlsys.settings import Settings

# fake-gcs-server knows one topic for all its buckets; from here each event goes where the
# notification configuration of its bucket sends it.
STORAGE_EVENTS = "storage-events"
ACK_DEADLINE = 600.0  # seconds; the longest that Pub/Sub waits for a push


def model_events(env: str) -> str:
    """Return the topic that the models bucket announces its objects on."""
    return f"mlsys-model-events-{env}"


def predictions(env: str) -> str:
    """Return the topic that scoring requests with `wait=false` go to."""
    return f"mlsys-predictions-{env}"


def announcements(env: str) -> str:
    """Return the topic that mlsys announces registered models and finished runs on."""
    return f"mlsys-events-{env}"


def dead_letter(topic: str) -> str:
    """Return the topic for messages of `topic` that cannot be delivered."""
    return f"{topic}-dead-letter"


def push_subscriptions(env: str, service: str) -> list[PushSubscription]:
    """Return the push subscriptions of the service at this URL; each has its topic's name.

    One is for storage events, one for predictions.
    """
    pushed = (
        (model_events(env), "/events/storage", 10, 600.0),
        # A run waits until the service has memory for its model: docs/decisions/0086.
        (predictions(env), "/events/predictions", 100, 120.0),
    )
    return [
        PushSubscription(
            name=topic,
            topic=topic,
            endpoint=service + path,
            ack_deadline=ACK_DEADLINE,
            maximum_backoff=backoff,
            max_delivery_attempts=attempts,
            dead_letter_topic=dead_letter(topic),
        )
        for topic, path, attempts, backoff in pushed
    ]


def create_topics(pubsub: PubSub, settings: Settings, service: str | None) -> None:
    """Create every topic, and with the `service`'s URL the push subscriptions to it.

    The messages of the other topics, dead letters and announcements, are read with
    `pubsub.messages(topic)`.
    """
    pubsub.create_topic(STORAGE_EVENTS)
    for env in settings.envs:
        pubsub.create_topic(announcements(env))
        for topic in (model_events(env), predictions(env)):
            pubsub.create_topic(topic)
            pubsub.create_topic(dead_letter(topic))
        for subscription in push_subscriptions(env, service) if service else ():
            pubsub.create_subscription(subscription)

    def notify(event: Message) -> None:
        bucket = event.attributes.get("bucketId", "")
        env = settings.env_of_models_bucket(bucket)
        if env is not None:
            config = f"projects/_/buckets/{bucket}/notificationConfigs/1"
            attributes = {**event.attributes, "notificationConfig": config}
            pubsub.publish(model_events(env), event.data, attributes)

    pubsub.listen(STORAGE_EVENTS, notify)
