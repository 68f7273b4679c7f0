"""Messages that Pub/Sub and Eventarc push over HTTP, parsed from each of their forms.

- wrapped, the default of a push subscription: https://cloud.google.com/pubsub/docs/push
- unwrapped: the data is the body, and with `write_metadata` the attributes are headers
  (https://cloud.google.com/pubsub/docs/payload-unwrapping)
- a CloudEvent, as Eventarc sends it: binary (attributes in `ce-` headers) or structured (one JSON
  object), https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md.
  An event that Eventarc takes from a topic has the wrapped form as its data.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self
from urllib.parse import unquote

EVENT, PUBSUB = "ce-", "x-goog-pubsub-"  # prefixes of header names
NOTIFICATION = ("eventType", "bucketId", "objectId")  # attributes that Cloud Storage always sets
STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
# Keys that identify an unwrapped body without headers: an object's resource, an audit log's entry,
# or a scoring request.
BARE = frozenset(("bucket", "protoPayload", "input_table", "output_table", "model_name"))
NOTHING: Any = object()
_KEPT = {name.lower(): name for name in NOTIFICATION} | {"content-type": "content-type"}


class Malformed(ValueError):
    """A pushed message in none of the documented forms."""


@dataclass(frozen=True, slots=True)
class PushMessage:
    """A message in any of the forms; a CloudEvent's attributes are named `ce-type`, ...

    `delivery_attempt` is 1, 2, … for the wrapped form of a subscription with dead letters, else 0.
    `published_at` is the time of its publication, the same for each delivery, or "" if unknown.
    """

    attributes: Mapping[str, str]
    data: bytes
    subscription: str
    delivery_attempt: int = 0
    published_at: str = ""

    @classmethod
    def parse(cls, body: bytes, headers: Mapping[str, str] | None = None) -> Self:
        """Parse a request's body and headers.

        Raises:
            Malformed: the message says what is wrong.
        """
        known = kept_headers(headers or {})
        document = _json(body)
        content_type = known.get("content-type", "").partition(";")[0].strip().lower()
        if content_type == BATCH:
            raise Malformed("the body is a batch of CloudEvents: send each in its own request")
        if isinstance(document, dict) and "message" in document:
            return cls._wrapped(document)
        if _is_event(document):
            return cls._structured(document)
        if content_type == STRUCTURED:
            raise Malformed("the CloudEvent has no specversion or type")
        attributes = {k: v for k, v in known.items() if k.startswith(EVENT) or k in NOTIFICATION}
        subscription = known.get(f"{PUBSUB}subscription-name", "")
        is_bare = isinstance(document, dict) and bool(document.keys() & BARE)
        if attributes or is_bare or any(k.startswith(PUBSUB) for k in known):
            at = known.get(f"{PUBSUB}publish-time") or known.get(f"{EVENT}time", "")
            return cls(attributes, body, subscription, published_at=at)
        if document is NOTHING:
            raise Malformed("the body is not JSON")
        raise Malformed("the body has no message object")

    @classmethod
    def _wrapped(cls, envelope: Mapping[str, Any]) -> Self:
        message = envelope["message"]
        if not isinstance(message, dict):
            raise Malformed("the body has no message object")
        attributes = message.get("attributes") or {}
        if not isinstance(attributes, dict) or not _are_texts(attributes):
            raise Malformed("attributes is not an object of strings")
        attempt = envelope.get("deliveryAttempt")
        parsed = cls(
            attributes,
            _decoded(message.get("data")),
            str(envelope.get("subscription", "")),
            attempt if type(attempt) is int else 0,
            str(message.get("publishTime") or message.get("publish_time") or ""),
        )
        document = NOTHING if attributes.keys() & {"ce-type", *NOTIFICATION} else _json(parsed.data)
        if _is_event(document):  # published in the structured form
            return replace(
                cls._structured(document),
                subscription=parsed.subscription,
                delivery_attempt=parsed.delivery_attempt,
                published_at=parsed.published_at,
            )
        return parsed

    @classmethod
    def _structured(cls, event: Mapping[str, Any]) -> Self:
        content = event.get("data")
        if isinstance(content, dict) and "message" in content:
            return cls._wrapped(content)
        attributes = {
            f"{EVENT}{name}": value for name, value in event.items() if isinstance(value, str)
        }
        for name in ("data", "data_base64"):
            attributes.pop(f"{EVENT}{name}", None)
        if "data_base64" in event:
            return cls(attributes, _decoded(event["data_base64"]), "")
        text = content if isinstance(content, str) else json.dumps(content)
        return cls(attributes, text.encode(errors="backslashreplace"), "")


def kept_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that are part of the message, in the case of the documentation."""
    kept = {}
    for name, value in headers.items():
        lower = name.lower()
        if lower.startswith(EVENT):
            kept[lower] = unquote(value)  # the binding percent-encodes values
        elif lower in _KEPT or lower.startswith(PUBSUB):
            kept[_KEPT.get(lower, lower)] = value
    return kept


def _json(body: bytes) -> Any:
    """Return the JSON value, or `NOTHING` if the body is not JSON."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return NOTHING


def _is_event(document: Any) -> bool:
    names = ("specversion", "type")
    return isinstance(document, dict) and all(isinstance(document.get(n), str) for n in names)


def _are_texts(attributes: Mapping[str, Any]) -> bool:
    return all(isinstance(value, str) for value in attributes.values())


def _decoded(data: Any) -> bytes:
    try:
        return base64.b64decode(data or "", validate=True)
    except (binascii.Error, TypeError, ValueError) as exc:
        raise Malformed("data is not base64") from exc
