"""Announcements on `mlsys-events-{env}` as CloudEvents, on a best-effort basis.

The registry and the ledger are authoritative. An announcement can be lost, if the process dies just
before it or Pub/Sub does not answer in time, and it can arrive twice; a subscriber that must not
miss anything reads `model_registry` and `prediction_runs`.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mlsys.cloud.clients import Clients

log = logging.getLogger(__name__)

SECONDS = 10.0  # for all announcements of one call
MAX_ATTRIBUTE = 1024  # bytes; https://cloud.google.com/pubsub/quotas#resource_limits

Kind = Literal[
    "alias.moved",
    "model.registered",
    "model.removed",
    "run.finished",
    "run.drifted",
    "run.failed",
    "run.cancelled",
    "run.undone",
]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to `subject`, a model version, an alias or a run."""

    kind: Kind
    subject: str
    data: Mapping[str, Any]


def announce(clients: Clients, env: str, *events: Event) -> None:
    """Publish events, all within ten seconds; failures are only logged.

    The attributes are those of CloudEvents over Pub/Sub in binary mode
    (https://github.com/googleapis/google-cloudevents/blob/main/docs/spec/pubsub.md): `ce-id`,
    `ce-source`, `ce-specversion`, `ce-subject`, `ce-time`, `ce-type`.
    """
    settings = clients.settings
    topic = settings.events_topic(env)
    until = time.monotonic() + SECONDS
    sent: list[tuple[Event, Any]] = []
    for event in events:
        attributes = {
            "ce-id": uuid.uuid4().hex,
            "ce-source": f"//mlsys/projects/{settings.project}/environments/{env}",
            "ce-specversion": "1.0",
            "ce-subject": _bounded(event.subject),
            "ce-time": dt.datetime.now(dt.UTC).isoformat(),
            "ce-type": f"mlsys.{event.kind}",
            "content-type": "application/json",
        }
        try:
            content = json.dumps(event.data, default=str).encode()
            sent.append(
                (event, clients.publisher.publish(topic, content, timeout=SECONDS, **attributes))
            )
        except Exception:  # whatever Pub/Sub raises, the work itself is done
            log.warning("%s of %s was not announced", event.kind, event.subject, exc_info=True)
    for event, future in sent:
        try:
            future.result(timeout=max(0.0, until - time.monotonic()))
        except Exception:
            log.warning("%s of %s was not announced", event.kind, event.subject, exc_info=True)


def _bounded(text: str) -> str:
    """Cut the text to fit an attribute: Pub/Sub refuses a whole batch for one that is too long."""
    return text.encode()[:MAX_ATTRIBUTE].decode(errors="ignore")
