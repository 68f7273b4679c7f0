"""Read from every form of pushed message which object of Cloud Storage it is about.

- Cloud Storage's own notification: https://cloud.google.com/storage/docs/pubsub-notifications
- Eventarc's direct event, and the one from an audit log:
  https://cloud.google.com/eventarc/docs/cloudevents
- an object's resource or an audit log's entry alone, from an unwrapped push or a log sink

Only the event's kind and the object's name count: the bucket is listed afterwards.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from mlsys.cloud.pushes import NOTIFICATION, Malformed, PushMessage

DIRECT = "google.cloud.storage.object.v1."
AUDIT = "google.cloud.audit.log.v1.written"
KINDS = {
    "finalized": "OBJECT_FINALIZE",
    "deleted": "OBJECT_DELETE",
    "archived": "OBJECT_ARCHIVE",
    "metadataUpdated": "OBJECT_METADATA_UPDATE",
}
# Reading an object is logged too: reading it for that event would never end.
METHODS = {
    **dict.fromkeys(("create", "compose", "copy", "rewrite", "restore", "move"), "OBJECT_FINALIZE"),
    "delete": "OBJECT_DELETE",
}


@dataclass(frozen=True, slots=True)
class StorageEvent:
    """An event and its object, in the terms of Cloud Storage's notifications."""

    event_type: str
    bucket: str
    path: str

    @classmethod
    def from_message(cls, message: PushMessage) -> Self:
        """Read the message's attributes; its payload is a copy that may be outdated.

        Raises:
            Malformed: it names no object, or lacks an attribute that every notification has.
        """
        attributes = message.attributes
        if "ce-type" in attributes and not attributes.keys() & set(NOTIFICATION):
            return cls._of_event(attributes["ce-type"], attributes, _object(message.data))
        payload = {} if attributes.keys() & set(NOTIFICATION) else _object(message.data)
        if isinstance(payload.get("protoPayload"), dict):
            return cls._of_log(attributes, payload)
        if _is_text(payload.get("bucket")) and _is_text(payload.get("name")):
            # The event is unknown; reading the bucket is right for any.
            return cls("OBJECT_FINALIZE", payload["bucket"], payload["name"])
        if "input_table" in payload:
            raise Malformed("it is a scoring request: push it to /events/predictions")
        try:
            return cls(*(attributes[name] for name in NOTIFICATION))
        except KeyError as exc:
            raise Malformed(f"the attribute {exc.args[0]} is missing") from exc

    @classmethod
    def _of_event(
        cls, kind: str, attributes: Mapping[str, str], payload: Mapping[str, Any]
    ) -> Self:
        if kind == AUDIT:
            return cls._of_log(attributes, payload)
        if not kind.startswith(DIRECT):
            raise Malformed(
                f"a CloudEvent of type {kind[:200]!r} names no object: have the trigger send "
                f"{DIRECT}finalized and {DIRECT}deleted"
            )
        source = attributes.get("ce-source", "").partition("/buckets/")[2]
        bucket = attributes.get("ce-bucket") or source or payload.get("bucket")
        subject = attributes.get("ce-subject", "")
        path = subject.removeprefix("objects/") if subject.startswith("objects/") else None
        path = path or payload.get("name")
        if not (_is_text(bucket) and _is_text(path)):
            raise Malformed("the CloudEvent names no bucket and object: ce-bucket, ce-subject")
        kind = kind.removeprefix(DIRECT)
        return cls(KINDS.get(kind, kind), str(bucket), str(path))

    @classmethod
    def _of_log(cls, attributes: Mapping[str, str], payload: Mapping[str, Any]) -> Self:
        entry = payload.get("protoPayload")
        entry = entry if isinstance(entry, dict) else {}
        method = entry.get("methodName") or attributes.get("ce-methodname") or ""
        names = (
            entry.get("resourceName"),
            attributes.get("ce-resourcename"),
            attributes.get("ce-subject"),
        )
        for name in filter(_is_text, names):
            bucket, _, path = str(name).partition("projects/_/buckets/")[2].partition("/objects/")
            if bucket and path:
                method = str(method)
                kind = METHODS.get(method.removeprefix("storage.objects."), method)
                return cls(kind, bucket, path)
        raise Malformed("the audit log's entry names no object of Cloud Storage")


def _object(data: bytes) -> Mapping[str, Any]:
    """Return the data as a JSON object, or an empty one if it is not one."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)
