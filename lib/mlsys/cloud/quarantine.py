"""Pushed messages that the service could not parse: list them, and publish them again.

The service stores each in its runs bucket, as `quarantine/{date}/{hash}.json`, with the reason.
Once the cause is fixed, in the message or in the service, it can be published again. Other objects
below `quarantine/` are ignored.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlsys.cloud.clients import TIMEOUT, Clients
from mlsys.cloud.errors import cloud_errors
from mlsys.cloud.messages import Use
from mlsys.cloud.pushes import PushMessage
from mlsys.errors import InvalidRequest, ObjectNotFound

if TYPE_CHECKING:
    from google.cloud.storage import Blob

FOLDER = "quarantine"
TOPICS = {
    "/events/storage": "model_events_topic",
    "/events/predictions": "predictions_topic",
}
MAX_BYTES = 16 * 1024 * 1024  # of a record: a body of 1 MiB, escaped twice
THREADS = 8  # that read records
AHEAD = 64  # records that are read before the first is used


@dataclass(frozen=True, slots=True)
class Record:
    """A message in quarantine: its object's name, time, route and reason, and its body."""

    name: str
    received_at: str
    route: str
    reason: str
    body: str
    headers: Mapping[str, str] = field(default_factory=dict)  # those that belong to the message
    body_base64: str | None = None  # of a body that is not text

    def message(self) -> PushMessage:
        """Return the message that was pushed.

        Raises:
            Malformed: it is not in a form that Pub/Sub or Eventarc pushes.
        """
        body = self.body.encode(errors="surrogatepass")
        return PushMessage.parse(
            body if self.body_base64 is None else base64.b64decode(self.body_base64), self.headers
        )


def objects(clients: Clients, env: str) -> list[str]:
    """Return the names of the objects below `quarantine/`, oldest first, without folder markers.

    Raises:
        ObjectNotFound: the environment's runs bucket does not exist.
        CredentialsMissing, PermissionMissing, CloudUnavailable: see `mlsys.errors`.
    """
    from google.api_core.exceptions import NotFound

    bucket = clients.settings.runs_bucket(env)
    with cloud_errors(_use(f"gs://{bucket}/{FOLDER}/", "storage.objects.list")):
        try:
            blobs = list(clients.storage.list_blobs(bucket, prefix=f"{FOLDER}/", timeout=TIMEOUT))
        except NotFound as exc:
            raise ObjectNotFound(
                f"The bucket gs://{bucket} does not exist: create it (docs/deploying.md)"
            ) from exc
    return [blob.name for blob in sorted(blobs, key=_age) if not blob.name.endswith("/")]


def read(clients: Clients, env: str, names: list[str]) -> Iterator[tuple[str, Record | None]]:
    """Yield each object's name with its message, or None if it does not hold one.

    Objects that have been deleted are left out.

    Raises:
        CredentialsMissing, PermissionMissing, CloudUnavailable: see `mlsys.errors`.
    """
    threads = ThreadPoolExecutor(THREADS)
    try:
        for start in range(0, len(names), AHEAD):
            some = names[start : start + AHEAD]
            contents = threads.map(lambda name: _content(clients, env, name), some)
            for name, content in zip(some, contents, strict=True):
                if content is not None:
                    yield name, parse(name, content)
    finally:
        threads.shutdown(wait=False, cancel_futures=True)  # Ctrl-C waits for no answer


def records(clients: Clients, env: str) -> list[Record]:
    """Return every message in quarantine, oldest first.

    Raises:
        ObjectNotFound: the environment's runs bucket does not exist.
    """
    contents = read(clients, env, objects(clients, env))
    return [record for _, record in contents if record is not None]


def replay(clients: Clients, env: str, record: Record) -> None:
    """Publish the message again to its topic, and delete it from quarantine.

    Raises:
        InvalidRequest: its body is not a message that Pub/Sub could have pushed.
        ObjectNotFound: the topic does not exist.
        CredentialsMissing, PermissionMissing, CloudUnavailable: see `mlsys.errors`.
    """
    from google.api_core.exceptions import NotFound

    topic = TOPICS.get(record.route)
    try:
        message = record.message()
    except ValueError as exc:
        raise _cannot(record) from exc
    if topic is None or not (message.attributes or message.data):
        raise _cannot(record)
    _publish(clients, getattr(clients.settings, topic)(env), message, record)
    bucket = clients.settings.runs_bucket(env)
    with cloud_errors(_use(f"gs://{bucket}/{record.name}", "storage.objects.delete")):
        try:
            clients.storage.bucket(bucket).blob(record.name).delete(timeout=TIMEOUT)
        except NotFound:
            pass  # somebody else has deleted it


def _use(resource: str, *permissions: str) -> Use:
    return Use("Cloud Storage", resource, permissions)


def _publish(clients: Clients, topic: str, message: PushMessage, record: Record) -> None:
    use = Use("Pub/Sub", topic, ("pubsub.topics.publish",), "message")
    with cloud_errors(use):
        publisher = clients.publisher
    try:
        with cloud_errors(use):
            sent = publisher.publish(topic, message.data, timeout=TIMEOUT, **message.attributes)
            sent.result(timeout=TIMEOUT)
    except (ValueError, TypeError) as exc:
        # Pub/Sub's InvalidRequest, or an attribute named like a parameter or not encodable
        raise _cannot(record) from exc


def parse(name: str, content: bytes) -> Record | None:
    """Return the message in an object below `quarantine/`, or None if it does not hold one."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    texts = {k: value.get(k) for k in ("received_at", "reason", "body")}
    headers = value.get("headers", {})
    more = {"route": value.get("route", ""), "body_base64": value.get("body_base64") or ""}
    if not _are_texts(texts | more) or not isinstance(headers, dict) or not _are_texts(headers):
        return None
    record: Any = texts | more | {"body_base64": more["body_base64"] or None}
    return Record(name=name, headers=headers, **record)


def _are_texts(values: Mapping[str, Any]) -> bool:
    return all(isinstance(value, str) for value in values.values())


def _age(blob: Blob) -> tuple[str, str]:
    return (blob.updated.isoformat() if blob.updated else "", blob.name)


def _content(clients: Clients, env: str, name: str) -> bytes | None:
    """Return the object's first `MAX_BYTES` bytes, or None if it has been deleted."""
    from google.api_core.exceptions import NotFound, RequestRangeNotSatisfiable

    bucket = clients.settings.runs_bucket(env)
    with cloud_errors(_use(f"gs://{bucket}/{name}", "storage.objects.get")):
        try:
            blob = clients.storage.bucket(bucket).blob(name)
            return blob.download_as_bytes(end=MAX_BYTES, timeout=TIMEOUT)
        except NotFound:
            return None
        except RequestRangeNotSatisfiable:
            return b""  # an empty object has no range


def _cannot(record: Record) -> InvalidRequest:
    return InvalidRequest(
        (
            record.name,
            "cannot be published again, because Pub/Sub does not accept it as a message: read it, "
            "and delete the object",
        )
    )
