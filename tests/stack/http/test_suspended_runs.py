"""A pushed run that is suspended again and again ends with every row once, and without a nack."""

import base64
import dataclasses
import json
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.tree import DecisionTreeRegressor

from app.api import events
from mlsys.local.stack import LocalStack
from mlsys.local.topics import predictions, push_subscriptions
from scoring_cases import Lab, unique
from strict_stack import StrictStack
from workers.scoring.journal.attempts import MOST
from workers.scoring.journal.store import RunStore
from workers.scoring.planning.find_run import prepare
from workers.scoring.shards import read_session

pytestmark = [pytest.mark.usefixtures("environment"), pytest.mark.slow]

ROWS = 60_000
DATA = pd.DataFrame(
    {"id": range(ROWS)} | {c: np.arange(ROWS) / (k + 3) for k, c in enumerate("abc")}
)
FEATURES = list("abc")
MODEL = DecisionTreeRegressor(random_state=0, max_depth=6).fit(
    DATA[FEATURES][::50], DATA["id"][::50] % 97
)


class Impatient:
    """Stands in for the stop signal: on after each new part, and at once in every second try."""

    def __init__(self, store: RunStore) -> None:
        self.store = store
        self.tries = 0
        self.before = 0

    def next_try(self) -> None:
        self.tries += 1
        self.before = self.parts()

    def parts(self) -> int:
        return sum(name.startswith("parts/") for name in self.store.names())

    def is_set(self) -> bool:
        return self.tries % 2 == 0 or self.parts() > self.before


class Pushes:
    """Delivers a run's messages one after the other, as Pub/Sub does."""

    def __init__(self, lab: Lab, patch: pytest.MonkeyPatch) -> None:
        self.lab = lab
        self.waiting: list[dict[str, Any]] = []
        patch.setattr(events, "publish_request", self.publish)

    def publish(self, request: Any, run_id: str) -> None:
        self.waiting.append(request.to_dict() | {"run_id": run_id})

    def deliver(self, message: dict[str, Any]) -> int:
        data = base64.b64encode(json.dumps(message).encode()).decode()
        body = json.dumps({"message": {"data": data, "messageId": "1"}, "subscription": "s"})
        return self.lab.push(body.encode()).status


@pytest.fixture
def lab(stack: LocalStack) -> Lab:
    return Lab(stack)


def params_of(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setattr(read_session, "streams_to_request", lambda _: (6, 6))
    name = lab.upload(MODEL, DATA[FEATURES])
    return lab.params(lab.put(DATA), name, run_id=unique("suspended"))


@pytest.mark.long
def test_a_run_that_is_suspended_many_times_writes_every_row_once(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = params_of(lab, monkeypatch)
    store = RunStore(lab.clients, "dev", params["run_id"])
    stop = Impatient(store)
    held = lab.app.extensions["mlsys"]
    lab.app.extensions["mlsys"] = dataclasses.replace(held, stopping=stop)
    pushes = Pushes(lab, monkeypatch)
    pushes.waiting.append(params)
    statuses = []
    while pushes.waiting:
        stop.next_try()
        statuses.append(pushes.deliver(pushes.waiting.pop(0)))
        if stop.tries == 5:  # the process ended before its answer: its message comes again
            pushes.waiting.append(params)
    assert set(statuses) == {204}
    assert len(statuses) > 10
    rows = lab.rows(params["output_table"])
    assert rows["id"].tolist() == DATA["id"].tolist()
    np.testing.assert_array_equal(rows["prediction"], MODEL.predict(DATA[FEATURES]))
    result = lab.here({"env": "dev"}, f"/runs/{params['run_id']}").json["result"]
    assert (result["rows"], result["attempts"] > 10) == (ROWS, True)


def test_a_run_that_never_finishes_a_part_in_time_fails_with_the_reason(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = params_of(lab, monkeypatch)
    monkeypatch.setattr(events, "SHARE", -1.0)  # no try has any time
    pushes = Pushes(lab, monkeypatch)
    pushes.waiting.append(params)
    tries = 0
    while pushes.waiting:
        tries += 1
        assert pushes.deliver(pushes.waiting.pop(0)) == 204
    # One try more where the first one has opened the session, which is progress.
    assert tries in (MOST + 1, MOST + 2)
    state = lab.here({"env": "dev"}, f"/runs/{params['run_id']}").json
    assert state["state"] == "failed"
    assert f"no progress in its last {MOST} tries" in state["failure"]["detail"]
    assert not lab.exists(params["output_table"])
    assert lab.here(params).done()["rows"] == ROWS  # a caller who repeats it has more time


# Through gunicorn and the local Pub/Sub

LIMIT = "2"  # seconds of a request: a push has 1.8 of them
PARTS, MESSAGES = 24, 48  # of the one stream
PAUSE = 0.08  # seconds before each message, so that the stream takes more than two pushes


@pytest.fixture
def impatient(stack: LocalStack, monkeypatch: pytest.MonkeyPatch) -> Iterator[StrictStack]:
    """Yield the stack with a service whose requests have no time."""
    assert isinstance(stack, StrictStack)
    with monkeypatch.context() as patch:
        patch.setitem(stack.environment, "MLSYS_REQUEST_TIMEOUT", LIMIT)
        stack.restart_service()
        yield stack
    stack.restart_service()


@pytest.mark.long
def test_a_run_longer_than_its_pushes_is_continued_by_messages_and_ends_once(
    lab: Lab, impatient: StrictStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = lab.params(lab.put(DATA), lab.upload(MODEL, DATA[FEATURES]), run_id=unique("pushed"))
    monkeypatch.setattr(read_session, "streams_to_request", lambda _: (1, 1))
    monkeypatch.setattr(read_session, "PART_ROWS", ROWS // PARTS)
    with closing(prepare(lab.clients, lab.request(params), params["run_id"])) as prepared:
        read_session.current_session(lab.clients, prepared.store, prepared.plan)
    pubsub, store = impatient.pubsub, RunStore(lab.clients, "dev", params["run_id"])
    [name] = [s.name for s in push_subscriptions("dev", "") if s.topic == predictions("dev")]
    before = pubsub.counts(name)
    published = len(pubsub.messages(predictions("dev")))
    pace = {"message_rows": ROWS // MESSAGES, "message_seconds": PAUSE}
    with impatient.rules.read_api.choosing(**pace):
        assert lab.http(params | {"wait": "false"}).status == 202
        deadline = time.monotonic() + 90
        while store.read("result.json") is None:
            assert time.monotonic() < deadline, store.names()
            time.sleep(0.2)
        pubsub.wait_until_quiet(30)
    result = store.read("result.json") or {}
    messages = [json.loads(m.data) for m in pubsub.messages(predictions("dev"))[published:]]
    continued = len(messages) - 1
    assert continued >= 2, result
    assert all(message == messages[0] for message in messages)
    assert (result["rows"], result["shards"], result["attempts"]) == (ROWS, PARTS, continued + 1)
    counts = pubsub.counts(name)
    assert (counts.acked - before.acked, counts.nacked - before.nacked) == (len(messages), 0)
    assert impatient.rules.succeeded(params["output_table"]) == 1
    rows = lab.rows(params["output_table"])
    assert rows["id"].tolist() == DATA["id"].tolist()
    np.testing.assert_array_equal(rows["prediction"], MODEL.predict(DATA[FEATURES]))
