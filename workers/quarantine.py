"""Set messages that cannot be read aside, so that they block nothing and are not lost."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
from collections.abc import Mapping

from mlsys.cloud.clients import TIMEOUT, Clients
from mlsys.cloud.quarantine import FOLDER

CONTENT_TYPE = "content-type"  # how to read a body; not part of a message's identity


def quarantine(
    clients: Clients,
    env: str,
    route: str,
    body: bytes,
    reason: str,
    headers: Mapping[str, str] | None = None,
) -> str:
    """Write the body of a message as it was received, with the reason, and return its `gs://` URI.

    `headers` are those that are part of the message (`mlsys.cloud.pushes.kept_headers`). The
    object is `quarantine/{date}/{hash}.json` in the environment's runs bucket: the same message on
    the same day is the same object, however often it is delivered.
    """
    headers = headers or {}
    now = dt.datetime.now(dt.UTC)
    digest = hashlib.sha256(body)
    # A message's own headers are part of its identity; how and when it was delivered is not.
    if own := {k: v for k, v in headers.items() if not _changes(k)}:
        digest.update(json.dumps(own, sort_keys=True).encode())
    path = f"{FOLDER}/{now.date()}/{digest.hexdigest()}.json"
    text = body.decode("utf-8", errors="backslashreplace")
    record = {
        "body": text,
        "headers": dict(headers),
        "route": route,
        "reason": reason,
        "received_at": now.isoformat(),
    }
    if text.encode() != body:
        record["body_base64"] = base64.b64encode(body).decode()
    bucket = clients.settings.runs_bucket(env)
    clients.storage.bucket(bucket).blob(path).upload_from_string(
        json.dumps(record), content_type="application/json", timeout=TIMEOUT
    )
    return f"gs://{bucket}/{path}"


def _changes(header: str) -> bool:
    return header in (CONTENT_TYPE, "x-goog-pubsub-delivery-attempt")
