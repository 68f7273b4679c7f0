"""`POST /events/storage` and `POST /events/predictions`: what Pub/Sub pushes.

An answer of 102, 200, 201, 202 or 204 acknowledges the message, every other one has it delivered
again (https://cloud.google.com/pubsub/docs/push#receive_push). So: 204 for done, duplicate and
irrelevant; 204 too for what cannot be understood, after a quarantine record; 503 for what passes.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from flask import request
from flask_openapi3 import APIBlueprint, Tag
from pydantic import ValidationError

from app import auth, logs, service
from app.bodies import read_body
from app.parameters import PredictQuery
from app.problems import documented
from mlsys.errors import InvalidRequest, MlsysError, NotAllowed, TryAgain
from mlsys.refs import ModelRef

log = logging.getLogger(__name__)
api = APIBlueprint("events", __name__, abp_tags=[Tag(name="events")])

STORAGE_EVENTS = ("OBJECT_FINALIZE", "OBJECT_DELETE", "OBJECT_ARCHIVE")
MAX_REASON = 2_000  # characters of a log line: a message can have a hundred thousand mistakes
PUSH_BUDGET = 540.0  # seconds, below the subscription's acknowledgement deadline of 600
DONE = ("", 204)


class Malformed(ValueError):
    """A pushed message that does not have the documented form."""


@dataclass(frozen=True, slots=True)
class PushMessage:
    """A message in the wrapped form: https://cloud.google.com/pubsub/docs/push#receive_push."""

    attributes: Mapping[str, str]
    data: bytes
    subscription: str

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Read the request's body.

        Raises:
            Malformed: saying what is wrong.
        """
        try:
            envelope = json.loads(body)
        except (ValueError, RecursionError) as exc:
            raise Malformed("the body is no JSON") from exc
        message = envelope.get("message") if isinstance(envelope, dict) else None
        if not isinstance(message, dict):
            raise Malformed("the body has no message object")
        attributes = message.get("attributes") or {}
        if not isinstance(attributes, dict) or not all(
            isinstance(v, str) for v in attributes.values()
        ):
            raise Malformed("attributes is no object of strings")
        data = message.get("data") or ""
        try:
            decoded = base64.b64decode(data, validate=True)
        except (binascii.Error, TypeError, ValueError) as exc:
            raise Malformed("data is no base64") from exc
        return cls(attributes, decoded, str(envelope.get("subscription", "")))


@dataclass(frozen=True, slots=True)
class StorageEvent:
    """A Cloud Storage notification: https://cloud.google.com/storage/docs/pubsub-notifications."""

    event_type: str
    bucket: str
    path: str

    @classmethod
    def from_message(cls, message: PushMessage) -> Self:
        """Read the notification's attributes; its payload is a copy that may be old by now.

        Raises:
            Malformed: an attribute that is always there is missing.
        """
        try:
            return cls(*(message.attributes[k] for k in ("eventType", "bucketId", "objectId")))
        except KeyError as exc:
            raise Malformed(f"the attribute {exc.args[0]} is missing") from exc


RESPONSES: dict[Any, Any] = {
    204: {"description": "Done, a duplicate, irrelevant, or put into quarantine"},
    **documented(400, 401, 403, 408, 413, 503),
}
TEXT = {"type": "string"}
BODY: dict[str, Any] = {
    "requestBody": {
        "description": "What Pub/Sub pushes; anything else goes into quarantine",
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["message"],
                    "properties": {
                        "message": {
                            "type": "object",
                            "properties": {
                                "attributes": {"type": "object", "additionalProperties": TEXT},
                                "data": TEXT | {"description": "In base64"},
                                "messageId": TEXT,
                                "publishTime": TEXT | {"format": "date-time"},
                            },
                        },
                        "subscription": TEXT,
                    },
                }
            }
        },
    }
}


@api.post(
    "/events/storage",
    summary="A storage notification",
    responses=RESPONSES,
    security=[{"push": []}],
    openapi_extensions=BODY,
)
def storage() -> tuple[str, int]:
    from workers.registry_sync import converge

    auth.check_push()
    body = read_body()
    try:
        message = PushMessage.parse(body)
        event = StorageEvent.from_message(message)
    except Malformed as exc:
        return _quarantine(body, str(exc))
    logs.note(subscription=message.subscription[:200])
    env = service().settings.env_of_models_bucket(event.bucket)
    if env is None:
        log.warning(
            "A notification of the bucket %r, which no environment served here has: set "
            "GCS_BUCKET_MODELS_{ENV} or MLSYS_ENVS, or remove the notification",
            event.bucket[:80],
        )
    if env is None or event.event_type not in STORAGE_EVENTS:
        logs.note(outcome=f"{event.event_type[:80]} in {event.bucket[:80]}: left alone")
        return DONE
    try:
        ref, _ = ModelRef.of_object(event.path)
    except InvalidRequest as exc:
        logs.note(outcome=f"left alone: {exc}")
        return DONE
    logs.note(model=str(ref), outcome=converge(service().clients, env, ref))
    return DONE


@api.post(
    "/events/predictions",
    summary="A scoring request",
    responses=RESPONSES,
    security=[{"push": []}],
    openapi_extensions=BODY,
)
def predictions() -> tuple[str, int]:
    from workers.scoring.prepare import prepare
    from workers.scoring.run import execute

    auth.check_push()
    body = read_body()
    try:
        message = PushMessage.parse(body)
        query = PredictQuery.model_validate_json(message.data)
        if query.dry_run:
            raise Malformed("dry_run has nobody to answer to: ask GET /predict")
        asked = query.to_request(service().settings)
    except (Malformed, ValidationError, InvalidRequest, NotAllowed) as exc:
        return _quarantine(body, str(exc))
    logs.note(model=f"{query.model_name}/{query.model_version}", run_id=query.run_id)
    clients = service().clients
    deadline = time.monotonic() + min(PUSH_BUDGET, service().settings.request_timeout)
    try:
        prepared = prepare(clients, asked, query.run_id)
        logs.note(run_id=prepared.plan.run_id)
        result = execute(clients, prepared, deadline=deadline, stopping=service().stopping.is_set)
    except TryAgain:
        raise
    except MlsysError as exc:
        # It would fail again: `GET /runs/{run_id}` tells why, and the message is done with.
        log.warning("Scoring failed: %s", exc, extra={"run_id": query.run_id})
        logs.note(outcome=f"failed: {type(exc).__name__}")
        return DONE
    logs.note(outcome="reused" if result["reused"] else f"{result['rows']} rows scored")
    return DONE


def _quarantine(body: bytes, reason: str) -> tuple[str, int]:
    from workers.quarantine import quarantine

    env = service().settings.envs[0]
    reason = reason if len(reason) <= MAX_REASON else f"{reason[:MAX_REASON]}..."
    uri = quarantine(service().clients, env, request.path, body, reason)
    log.warning("A message was put into quarantine at %s: %s", uri, reason)
    logs.note(outcome="quarantined")
    return DONE
