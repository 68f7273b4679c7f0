"""What the small Pub/Sub answers about its topics and subscriptions, over gRPC.

`GetTopic`, `GetSubscription` of push subscriptions, and `TestIamPermissions`, which grants
everything on what exists, and nothing on what does not, as the cloud's answers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from mlsys.local.push import PushSubscription


class Topics(Protocol):
    """The topics and subscriptions that exist."""

    def topic_path(self, topic: str) -> str:
        """Return the full name of a topic given by its id or by its full name."""

    def has_topic(self, topic: str) -> bool:
        """Return whether the topic exists."""

    def subscription(self, name: str) -> PushSubscription | None:
        """Return the push subscription, or None if it does not exist."""


def read_handlers(pubsub: Topics, publish: Any) -> list[Any]:
    """Return the handlers of the gRPC server: these, and `publish`."""
    import grpc
    from google.iam.v1 import iam_policy_pb2  # type: ignore[import-untyped]
    from google.pubsub_v1 import types

    def handler(ask: Callable[[Any, Any], Any], request: Any, response: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(
            ask,
            # Protobuf's own classes, and those of proto-plus
            request_deserializer=getattr(request, "FromString", None) or request.deserialize,
            response_serializer=getattr(response, "SerializeToString", None) or response.serialize,
        )

    def missing(context: Any, name: str) -> None:
        context.abort(grpc.StatusCode.NOT_FOUND, f"Resource not found (resource={name}).")

    def topic(request: Any, context: Any) -> Any:
        if not pubsub.has_topic(request.topic):
            missing(context, request.topic)
        return types.Topic(name=request.topic)

    def subscription(request: Any, context: Any) -> Any:
        about = pubsub.subscription(request.subscription.rpartition("/")[2])
        if about is None:
            missing(context, request.subscription)
            return None
        policy = None
        if about.dead_letter_topic:
            policy = types.DeadLetterPolicy(
                dead_letter_topic=pubsub.topic_path(about.dead_letter_topic),
                max_delivery_attempts=about.max_delivery_attempts,
            )
        return types.Subscription(
            name=request.subscription,
            topic=pubsub.topic_path(about.topic),
            ack_deadline_seconds=int(about.ack_deadline),
            push_config=types.PushConfig(push_endpoint=about.endpoint),
            dead_letter_policy=policy,
        )

    def permissions(request: Any, _: Any) -> Any:
        exists = pubsub.has_topic(request.resource)
        granted = request.permissions if exists else ()
        return iam_policy_pb2.TestIamPermissionsResponse(permissions=granted)

    iam = iam_policy_pb2
    services: dict[str, dict[str, Any]] = {
        "google.pubsub.v1.Publisher": {
            "Publish": publish,
            "GetTopic": handler(topic, types.GetTopicRequest, types.Topic),
        },
        "google.pubsub.v1.Subscriber": {
            "GetSubscription": handler(
                subscription, types.GetSubscriptionRequest, types.Subscription
            ),
        },
        "google.iam.v1.IAMPolicy": {
            "TestIamPermissions": handler(
                permissions, iam.TestIamPermissionsRequest, iam.TestIamPermissionsResponse
            ),
        },
    }
    return [grpc.method_handlers_generic_handler(name, m) for name, m in services.items()]
