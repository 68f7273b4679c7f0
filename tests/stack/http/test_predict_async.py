"""`wait=false`: accepted at once, scored once, however often the message is delivered."""

import base64
import hashlib
import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.tree import DecisionTreeRegressor

from mlsys.local.stack import LocalStack
from mlsys.local.topics import dead_letter, predictions
from scoring_cases import Lab, unique

pytestmark = pytest.mark.usefixtures("environment")

DATA = pd.DataFrame({"id": range(40), "a": np.arange(40) / 3, "b": np.arange(40) % 7})
X = DATA[["a", "b"]]
MODEL = DecisionTreeRegressor(random_state=0).fit(X, X["a"] * X["b"])


@pytest.fixture(scope="module")
def lab(stack: LocalStack) -> Lab:
    return Lab(stack)


@pytest.fixture
def params(lab: Lab) -> dict[str, str]:
    """Return a request that succeeds, with a table and a model of its own."""
    return lab.params(lab.put(DATA), lab.upload(MODEL, X))


def envelope(message: Any) -> bytes:
    """Return Pub/Sub's push request for a message with this body."""
    content = message if isinstance(message, bytes) else json.dumps(message).encode()
    data = base64.b64encode(content).decode()
    inner = {"data": data, "messageId": "1", "publishTime": "2026-01-01T00:00:00Z"}
    return json.dumps({"message": inner, "subscription": "projects/p/subscriptions/s"}).encode()


def quarantined(lab: Lab, body: bytes) -> list[dict[str, Any]]:
    """Return the records of a body in quarantine."""
    digest = hashlib.sha256(body).hexdigest()
    bucket = lab.clients.storage.bucket(lab.settings.runs_bucket("dev"))
    names = [name for name in lab.objects("quarantine/") if digest in name]
    return [json.loads(bucket.blob(name).download_as_bytes(timeout=30)) for name in names]


