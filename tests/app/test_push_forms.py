"""Every form in which Pub/Sub and Eventarc push is read, or quarantined with what to change."""

import base64
import json
from typing import Any

import pytest
from flask.testing import FlaskClient

from app.api.notifications import StorageEvent
from edge_cases import REQUEST, Recorder, client, did, envelope
from mlsys.cloud.pushes import Malformed, PushMessage, kept_headers
from tokens import SERVICE
from wired import wired
from workers.quarantine import quarantine

__all__ = ["client", "did"]  # fixtures

BUCKET, PATH = "mlsys-models-dev", "titanic/v1/model.pkl"
OBJECT = {"kind": "storage#object", "bucket": BUCKET, "name": PATH, "generation": "17"}
NOTIFICATION = {
    "notificationConfig": f"projects/_/buckets/{BUCKET}/notificationConfigs/1",
    "eventType": "OBJECT_FINALIZE",
    "payloadFormat": "JSON_API_V1",
    "bucketId": BUCKET,
    "objectId": PATH,
    "objectGeneration": "17",
}
EVENT = {
    "specversion": "1.0",
    "id": "1096434104173400",
    "source": f"//storage.googleapis.com/projects/_/buckets/{BUCKET}",
    "subject": f"objects/{PATH}",
    "type": "google.cloud.storage.object.v1.finalized",
    "time": "2026-11-28T07:00:00Z",
    "datacontenttype": "application/json",
    "bucket": BUCKET,
}
LOG = {
    "insertId": "x",
    "protoPayload": {
        "serviceName": "storage.googleapis.com",
        "methodName": "storage.objects.create",
        "resourceName": f"projects/_/buckets/{BUCKET}/objects/{PATH}",
    },
    "resource": {"type": "gcs_bucket", "labels": {"bucket_name": BUCKET}},
}
AUDIT = EVENT | {
    "type": "google.cloud.audit.log.v1.written",
    "source": "//cloudaudit.googleapis.com/projects/p/logs/data_access",
    "subject": f"storage.googleapis.com/projects/_/buckets/{BUCKET}/objects/{PATH}",
}
PUBLISHED = EVENT | {
    "type": "google.cloud.pubsub.topic.v1.messagePublished",
    "source": "//pubsub.googleapis.com/projects/p/topics/t",
}
STRUCTURED = {"Content-Type": "application/cloudevents+json; charset=utf-8"}
UNWRAPPED = {
    "Content-Type": "application/json",
    "x-goog-pubsub-subscription-name": "projects/p/subscriptions/s",
    "x-goog-pubsub-message-id": "1",
    "x-goog-pubsub-publish-time": "2026-11-28T07:00:00Z",
}


def dumped(value: Any) -> bytes:
    return json.dumps(value).encode()


def base64_of(value: Any) -> str:
    return base64.b64encode(dumped(value)).decode()


def binary(event: dict[str, str]) -> dict[str, str]:
    """Return a CloudEvent's attributes as headers, with the content type in its own header."""
    own = {k: v for k, v in event.items() if k != "datacontenttype"}
    return {f"ce-{k}": v for k, v in own.items()} | {"Content-Type": "application/json"}


FORMS = {
    "wrapped": (envelope(NOTIFICATION, base64_of(OBJECT)), {}),
    "unwrapped with metadata": (dumped(OBJECT), UNWRAPPED | NOTIFICATION),
    "unwrapped with metadata, no payload": (b"", UNWRAPPED | NOTIFICATION),
    "headers in another case": (b"", {k.upper(): v for k, v in (UNWRAPPED | NOTIFICATION).items()}),
    "unwrapped without metadata": (dumped(OBJECT), {"Content-Type": "application/json"}),
    "Eventarc, binary": (dumped(OBJECT), binary(EVENT)),
    "Eventarc, binary, no content": (b"", binary(EVENT)),
    "Eventarc, binary, protobuf": (b"\x0a\xff\x00", binary(EVENT)),
    "Eventarc, binary, without ce-bucket": (
        b"",
        binary({k: v for k, v in EVENT.items() if k != "bucket"}),
    ),
    "Eventarc, binary, encoded": (
        b"",
        binary(EVENT | {"subject": "objects%2Ftitanic/v1/model%2Epkl"}),
    ),
    "Eventarc, structured": (dumped(EVENT | {"data": OBJECT}), STRUCTURED),
    "Eventarc, structured, as JSON": (
        dumped(EVENT | {"data": OBJECT}),
        {"Content-Type": "application/json"},
    ),
    "Eventarc, structured, base64": (
        dumped(EVENT | {"data_base64": base64_of(OBJECT)}),
        STRUCTURED,
    ),
    "Eventarc, structured, no data": (dumped(EVENT), STRUCTURED),
    "Eventarc, structured, data alone names it": (
        dumped({k: EVENT[k] for k in ("specversion", "id", "type")} | {"data": OBJECT}),
        STRUCTURED,
    ),
    "Eventarc of a topic, binary": (
        envelope(NOTIFICATION, base64_of(OBJECT)),
        binary(PUBLISHED),
    ),
    "Eventarc of a topic, structured": (
        dumped(PUBLISHED | {"data": json.loads(envelope(NOTIFICATION, base64_of(OBJECT)))}),
        STRUCTURED,
    ),
    "a CloudEvent in a wrapped push, binary": (
        envelope({f"ce-{k}": v for k, v in EVENT.items()}, base64_of(OBJECT)),
        {},
    ),
    "a CloudEvent in a wrapped push, structured": (
        envelope({"content-type": "application/cloudevents+json"}, base64_of(EVENT)),
        {},
    ),
    "a CloudEvent in an unwrapped push": (dumped(OBJECT), UNWRAPPED | binary(EVENT)),
    "audit log, binary": (dumped(LOG), binary(AUDIT)),
    "audit log, binary, by headers": (
        b"",
        binary(
            AUDIT
            | {"methodname": "storage.objects.create", "servicename": "storage.googleapis.com"}
        ),
    ),
    "audit log, structured": (dumped(AUDIT | {"data": LOG}), STRUCTURED),
    "audit log of a sink, wrapped": (
        envelope({"logging.googleapis.com/timestamp": "t"}, base64_of(LOG)),
        {},
    ),
    "audit log of a sink, unwrapped": (dumped(LOG), UNWRAPPED),
}


