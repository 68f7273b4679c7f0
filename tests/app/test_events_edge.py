"""Pushed messages of any form: understood, left alone or put into quarantine, never in the way."""

import base64
import json
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.api.notifications import StorageEvent
from edge_cases import (
    ATTRIBUTES,
    REQUEST,
    Recorder,
    envelope,
    event,
    request_of,
)
from edge_cases import client as client
from edge_cases import did as did
from mlsys.cloud.pushes import Malformed, PushMessage
from mlsys.errors import RegistryBusy, RunInterrupted

MALFORMED = [
    pytest.param(b"", "is not JSON", id="empty"),
    pytest.param(b"\x00", "is not JSON", id="NUL"),
    pytest.param(b"\xff\xfe\xfd", "is not JSON", id="other bytes"),
    pytest.param(b"eventType=OBJECT_FINALIZE", "is not JSON", id="a form"),
    pytest.param(b'{"message": {', "is not JSON", id="cut off"),
    pytest.param(b"[" * 100_000, "is not JSON", id="very deep"),
    pytest.param(b"[]", "no message object", id="an array"),
    pytest.param(b"null", "no message object", id="null"),
    pytest.param(b'"message"', "no message object", id="text"),
    pytest.param(b"{}", "no message object", id="no message"),
    pytest.param(b'{"message": null}', "no message object", id="a message that is null"),
    pytest.param(b'{"message": [1]}', "no message object", id="a message that is a list"),
    pytest.param(envelope("x"), "not an object of strings", id="attributes that are text"),
    pytest.param(envelope([["a", "b"]]), "not an object of strings", id="attributes as pairs"),
    pytest.param(envelope({"a": 1}), "not an object of strings", id="a number"),
    pytest.param(envelope({"a": None}), "not an object of strings", id="a null"),
    pytest.param(envelope(data="%%%"), "not base64", id="data that is not base64"),
    pytest.param(envelope(data="YQ"), "not base64", id="data without padding"),
    pytest.param(envelope(data="ä"), "not base64", id="data with other letters"),
    pytest.param(envelope(data=5), "not base64", id="data that is a number"),
    pytest.param(envelope(data=["YQ=="]), "not base64", id="data that is a list"),
]


@pytest.mark.parametrize("path", ["/events/storage", "/events/predictions"])
@pytest.mark.parametrize(("body", "reason"), MALFORMED)
def test_a_malformed_message_is_kept_and_acknowledged(
    client: FlaskClient, did: Recorder, path: str, body: bytes, reason: str
) -> None:
    answer = client.post(path, data=body, content_type="application/json")
    assert (answer.status_code, answer.data) == (204, b"")
    [(kept, why)] = did.quarantined
    assert kept == body
    assert reason in why
    assert did.converged == did.scored == []


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_a_notification_without_an_attribute_is_kept_with_its_name(
    client: FlaskClient, did: Recorder, name: str
) -> None:
    body = event(**{name: ...})
    assert client.post("/events/storage", data=body).status_code == 204
    assert did.quarantined == [(body, f"the attribute {name} is missing")]
    assert did.converged == []


@pytest.mark.parametrize(
    ("value", "part"),
    [
        pytest.param(b"", "Invalid JSON", id="no data"),
        pytest.param(b"\x00\xff", "", id="other bytes"),
        pytest.param([], "PredictMessage", id="a list"),
        pytest.param({}, "env", id="an empty object"),
        pytest.param(REQUEST | {"model_version": "1"}, "model_version", id="a bad version"),
        pytest.param(REQUEST | {"input_table": {"a": 1}}, "input_table", id="a table object"),
        pytest.param(REQUEST | {"unheard": "of"}, "unheard", id="an unknown part"),
        pytest.param(REQUEST | {"env": "prod"}, "'prod' is not served here", id="another env"),
        pytest.param(
            REQUEST | {"output_table": REQUEST["input_table"]}, "input table", id="onto itself"
        ),
    ],
)
def test_a_request_that_cannot_be_understood_is_kept_and_acknowledged(
    client: FlaskClient, did: Recorder, value: Any, part: str
) -> None:
    body = request_of(value)
    assert client.post("/events/predictions", data=body).status_code == 204
    [(kept, why)] = did.quarantined
    assert kept == body
    assert part in why
    assert did.scored == []


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"bucketId": "mlsys-models-prod"}, id="an environment served elsewhere"),
        pytest.param({"bucketId": "mlsys-runs-dev"}, id="another bucket"),
        pytest.param({"bucketId": ""}, id="no bucket"),
        pytest.param({"eventType": "OBJECT_METADATA_UPDATE"}, id="metadata of the object"),
        pytest.param({"eventType": "object_finalize"}, id="another spelling"),
        pytest.param({"objectId": "titanic/v1/notes.md"}, id="another file"),
        pytest.param({"objectId": "titanic/v1/model.pkl.tmp"}, id="another ending"),
        pytest.param({"objectId": "Titanic/v1/model.pkl"}, id="no model name"),
        pytest.param({"objectId": "titanic/latest/model.pkl"}, id="no version"),
        pytest.param({"objectId": "a/titanic/v1/model.pkl"}, id="a folder more"),
        pytest.param({"objectId": "\ud800\x00\n"}, id="no name at all"),
        pytest.param({"objectId": ""}, id="an empty name"),
    ],
)
def test_an_irrelevant_notification_is_acknowledged_and_left_alone(
    client: FlaskClient, did: Recorder, changed: dict[str, str]
) -> None:
    assert client.post("/events/storage", data=event(**changed)).status_code == 204
    assert did.converged == did.quarantined == []


