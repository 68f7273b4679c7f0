"""Pushed messages that the service could not understand: list them, and publish them again.

The service keeps each in its runs bucket, as `quarantine/{date}/{hash}.json`, with the reason.
After what was wrong with it or with the service is mended, it can be published once more.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any

from mlsys.clients import TIMEOUT, Clients
from mlsys.errors import InvalidRequest, ObjectNotFound

FOLDER = "quarantine"
TOPICS = {
    "/events/storage": "model_events_topic",
    "/events/predictions": "predictions_topic",
}


@dataclass(frozen=True, slots=True)
class Record:
    """A message that was put aside: its object's name, when, by which route, why, and its body."""

    name: str
    received_at: str
    route: str
    reason: str
    body: str


def records(clients: Clients, env: str) -> list[Record]:
    """Return what is in quarantine, oldest first.

    Raises:
        ObjectNotFound: the environment's runs bucket is not there.
    """
    from google.api_core.exceptions import NotFound

    bucket = clients.settings.runs_bucket(env)
    try:
        blobs = list(clients.storage.list_blobs(bucket, prefix=f"{FOLDER}/", timeout=TIMEOUT))
    except NotFound as exc:
        raise ObjectNotFound(f"There is no bucket gs://{bucket}") from exc
    found = [_record(blob.name, blob.download_as_bytes(timeout=TIMEOUT)) for blob in blobs]
    return sorted(found, key=lambda record: (record.received_at, record.name))


def replay(clients: Clients, env: str, record: Record) -> None:
    """Publish the message again to the topic that it came from, and take it out of quarantine.

    Raises:
        InvalidRequest: its body is no message that Pub/Sub could have pushed.
    """
    topic = TOPICS.get(record.route)
    try:
        message = json.loads(record.body)["message"]
        data = base64.b64decode(message.get("data") or "", validate=True)
        attributes: dict[str, Any] = dict(message.get("attributes") or {})
        fine = all(isinstance(v, str) for v in attributes.values())
    except (ValueError, TypeError, KeyError, AttributeError, binascii.Error) as exc:
        raise _cannot(record) from exc
    if topic is None or not fine:
        raise _cannot(record)
    name = getattr(clients.settings, topic)(env)
    clients.publisher.publish(name, data, timeout=TIMEOUT, **attributes).result(timeout=TIMEOUT)
    bucket = clients.storage.bucket(clients.settings.runs_bucket(env))
    bucket.blob(record.name).delete(timeout=TIMEOUT)


def _record(name: str, content: bytes) -> Record:
    value = json.loads(content)
    return Record(
        name=name,
        received_at=value["received_at"],
        route=value.get("route", ""),
        reason=value["reason"],
        body=value["body"],
    )


def _cannot(record: Record) -> InvalidRequest:
    return InvalidRequest(
        (
            record.name,
            "its body is no message that Pub/Sub pushes, so it cannot be published again: "
            "look at it, and delete the object",
        )
    )