def test_every_form_of_a_storage_event_updates_the_registry(
    client: FlaskClient, did: Recorder
) -> None:
    # Eventarc appends its own parameter to the path
    path = "/events/storage?__GCP_CloudEventsMode=GCS_NOTIFICATION"
    for name, (body, headers) in FORMS.items():
        did.clear()
        assert client.post(path, data=body, headers=headers).status_code == 204, name
        assert did.quarantined == [], name
        assert did.converged == [("dev", "titanic/v1")], name


def typed(kind: str) -> dict[str, str]:
    return EVENT | {"type": f"google.cloud.storage.object.v1.{kind}"}


def logged(method: str, path: str = PATH) -> bytes:
    name = f"projects/_/buckets/{BUCKET}/objects/{path}"
    return dumped({"protoPayload": {"methodName": method, "resourceName": name}})


@pytest.mark.parametrize(
    ("body", "headers", "looks"),
    [
        pytest.param(b"", binary(typed("deleted")), 1, id="deleted"),
        pytest.param(b"", binary(typed("archived")), 1, id="archived"),
        pytest.param(b"", binary(typed("metadataUpdated")), 0, id="metadata"),
        pytest.param(b"", binary(typed("exploded")), 0, id="a kind of the future"),
        pytest.param(b"", binary(EVENT | {"bucket": "other"}), 0, id="another bucket"),
        pytest.param(b"", binary(EVENT | {"subject": "objects/a.txt"}), 0, id="no model"),
        pytest.param(logged("storage.objects.delete"), binary(AUDIT), 1, id="a delete in the log"),
        pytest.param(logged("storage.objects.get"), binary(AUDIT), 0, id="a read in the log"),
        pytest.param(logged("storage.objects.list"), binary(AUDIT), 0, id="a listing in the log"),
        pytest.param(logged("storage.objects.create", "a/b"), UNWRAPPED, 0, id="another object"),
        pytest.param(dumped(OBJECT | {"name": "notes.md"}), UNWRAPPED, 0, id="another payload"),
        pytest.param(
            dumped(OBJECT),
            UNWRAPPED | NOTIFICATION | {"eventType": "OBJECT_METADATA_UPDATE"},
            0,
            id="unwrapped metadata",
        ),
    ],
)
def test_the_event_type_decides_whether_the_registry_is_updated(
    client: FlaskClient, did: Recorder, body: bytes, headers: dict[str, str], looks: int
) -> None:
    assert client.post("/events/storage", data=body, headers=headers).status_code == 204
    assert did.quarantined == []
    assert did.converged == [("dev", "titanic/v1")] * looks


