"""Keep what cannot be understood, so that it blocks nothing and is not lost."""

from __future__ import annotations

import datetime as dt
import hashlib
import json

from mlsys.clients import TIMEOUT, Clients
from mlsys.quarantine import FOLDER


def quarantine(clients: Clients, env: str, route: str, body: bytes, reason: str) -> str:
    """Write the body of a message as it was received, with the reason, and return its `gs://` URI.

    The place is `quarantine/{date}/{hash}.json` in the environment's runs bucket: the same body
    on the same day is the same object, however often it is delivered.
    """
    now = dt.datetime.now(dt.UTC)
    path = f"{FOLDER}/{now.date()}/{hashlib.sha256(body).hexdigest()}.json"
    record = {
        "body": body.decode("utf-8", errors="backslashreplace"),
        "route": route,
        "reason": reason,
        "received_at": now.isoformat(),
    }
    bucket = clients.settings.runs_bucket(env)
    clients.storage.bucket(bucket).blob(path).upload_from_string(
        json.dumps(record), content_type="application/json", timeout=TIMEOUT
    )
    return f"gs://{bucket}/{path}"
