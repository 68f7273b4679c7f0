"""Figures of Cloud Monitoring, which no installed client reads."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from mlsys.cloud.credentials import default_credentials

if TYPE_CHECKING:
    from mlsys.cloud.clients import Clients

SECONDS = 10.0
# Points are a minute apart, and can be seen some minutes later.
LOOK_BACK = dt.timedelta(minutes=10)


def messages_waiting(clients: Clients, subscription: str) -> int | None:
    """Return how many messages a subscription holds, or None without a figure."""
    from google.api_core.exceptions import from_http_response
    from google.auth.transport.requests import AuthorizedSession

    now = dt.datetime.now(dt.UTC)
    project = clients.settings.project
    with AuthorizedSession(default_credentials()) as session:
        answer = session.get(
            f"https://monitoring.googleapis.com/v3/projects/{project}/timeSeries",
            params={
                "filter": 'metric.type="pubsub.googleapis.com/subscription/'
                f'num_undelivered_messages" AND resource.labels.subscription_id="{subscription}"',
                "interval.startTime": _text(now - LOOK_BACK),
                "interval.endTime": _text(now),
            },
            timeout=SECONDS,
        )
    if not answer.ok:
        raise from_http_response(answer)
    return newest(answer.json())


def newest(answer: Any) -> int | None:
    """Return the newest value of the first time series, or None.

    "The points in each time series are currently returned in reverse time order"
    (https://cloud.google.com/monitoring/api/ref_v3/rest/v3/projects.timeSeries/list).

    >>> newest({"timeSeries": [{"points": [{"value": {"int64Value": "3"}}]}]})
    3
    >>> newest({})
    """
    for series in answer.get("timeSeries", ()):
        for point in series.get("points", ()):
            return int(point["value"]["int64Value"])
    return None


def _text(at: dt.datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")
