"""Messages in quarantine: all of them, one of them, and publishing it again."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from flask import request
from werkzeug.wrappers import Response

from app import logs, service
from app.console import forms
from app.console.pages import Page, blueprint, env, page, see
from mlsys.cloud.quarantine import FOLDER, Record
from mlsys.errors import InvalidRequest, ObjectNotFound

SHOWN = 50  # messages, the oldest first
MAX_BODY, MAX_REASON = 20_000, 500  # characters that are shown


@page("/quarantine")
def quarantine() -> Page:
    """List the messages that the service could not read."""
    from mlsys.cloud import quarantine as messages

    clients, name = service().clients, env()
    names = messages.objects(clients, name)
    some = messages.read(clients, name, names[:SHOWN])
    view = {
        "messages": [shown(record) for _, record in some if record is not None],
        "total": len(names),
    }
    return Page(f"Quarantine of {name}", "quarantine.html", view)


@page("/quarantine/message")
def message() -> Page:
    """Show one message, and ask whether it is published again."""
    return form(_named(request.args.get("name", "")))


@blueprint.post("/quarantine/message", endpoint="replay")
def replay() -> Response:
    """Publish the message again, and remove it from quarantine."""
    record = _named(forms.fields().get("name", ""))
    return forms.answer(lambda: _replay(record), lambda problem: form(record, problem))


def _replay(record: Record) -> Response:
    from mlsys.cloud import quarantine as messages

    logs.note(who=forms.who())
    messages.replay(service().clients, env(), record)
    logs.note(outcome=f"published again: {record.name}")
    return see("console.quarantine")


def _named(name: str) -> Record:
    from mlsys.cloud import quarantine as messages

    if not name.startswith(f"{FOLDER}/"):
        raise InvalidRequest(("name", f"{name[:80]!r} is not in quarantine. Choose one there."))
    for _, record in messages.read(service().clients, env(), [name]):
        if record is not None:
            return record
    raise ObjectNotFound(f"{name[:200]} is not in quarantine any more. Look at the others.")


def shown(record: Record) -> dict[str, Any]:
    """Return what the list shows of a message."""
    return {
        "name": record.name,
        "received_at": record.received_at,
        "route": record.route,
        "reason": record.reason[:MAX_REASON],
    }


def form(record: Record, problem: forms.Problem | None = None) -> Page:
    """Return the page of a message, and why it could not be published again."""
    view = asdict(record) | {
        "headers": dict(record.headers),
        "body": record.body[:MAX_BODY],
        "body_base64": (record.body_base64 or "")[:MAX_BODY],
        "problem": problem,
        "who": forms.who(),
    }
    return Page("A message in quarantine", "message.html", view)
