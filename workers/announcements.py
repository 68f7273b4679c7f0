"""What mlsys announces on `mlsys-events-{env}`, as CloudEvents: best effort, no more.

Registry and ledger are what counts. An announcement can be lost, when the process dies just
before it or Pub/Sub does not answer in time, and it can come twice; a subscriber that must not miss
anything reads `model_registry` and `prediction_runs`.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import uuid
from collections.abc import Mapping
from typing import Any, Literal

from mlsys.clients import Clients

log = logging.getLogger(__name__)

SECONDS = 10.0  # that an announcement may take

Kind = Literal["model.registered", "model.removed", "run.finished", "run.failed"]


def announce(clients: Clients, env: str, kind: Kind, subject: str, data: Mapping[str, Any]) -> None:
    """Publish an event about `subject` (a model version or a run); failures are logged alone.

    The attributes are those of CloudEvents over Pub/Sub in binary mode
    (https://github.com/googleapis/google-cloudevents/blob/main/docs/spec/pubsub.md): `ce-id`,
    `ce-source`, `ce-specversion`, `ce-subject`, `ce-time`, `ce-type`.
    """
    settings = clients.settings
    attributes = {
        "ce-id": uuid.uuid4().hex,
        "ce-source": f"//mlsys/projects/{settings.project}/environments/{env}",
        "ce-specversion": "1.0",
        "ce-subject": subject,
        "ce-time": dt.datetime.now(dt.UTC).isoformat(),
        "ce-type": f"mlsys.{kind}",
        "content-type": "application/json",
    }
    try:
        publisher = clients.publisher
        topic = settings.events_topic(env)
        content = json.dumps(data, default=str).encode()
        publisher.publish(topic, content, timeout=SECONDS, **attributes).result(timeout=SECONDS)
    except Exception:  # whatever Pub/Sub has, the work itself is done
        log.warning("%s of %s was not announced", kind, subject, exc_info=True)