@pytest.mark.parametrize("kind", ["OBJECT_FINALIZE", "OBJECT_DELETE", "OBJECT_ARCHIVE"])
@pytest.mark.parametrize("file", ["model.pkl", "metadata.json"])
def test_a_models_notification_makes_the_registry_look(
    client: FlaskClient, did: Recorder, kind: str, file: str
) -> None:
    body = event(eventType=kind, objectId=f"titanic/v2/{file}")
    assert client.post("/events/storage", data=body).status_code == 204
    assert did.converged == [("dev", "titanic/v2")]
    assert did.quarantined == []


def test_the_payload_and_unknown_attributes_of_a_notification_do_not_count(
    client: FlaskClient, did: Recorder
) -> None:
    body = envelope(ATTRIBUTES | {"new": "x"}, base64.b64encode(b"not JSON").decode(), more=[1])
    assert client.post("/events/storage", data=body).status_code == 204
    assert did.converged == [("dev", "titanic/v1")]


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded"])
def test_the_content_type_does_not_count(
    client: FlaskClient, did: Recorder, content_type: str
) -> None:
    client.post("/events/storage", data=event(), content_type=content_type)
    assert did.converged == [("dev", "titanic/v1")]


def test_a_passing_fault_has_the_message_delivered_again(
    client: FlaskClient, did: Recorder
) -> None:
    did.fault = RegistryBusy("The registry kept changing")
    assert client.post("/events/storage", data=event()).status_code == 503
    did.fault = RunInterrupted("Stopped", {"rows_done": 1})  # and Pub/Sub takes no continuation
    assert client.post("/events/predictions", data=request_of(REQUEST)).status_code == 503
    assert did.quarantined == []


def test_a_request_that_would_fail_again_is_done_with(client: FlaskClient, did: Recorder) -> None:
    """`GET /runs/{run_id}` tells why; delivering it again would change nothing."""
    assert client.post("/events/predictions", data=request_of(REQUEST)).status_code == 204
    [(request, run_id)] = did.scored
    assert run_id == "a-run"
    assert str(request.input_table) == REQUEST["input_table"]
    assert did.quarantined == []


def test_a_message_is_read_once_into_a_value_that_does_not_change() -> None:
    message = PushMessage.parse(envelope(ATTRIBUTES, "YQ=="))
    assert message == PushMessage(ATTRIBUTES, b"a", "projects/p/subscriptions/s")
    assert StorageEvent.from_message(message) == StorageEvent(
        "OBJECT_FINALIZE", "mlsys-models-dev", "titanic/v1/model.pkl"
    )
    assert PushMessage.parse(b'{"message": {}}') == PushMessage({}, b"", "")
    with pytest.raises(Malformed, match="eventType"):
        StorageEvent.from_message(PushMessage({}, b"", ""))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)
ENVELOPES = st.fixed_dictionaries(
    {
        "message": st.fixed_dictionaries(
            {},
            optional={
                "attributes": JSON
                | st.fixed_dictionaries(
                    {
                        "eventType": st.sampled_from(["OBJECT_FINALIZE", "x"]) | JSON,
                        "bucketId": st.just("mlsys-models-dev") | st.text(),
                        "objectId": st.just("titanic/v1/model.pkl") | st.text(),
                    }
                ),
                "data": JSON
                | st.binary().map(lambda b: base64.b64encode(b).decode())
                | st.dictionaries(st.sampled_from(list(REQUEST)), JSON).map(
                    lambda d: base64.b64encode(json.dumps(REQUEST | d).encode()).decode()
                ),
            },
        )
    },
    optional={"subscription": JSON},
)


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["/events/storage", "/events/predictions"]),
    st.binary() | JSON.map(json.dumps) | ENVELOPES.map(json.dumps),
)
def test_whatever_is_pushed_is_acknowledged(
    client: FlaskClient, did: Recorder, path: str, body: bytes | str
) -> None:
    did.clear()
    assert client.post(path, data=body).status_code == 204
    for kept, reason in did.quarantined:
        assert kept == (body if isinstance(body, bytes) else body.encode())
        assert reason
    assert len(did.quarantined) + len(did.converged) + len(did.scored) <= 1