@pytest.mark.parametrize(
    ("body", "headers", "reason"),
    [
        pytest.param(
            b"{}", binary(EVENT | {"type": "google.cloud.bigquery.x"}),
            "'google.cloud.bigquery.x' names no object", id="another type",
        ),
        pytest.param(
            b"{}", binary(PUBLISHED), "names no object", id="a topic's event without a message"
        ),
        pytest.param(
            b"{}", binary({"type": EVENT["type"], "specversion": "1.0"}), "ce-bucket", id="no names"
        ),
        pytest.param(dumped([EVENT]), {"Content-Type": "application/cloudevents-batch+json"},
                     "a batch of CloudEvents", id="a batch"),
        pytest.param(b"{}", binary(AUDIT | {"subject": "x"}), "audit log", id="a log of nothing"),
        pytest.param(dumped({"protoPayload": {"resourceName": 3}}), {}, "audit log", id="a number"),
        pytest.param(dumped(PUBLISHED | {"data": {"message": 3}}), STRUCTURED, "no message object",
                     id="a message that is a number"),
        pytest.param(dumped(EVENT | {"data_base64": "%"}), STRUCTURED, "not base64", id="base64"),
        pytest.param(dumped(REQUEST), {}, "push it to /events/predictions", id="a request"),
        pytest.param(b"", UNWRAPPED, "the attribute eventType is missing", id="nothing unwrapped"),
        pytest.param(b"", UNWRAPPED | {"eventType": "OBJECT_DELETE"}, "bucketId", id="a part"),
        pytest.param(dumped(EVENT | {"type": 3}), STRUCTURED, "no specversion or type", id="none"),
    ],
)  # fmt: skip
def test_a_misconfigured_push_is_quarantined_with_the_reason(
    client: FlaskClient, did: Recorder, body: bytes, headers: dict[str, str], reason: str
) -> None:
    assert client.post("/events/storage", data=body, headers=headers).status_code == 204
    [(kept, why)] = did.quarantined
    assert kept == body
    assert reason in why
    assert did.converged == []


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        pytest.param(envelope(data=base64_of(REQUEST)), {}, id="wrapped"),
        pytest.param(dumped(REQUEST), UNWRAPPED, id="unwrapped"),
        pytest.param(dumped(REQUEST), {}, id="unwrapped without metadata"),
        pytest.param(envelope(data=base64_of(REQUEST)), binary(PUBLISHED), id="of a topic"),
        pytest.param(
            dumped(PUBLISHED | {"data": json.loads(envelope(data=base64_of(REQUEST)))}),
            STRUCTURED,
            id="of a topic, structured",
        ),
        pytest.param(dumped(EVENT | {"type": "a.b", "data": REQUEST}), STRUCTURED, id="one's own"),
    ],
)
def test_every_form_of_a_scoring_request_is_scored(
    client: FlaskClient, did: Recorder, body: bytes, headers: dict[str, str]
) -> None:
    assert client.post("/events/predictions", data=body, headers=headers).status_code == 204
    assert did.quarantined == []
    assert [run_id for _, run_id in did.scored] == ["a-run"]


@pytest.mark.parametrize("name", ["wrapped", "Eventarc, binary", "Eventarc, structured"])
def test_a_storage_event_at_the_wrong_route_is_quarantined_with_the_right_route(
    client: FlaskClient, did: Recorder, name: str
) -> None:
    body, headers = FORMS[name]
    assert client.post("/events/predictions", data=body, headers=headers).status_code == 204
    [(_, why)] = did.quarantined
    assert "push it to /events/storage" in why


def test_unauthenticated_pushes_of_every_form_are_refused(
    did: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    strangers = wired(SERVICE).test_client()
    for path in ("/events/storage", "/events/predictions"):
        for name, (body, headers) in FORMS.items():
            answer = strangers.post(path, data=body, headers=headers)
            assert (answer.status_code, answer.mimetype) == (401, "application/problem+json"), name
    assert did.quarantined == did.converged == did.scored == []


def test_every_form_gives_the_same_message() -> None:
    for name in ("wrapped", "unwrapped with metadata", "Eventarc of a topic, structured"):
        body, headers = FORMS[name]
        message = PushMessage.parse(body, headers)
        assert message.attributes["objectId"] == PATH
        assert json.loads(message.data) == OBJECT
        assert message.subscription.startswith("projects/p/subscriptions/s")
    assert StorageEvent.from_message(message) == StorageEvent("OBJECT_FINALIZE", BUCKET, PATH)
    with pytest.raises(Malformed):
        PushMessage.parse(b"", {"Authorization": "Bearer x", "X-Other": "y"})


def test_only_the_messages_own_headers_are_quarantined() -> None:
    found = kept_headers(
        UNWRAPPED | {"Authorization": "Bearer x", "Cookie": "c", "EVENTTYPE": "X", "Ce-Id": "a%20b"}
    )
    assert found == {k.lower(): v for k, v in UNWRAPPED.items()} | {
        "eventType": "X",
        "ce-id": "a b",
    }


class Written:
    """A bucket that records what is written."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}

    def __getattr__(self, name: str) -> Any:
        return self

    def bucket(self, _: str) -> Any:
        return self

    def runs_bucket(self, _: str) -> str:
        return "mlsys-runs-dev"

    def blob(self, path: str) -> Any:
        self.path = path
        return self

    def upload_from_string(self, text: str, **_: Any) -> None:
        self.objects[self.path] = json.loads(text)


def test_messages_that_differ_only_in_headers_are_quarantined_separately() -> None:
    written: Any = Written()
    for object_id in ("a", "b", "a"):
        headers = kept_headers(UNWRAPPED | {"eventType": "X", "objectId": object_id})
        quarantine(written, "dev", "/events/storage", b"", "a reason", headers)
    quarantine(written, "dev", "/events/storage", b"\xff\x00", "a reason", {})
    assert len(written.objects) == 3
    [raw] = [r for r in written.objects.values() if "body_base64" in r]
    assert base64.b64decode(raw["body_base64"]) == b"\xff\x00"