def settled(lab: Lab, status_url: str) -> dict[str, Any]:
    """Return the run's state once it is no longer running."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        state = lab.http({}, status_url.removeprefix(lab.stack.url))
        assert state.status == 200, state.text
        if state.json["state"] != "running":
            return state.json
        time.sleep(0.1)
    raise AssertionError(f"still running: {state.text}")


def assert_each_row_is_there_once(lab: Lab, params: dict[str, str]) -> None:
    rows = lab.rows(params["output_table"])
    assert rows["id"].tolist() == DATA["id"].tolist()
    assert rows["prediction"].tolist() == MODEL.predict(X).tolist()


# Over HTTP and Pub/Sub


def test_a_request_with_wait_false_is_accepted_and_scored_later(
    lab: Lab, params: dict[str, str]
) -> None:
    answer = lab.http(params | {"wait": "false"})
    assert answer.status == 202, answer.text
    accepted = answer.json
    assert accepted["state"] == "accepted"
    assert accepted["status_url"] == f"{lab.stack.url}/runs/{accepted['run_id']}?env=dev"
    assert answer.headers["Location"] == accepted["status_url"]
    state = settled(lab, accepted["status_url"])
    assert state["state"] == "succeeded"
    assert state["rows_done"] == state["rows_total"] == len(DATA)
    assert state["result"]["output_table"] == params["output_table"]
    assert_each_row_is_there_once(lab, params)
    again = lab.http(params | {"wait": "false"}).done()
    assert again == state["result"] | {"reused": True}
    assert lab.http(params).done() == again
    assert_each_row_is_there_once(lab, params)


@pytest.mark.slow
def test_a_request_with_wait_false_can_be_repeated_before_its_run_ends(
    lab: Lab, stack: LocalStack, params: dict[str, str]
) -> None:
    answers = [lab.http(params | {"wait": "false"}) for _ in range(3)]
    assert {a.status for a in answers} <= {200, 202}
    assert len({a.json["run_id"] for a in answers}) == 1
    assert settled(lab, answers[0].json["status_url"])["state"] == "succeeded"
    stack.pubsub.wait_until_quiet(60)
    assert_each_row_is_there_once(lab, params)


def test_every_parameter_reaches_the_asynchronous_run(lab: Lab) -> None:
    name = lab.upload(MODEL, X, version="v3")
    params = lab.params(
        lab.put(DATA.assign(word="x")),
        name,
        model_version="latest",
        run_id=unique("later"),
        id_columns="word,id",
        write_disposition="WRITE_EMPTY",
        wait="false",
    )
    answer = lab.http(params)
    assert answer.status == 202, answer.text
    assert answer.json["run_id"] == params["run_id"]
    result = settled(lab, answer.json["status_url"])["result"]
    assert result["model_version"] == "v3"
    assert result["write_disposition"] == "WRITE_EMPTY"
    assert list(lab.rows(params["output_table"]).columns)[:3] == ["word", "id", "prediction"]


def test_a_request_with_wait_false_that_cannot_succeed_is_refused_at_once(
    lab: Lab, params: dict[str, str]
) -> None:
    params |= {"wait": "false"}
    lab.http(params | {"model_name": "no-such-model"}).problem(404, "model-not-found")
    lab.http(params | {"id_columns": "nowhere"}).problem(422, "schema-mismatch")
    lab.http(params | {"run_id": "UPPER"}).problem(400, "invalid-request")


def test_a_message_that_is_not_a_request_is_quarantined_and_not_redelivered(
    lab: Lab, stack: LocalStack
) -> None:
    before = set(lab.objects("quarantine/"))
    dead = len(stack.pubsub.messages(dead_letter(predictions("dev"))))
    topic = lab.settings.predictions_topic("dev")
    content = f"not a request {unique('x')}".encode()
    lab.clients.publisher.publish(topic, content, timeout=30).result(timeout=30)
    stack.pubsub.wait_until_quiet(60)
    assert len(stack.pubsub.messages(dead_letter(predictions("dev")))) == dead
    new = set(lab.objects("quarantine/")) - before
    assert len(new) == 1
    bucket = lab.clients.storage.bucket(lab.settings.runs_bucket("dev"))
    record = json.loads(bucket.blob(new.pop()).download_as_bytes(timeout=30))
    message = json.loads(record["body"])["message"]
    assert base64.b64decode(message["data"]) == content
    assert "JSON" in record["reason"]


# The push handler


def test_a_redelivered_message_adds_no_rows(lab: Lab, params: dict[str, str]) -> None:
    body = envelope(params | {"run_id": unique("push")})
    for _ in range(3):
        answer = lab.push(body)
        assert (answer.status, answer.text) == (204, "")
        assert_each_row_is_there_once(lab, params)


@pytest.mark.slow
def test_two_concurrent_deliveries_of_a_message_write_every_row_once(
    lab: Lab, params: dict[str, str]
) -> None:
    body = envelope(params | {"run_id": unique("push")})
    with ThreadPoolExecutor(4) as threads:
        answers = list(
            threads.map(
                lambda _: (
                    lab.app.test_client()
                    .post("/events/predictions", data=body, content_type="application/json")
                    .status_code
                ),
                range(4),
            )
        )
    assert answers == [204] * 4
    assert_each_row_is_there_once(lab, params)


def test_a_message_without_a_run_id_is_scored_too(lab: Lab, params: dict[str, str]) -> None:
    assert lab.push(envelope(params)).status == 204
    assert lab.here(params).done()["reused"]
    assert_each_row_is_there_once(lab, params)


@pytest.mark.slow
def test_a_message_to_a_stopping_service_is_continued_by_another_instance(
    stack: LocalStack, params: dict[str, str]
) -> None:
    lab = Lab(stack)
    params |= {"run_id": unique("push")}
    lab.app.extensions["mlsys"].stopping.set()
    assert lab.push(envelope(params)).status == 204
    state = settled(lab, f"{stack.url}/runs/{params['run_id']}?env=dev")  # by the stack's service
    assert (state["state"], state["rows_done"]) == ("succeeded", len(DATA))
    assert_each_row_is_there_once(lab, params)


def test_a_message_whose_run_fails_is_acknowledged_and_the_run_has_the_reason(lab: Lab) -> None:
    data = DATA.astype({"b": "float64"})
    name = lab.upload(LinearRegression().fit(data[["a", "b"]], data["a"]), data[["a", "b"]])
    data.loc[0, "b"] = np.nan
    params = lab.params(lab.put(data), name, run_id=unique("push"))
    assert lab.push(envelope(params)).status == 204
    state = lab.here({"env": "dev"}, f"/runs/{params['run_id']}").json
    assert state["state"] == "failed"
    assert "Columns with NULLs: b" in state["failure"]["detail"]
    assert not lab.exists(params["output_table"])
    later = lab.http(params | {"run_id": unique("push"), "wait": "false"})
    assert settled(lab, later.json["status_url"])["state"] == "failed"


@pytest.mark.parametrize(
    "change",
    [
        {"input_table": "mlsys-local.titanic.nowhere"},
        {"output_table": "mlsys-local.nowhere.out"},
        {"model_name": "no-such-model"},
        {"id_columns": "nowhere"},
    ],
)
def test_a_message_that_cannot_be_planned_is_acknowledged(
    lab: Lab, params: dict[str, str], change: dict[str, str]
) -> None:
    run_id = unique("push")
    body = envelope(params | {"run_id": run_id} | change)
    assert lab.push(body).status == 204
    assert not lab.objects(run_id)
    assert quarantined(lab, body) == []


GOOD = {
    "env": "dev",
    "input_table": "mlsys-local.titanic.test",
    "output_table": "mlsys-local.titanic.out",
    "model_name": "no-such-model",
    "model_version": "v1",
}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[]", "no message object"),
        (b'{"message": "text"}', "no message object"),
        (b'{"message": {"data": "%%%"}}', "not base64"),
        (b'{"message": {"data": 5}}', "not base64"),
        (b'{"message": {"attributes": {"a": 1}}}', "not an object of strings"),
        (b'{"message": {}}', "JSON"),
        (envelope(b"not JSON"), "JSON"),
        (envelope([]), "object"),
        (envelope({}), "env"),
        (envelope(GOOD | {"input_table": "x"}), "project.dataset.table"),
        (envelope(GOOD | {"input_table": ["x"]}), "project.dataset.table"),
        (envelope(GOOD | {"model_name": None}), "model_name"),
        (envelope(GOOD | {"surprise": 1}), "surprise"),
        (envelope(GOOD | {"env": "prod"}), "not served here"),
        (envelope(GOOD | {"env": "qa"}), "env"),
        (envelope(GOOD | {"run_id": "../x"}), "run_id"),
        (envelope(GOOD | {"output_table": GOOD["input_table"]}), "is the input table"),
    ],
)
def test_a_malformed_message_is_acknowledged_and_quarantined(
    lab: Lab, body: bytes, reason: str
) -> None:
    for _ in range(2):
        answer = lab.push(body)
        assert (answer.status, answer.text) == (204, "")
    (record,) = quarantined(lab, body)
    assert reason in record["reason"]
    assert record["body"] == body.decode("utf-8", errors="backslashreplace")


def test_a_body_beyond_the_limit_is_refused(lab: Lab) -> None:
    assert lab.push(b" " * (1024 * 1024 + 1)).status == 413
