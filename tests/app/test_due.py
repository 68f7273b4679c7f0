"""A relative partition means the day on which a request was due, in every form of a request."""

import base64
import datetime as dt
import json
from typing import Any

import pytest
from flask.testing import FlaskClient

from app.api.due import SCHEDULED
from edge_cases import REQUEST, Recorder, envelope
from edge_cases import client as client
from edge_cases import did as did
from mlsys.cloud.partitions import concrete
from mlsys.cloud.pushes import PushMessage

RELATIVE = REQUEST | {
    "input_table": "my-project.titanic.test$yesterday",
    "output_table": "my-project.titanic.predictions$yesterday",
}
BEFORE_MIDNIGHT = "2026-11-27T23:59:59.123456789Z"


def partitions(did: Recorder) -> list[tuple[str | None, str | None]]:
    """Return the partitions of the input and the output, of each request that was prepared."""
    tables = [(request.input_table, request.output_table) for request, _ in did.scored]
    return [(source.partition, target.partition) for source, target in tables]


def test_the_time_of_a_schedule_counts_for_its_retries(client: FlaskClient, did: Recorder) -> None:
    for _ in range(2):
        headers = {SCHEDULED: BEFORE_MIDNIGHT}
        assert client.get("/predict", query_string=RELATIVE, headers=headers).status_code == 422
    assert partitions(did) == [("20261126", "20261126")] * 2


@pytest.mark.parametrize("header", [None, "soon", "", "20"])
def test_a_request_without_such_a_time_is_about_now(
    client: FlaskClient, did: Recorder, header: str | None
) -> None:
    before = concrete(RELATIVE["input_table"]).partition("$")[2]
    client.post("/predict", json=RELATIVE, headers={SCHEDULED: header} if header else {})
    after = concrete(RELATIVE["input_table"]).partition("$")[2]
    [(source, target)] = partitions(did)
    assert source == target
    assert source in (before, after)


@pytest.mark.parametrize("name", ["publishTime", "publish_time"])
def test_a_message_is_about_the_day_of_its_publication(
    client: FlaskClient, did: Recorder, name: str
) -> None:
    data = base64.b64encode(json.dumps(RELATIVE).encode()).decode()
    body = envelope(data=data, **{name: BEFORE_MIDNIGHT})
    assert client.post("/events/predictions", data=body).status_code == 204
    assert (did.quarantined, partitions(did)) == ([], [("20261126", "20261126")])


def test_every_form_of_a_push_tells_when_it_was_published() -> None:
    at = BEFORE_MIDNIGHT
    bare = json.dumps(RELATIVE).encode()
    event: dict[str, Any] = {"specversion": "1.0", "type": "x", "data": {"message": {}}}
    event["data"]["message"] = {"data": base64.b64encode(bare).decode(), "publishTime": at}
    forms = [
        PushMessage.parse(bare, {"x-goog-pubsub-publish-time": at}),
        PushMessage.parse(json.dumps(event).encode()),
        PushMessage.parse(envelope(data="", publishTime=at)),
    ]
    assert {form.published_at for form in forms} == {at}


@pytest.mark.parametrize("partition", ["tomorrow", "Yesterday", "2026-11-22", "", "20261122$1"])
@pytest.mark.parametrize("name", ["input_table", "output_table"])
def test_what_names_no_partition_is_refused_with_the_words(
    client: FlaskClient, did: Recorder, name: str, partition: str
) -> None:
    params = REQUEST | {name: f"my-project.titanic.t${partition}"}
    answer = client.get("/predict", query_string=params)
    assert answer.status_code == 400
    [problem] = answer.get_json()["parameters"]
    assert problem["name"] == name
    assert "names no partition" in problem["problem"]
    assert "yesterday" in problem["problem"]
    assert did.scored == []


def test_the_input_is_not_also_the_output_whatever_their_partitions(client: FlaskClient) -> None:
    params = REQUEST | {"input_table": "my-project.d.t$20261122"}
    params["output_table"] = "my-project.d.t$20261123"
    answer = client.get("/predict", query_string=params)
    assert answer.status_code == 400
    assert "is the input table" in answer.get_data(as_text=True)


def test_the_words_are_about_utc() -> None:
    east = dt.timezone(dt.timedelta(hours=9))
    at = dt.datetime(2026, 11, 28, 5, tzinfo=east)
    assert concrete("a$today", at) == "a$20261127"
