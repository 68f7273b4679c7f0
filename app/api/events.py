"""`POST /events/storage` and `POST /events/predictions`: the pushes of Pub/Sub and Eventarc.

An answer of 102, 200, 201, 202 or 204 acknowledges the message, every other one has it delivered
again (https://cloud.google.com/pubsub/docs/push#receive_push). So: 204 for done, duplicate and
irrelevant; 204 too for malformed messages, after a quarantine record, and for runs that are
suspended, after their message was published again; 503 for transient errors, 429 for runs that have
to wait for memory, whose message is published again in time.
"""

from __future__ import annotations

import json
import logging
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

from flask import request
from flask_openapi3 import APIBlueprint, Tag
from pydantic import ValidationError
from werkzeug.wrappers import Response

from app import auth, logs, service
from app.api import due
from app.api.bodies import once, read_body
from app.api.messages import PredictMessage, UndoMessage
from app.api.notifications import DIRECT, StorageEvent
from app.api.problems import answer, documented
from app.continuations import publish_request
from mlsys.artifact.refs import AliasRef, ModelRef
from mlsys.cloud.pushes import NOTIFICATION, Malformed, PushMessage, kept_headers
from mlsys.errors import (
    InvalidRequest,
    MlsysError,
    NotAllowed,
    RunCancelled,
    RunInterrupted,
    RunUndone,
    TooManyRuns,
    TryAgain,
)
from mlsys.plural import plural

if TYPE_CHECKING:
    from workers.scoring.request.parsed import ScoringRequest

log = logging.getLogger(__name__)
api = APIBlueprint("events", __name__, abp_tags=[Tag(name="events")])

STORAGE_EVENTS = ("OBJECT_FINALIZE", "OBJECT_DELETE", "OBJECT_ARCHIVE")
MAX_REASON = 2_000  # characters of a log line: a message can have a hundred thousand errors
ACK_DEADLINE = 600.0  # seconds, of the subscription: the longest that Pub/Sub waits for an answer
SHARE = 0.9  # of the time for an answer, in which a run is worked on
# Deliveries of a message that waits for memory, before it is published again. Pub/Sub gives up
# after 100; 40 take 75 minutes, so the alert on messages older than an hour sees a long wait.
RENEWED_AFTER = 40
DONE = ("", 204)

