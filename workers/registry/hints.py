"""Hints to look at an object, as the models bucket's own notifications.

A message is only a hint: the service reads what bucket and registry hold, and makes them agree. So
a process that may not write to the registry has a rescan done by hints (docs/decisions/0121).
"""

from __future__ import annotations

from collections.abc import Iterable

from mlsys.artifact.refs import ModelRef
from mlsys.cloud.clients import TIMEOUT, Clients
from mlsys.cloud.errors import cloud_errors
from mlsys.cloud.messages import Use
from mlsys.cloud.pushes import NOTIFICATION
from mlsys.errors import InvalidRequest


def hint(clients: Clients, env: str, keys: Iterable[str]) -> int:
    """Publish a hint for each model version (`name/v1`), and return how many there are.

    A key that somebody wrote into the registry by hand may not be a version's; the rescan of the
    service removes its row.

    Raises:
        CredentialsMissing, PermissionMissing, CloudUnavailable: see `mlsys.errors`.
    """
    settings = clients.settings
    topic, bucket = settings.model_events_topic(env), settings.models_bucket(env)
    with cloud_errors(Use("Pub/Sub", topic, ("pubsub.topics.publish",), "message")):
        sent = []
        for ref in _refs(keys):
            attributes = dict(zip(NOTIFICATION, ("OBJECT_FINALIZE", bucket, ref.path), strict=True))
            sent.append(clients.publisher.publish(topic, b"", timeout=TIMEOUT, **attributes))
        for future in sent:
            future.result(timeout=TIMEOUT)
    return len(sent)


def _refs(keys: Iterable[str]) -> Iterable[ModelRef]:
    for key in keys:
        name, _, version = key.rpartition("/")
        try:
            yield ModelRef(name, version)
        except InvalidRequest:
            continue
