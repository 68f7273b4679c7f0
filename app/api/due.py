"""The moment that the relative partitions of a request are about.

A retry of Cloud Scheduler after midnight, and a second delivery by Pub/Sub, mean the day of the
first try: both say when that was.
"""

from __future__ import annotations

import datetime as dt

from flask import g, has_request_context, request

# Of jobs with a cron schedule, as RFC 3339:
# https://cloud.google.com/scheduler/docs/reference/rest/v1/projects.locations.jobs#HttpTarget
SCHEDULED = "X-CloudScheduler-ScheduleTime"


def due_at() -> dt.datetime:
    """Return when the request was due, or was published, or else the time now."""
    now = dt.datetime.now(dt.UTC)
    if not has_request_context():
        return now
    return g.get("published_at") or moment(request.headers.get(SCHEDULED)) or now


def published(at: str) -> None:
    """Let the request be about the moment at which its message was published."""
    g.published_at = moment(at)


def moment(text: str | None) -> dt.datetime | None:
    """Return a time of RFC 3339, or None if the text is not one."""
    try:
        at = dt.datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=dt.UTC)