RESPONSES: dict[Any, Any] = {
    204: {"description": "Done, a duplicate, irrelevant, or put into quarantine"},
    **documented(400, 401, 403, 408, 413, 429, 503),
}
TEXT = {"type": "string"}
BODY: dict[str, Any] = {
    "requestBody": {
        "description": "A push of Pub/Sub, wrapped (as here) or unwrapped, or a CloudEvent of "
        "Eventarc, binary or structured; anything else goes into quarantine",
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
            },
            "application/cloudevents+json": {"schema": {"type": "object"}},
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
    from workers.registry.alias_sync import converge_alias
    from workers.registry.sync import converge

    auth.check_push()
    body = read_body()
    try:
        message = PushMessage.parse(body, dict(request.headers))
        event = StorageEvent.from_message(message)
    except Malformed as exc:
        return _quarantine(body, str(exc))
    logs.note(subscription=message.subscription[:200])
    env = service().settings.env_of_models_bucket(event.bucket)
    if env is None:
        log.warning(
            "A notification of the bucket %r, which belongs to no environment served here: set "
            "GCS_BUCKET_MODELS_{ENV} or MLSYS_ENVS, or remove the notification",
            event.bucket[:80],
        )
    if env is None or event.event_type not in STORAGE_EVENTS:
        logs.note(outcome=f"{event.event_type[:80]} in {event.bucket[:80]}: ignored")
        return DONE
    try:
        alias = AliasRef.of_object(event.path)
    except InvalidRequest:
        pass  # an object of a model, or of nobody
    else:
        rows = len(converge_alias(service().clients, env, alias).differing())
        logs.note(alias=str(alias), outcome=f"{rows} moves recorded" if rows else "unchanged")
        return DONE
    try:
        ref, _ = ModelRef.of_object(event.path)
    except InvalidRequest as exc:
        logs.note(outcome=f"ignored: {exc}")
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
def predictions() -> tuple[str, int] | Response:
    from workers.admission import admitted
    from workers.scoring.engines.perform import perform
    from workers.scoring.planning.find_run import prepare

    auth.check_push()
    body = read_body()
    try:
        message = PushMessage.parse(body, dict(request.headers))
        if _is_storage_event(message):
            raise Malformed("it is an event of Cloud Storage: push it to /events/storage")
        if (undo := _undo_message(message.data)) is not None:
            return _finish_undo(undo)
        due.published(message.published_at)
        query = PredictMessage.model_validate_json(message.data)
        json.loads(message.data, object_pairs_hook=once)
        if query.dry_run:
            raise Malformed("dry_run gets no answer here: pass it to GET /predict")
        scoring_request = query.to_request(service().settings)
    except (Malformed, ValidationError, InvalidRequest, NotAllowed) as exc:
        return _quarantine(body, str(exc))
    logs.note(model=f"{query.model_name}/{query.model_version}", run_id=query.run_id)
    clients = service().clients
    budget = SHARE * min(ACK_DEADLINE, service().settings.request_timeout)
    deadline = time.monotonic() + budget
    run_id = query.run_id
    try:
        with (
            admitted(service().settings.max_runs),
            closing(prepare(clients, scoring_request, run_id, redelivered=True)) as prepared,
        ):
            run_id = prepared.plan.run_id
            scoring_request = scoring_request.for_version(prepared.plan.model.version)
            logs.note(run_id=run_id)
            stopping = service().stopping.is_set
            result = perform(clients, prepared, deadline=deadline, stopping=stopping, pushed=True)
    except RunInterrupted as exc:
        return _suspend(scoring_request, run_id, exc)
    except TooManyRuns as exc:
        return _wait(scoring_request, run_id, exc, message.delivery_attempt)
    except TryAgain:
        raise
    except (RunCancelled, RunUndone) as exc:
        logs.note(outcome="cancelled" if isinstance(exc, RunCancelled) else "undone")
        return DONE
    except MlsysError as exc:
        # It would fail again: `GET /runs/{run_id}` tells why, and the message is acknowledged.
        log.warning("Scoring failed: %s", exc, extra={"run_id": run_id})
        logs.note(outcome=f"failed: {type(exc).__name__}")
        return DONE
    logs.note(outcome="reused" if result.reused else f"{result.rows} rows scored")
    return DONE


def _undo_message(data: bytes) -> UndoMessage | None:
    """Return the message that a run is to be undone, or None: it is a scoring request."""
    try:
        return UndoMessage.model_validate_json(data)
    except ValidationError:
        return None


def _finish_undo(message: UndoMessage) -> tuple[str, int]:
    """Undo a run whose undo was decided elsewhere: the console's account cannot write tables."""
    from workers.scoring.publishing.undo import finish_undo

    env = service().settings.require_env(message.env)
    logs.note(run_id=message.undo)
    deadline = time.monotonic() + SHARE * min(ACK_DEADLINE, service().settings.request_timeout)

    def stop() -> bool:
        return service().stopping.is_set() or time.monotonic() > deadline

    try:
        finish_undo(service().clients, env, message.undo, stop)
    except TryAgain:
        raise
    except MlsysError as exc:
        log.warning("The undo failed: %s", exc, extra={"run_id": message.undo})
        logs.note(outcome=f"failed: {type(exc).__name__}")
    else:
        logs.note(outcome="undone")
    return DONE


def _suspend(
    scoring_request: ScoringRequest, run_id: str | None, why: RunInterrupted
) -> tuple[str, int]:
    """Publish the run's message again, and acknowledge this one once Pub/Sub has the other.

    The next try begins at once, where an error would have it wait for the subscription's backoff.
    If this process ends between the two, there are two messages of one run. That costs work at
    most: its rows are published once.

    Raises:
        RunInterrupted: Pub/Sub did not take the message, so that this one is delivered again.
    """
    try:
        publish_request(scoring_request, run_id)
    except Exception as exc:
        log.warning("The run was not continued", exc_info=True, extra={"run_id": run_id})
        raise why from exc
    rows = why.progress.get("rows_done")
    done = "" if rows is None else f", {plural(rows, 'row')} done"
    logs.note(outcome=f"suspended{done}")
    return DONE


def _wait(
    scoring_request: ScoringRequest, run_id: str | None, why: TooManyRuns, attempt: int
) -> tuple[str, int] | Response:
    """Answer a message whose run has to wait for memory.

    Here Pub/Sub's backoff is what is needed, and it may deliver the message to an instance that has
    room; a continuation would come back at once. It is 429, so that alerts on 5xx stay quiet. A
    message that has waited for long is published again: waiting is not a fault, and must not end in
    the dead letters.
    """
    if attempt >= RENEWED_AFTER:
        try:
            publish_request(scoring_request, run_id)
        except Exception:  # it is delivered again, and published then
            log.warning("The message was not renewed", exc_info=True, extra={"run_id": run_id})
        else:
            logs.note(outcome="waits for memory, by a new message")
            return DONE
    logs.note(outcome="waits for memory")
    refusal = answer(why)
    refusal.status_code = 429
    return refusal


def _is_storage_event(message: PushMessage) -> bool:
    """Tell whether the message is for the other route."""
    kind = message.attributes.get("ce-type", "")
    return kind.startswith(DIRECT) or set(NOTIFICATION) <= message.attributes.keys()


def _quarantine(body: bytes, reason: str) -> tuple[str, int]:
    from workers.quarantine import quarantine

    env = service().settings.envs[0]
    reason = reason if len(reason) <= MAX_REASON else f"{reason[:MAX_REASON]}..."
    headers = kept_headers(dict(request.headers))
    uri = quarantine(service().clients, env, request.path, body, reason, headers)
    log.warning("A message was put into quarantine at %s: %s", uri, reason)
    logs.note(outcome="quarantined")
    return DONE
