"""Hand a scoring request to Pub/Sub, which pushes it to `POST /events/predictions`.

`wait=false` starts a run so, and a run that is suspended is continued so: its message is published
again and then acknowledged. A message that is answered by an error instead is delivered again only
after a backoff of up to two minutes, and has a limited number of deliveries; one that has used many
of them while it waited for memory is published again too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from app import service

if TYPE_CHECKING:
    from workers.scoring.request.parsed import ScoringRequest

SECONDS = 60.0  # for Pub/Sub to have the message
SECONDS_AT_THE_END = 3.0  # of the eight in which an instance that is stopped has to answer


def publish_request(request: ScoringRequest, run_id: str | None) -> None:
    """Publish the request of the run. Return once Pub/Sub has it.

    Raises:
        Exception: Pub/Sub may not have it.
    """
    publish_requests([(request, run_id)])


def publish_requests(requests: Iterable[tuple[ScoringRequest, str | None]]) -> None:
    """Publish the requests of runs. Return once Pub/Sub has them all.

    Raises:
        Exception: Pub/Sub may lack some of them.
    """
    _publish(
        (request.env, request.to_dict() | ({"run_id": run_id} if run_id else {}))
        for request, run_id in requests
    )


def publish_undo(env: str, run_id: str) -> None:
    """Publish that a run, whose undo is decided, is to be undone. Return once Pub/Sub has it.

    Raises:
        Exception: Pub/Sub may not have it.
    """
    _publish([(env, {"env": env, "undo": run_id})])


def _publish(messages: Iterable[tuple[str, Mapping[str, str]]]) -> None:
    seconds = SECONDS_AT_THE_END if service().stopping.is_set() else SECONDS
    sent = []
    for env, message in messages:
        topic = service().settings.predictions_topic(env)
        content, publisher = json.dumps(message).encode(), service().clients.publisher
        sent.append(publisher.publish(topic, content, timeout=seconds / 2))
    for each in sent:
        each.result(timeout=seconds)
