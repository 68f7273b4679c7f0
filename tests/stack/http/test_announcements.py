"""Announcements on `mlsys-events-{env}`: models and runs, as CloudEvents, best effort."""

import datetime as dt
import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from mlsys.errors import PredictionFailed
from mlsys.local.push import Message
from mlsys.local.stack import LocalStack
from mlsys.local.topics import announcements
from registry_cases import model_case, notifications_lost, settled_rescan
from scoring_cases import Lab
from workers.announcements import MAX_ATTRIBUTE, Event, announce
from workers.registry.sync import rescan
from workers.scoring.engines.run import execute
from workers.scoring.planning.find_run import prepare

pytestmark = pytest.mark.usefixtures("environment")

X = pd.DataFrame({"a": np.linspace(0, 1, 30), "b": np.linspace(3, -2, 30)})
MODEL = LinearRegression().fit(X, X["a"])


@pytest.fixture(scope="module")
def lab(stack: LocalStack) -> Lab:
    return Lab(stack)


def announced(stack: LocalStack, subject: str) -> list[Message]:
    """Return the events about a subject so far."""
    messages = stack.pubsub.messages(announcements("dev"))
    return [m for m in messages if m.attributes["ce-subject"] == subject]


def types(stack: LocalStack, subject: str) -> list[str]:
    return [m.attributes["ce-type"] for m in announced(stack, subject)]


def test_a_model_is_announced_when_created_changed_and_deleted(stack: LocalStack) -> None:
    with model_case(stack, "announced") as case:
        subject = str(case.ref())
        for step in (lambda: case.upload(1.0), lambda: case.upload(2.0), case.delete):
            step()
            case.settle()
        changes = [
            (m.attributes["ce-type"], json.loads(m.data)["change"])
            for m in announced(stack, subject)
        ]
        # Two concurrent handlers may both announce what one of them did.
        assert list(dict.fromkeys(changes)) == [
            ("mlsys.model.registered", "registered"),
            ("mlsys.model.registered", "updated"),
            ("mlsys.model.removed", "removed"),
        ]


def test_a_rescan_announces_what_it_repairs_and_nothing_else(stack: LocalStack) -> None:
    with model_case(stack, "repaired") as case:
        with notifications_lost(stack):
            case.upload()
        for _ in range(2):
            rescan(stack.clients, "dev")
        assert types(stack, str(case.ref())) == ["mlsys.model.registered"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "version"), [("{}/extra", "v1"), ("{}", "v1/extra"), ("{}", ""), ("/{}", "latest")]
)
def test_a_handwritten_row_is_removed_without_losing_other_announcements(
    stack: LocalStack, name: str, version: str
) -> None:
    settled_rescan(stack.clients)
    with model_case(stack, "by-hand") as case, model_case(stack, "foreign") as foreign:
        with notifications_lost(stack):
            case.upload()
        assert stack.url is not None
        name = name.format(foreign.name)
        foreign.sql(
            "INSERT INTO model_registry (model_name, model_version, version_number, environment, "
            "gcs_uri, generation, registered_at, registered_by, status) "
            f"VALUES ('{name}', '{version}', 1, 'dev', 'gs://x', 1, CURRENT_TIMESTAMP(), 'me', "
            "'ready')"
        )
        result = rescan(stack.clients, "dev")
        assert (result.registered, result.removed) == (1, 1)
        assert types(stack, str(case.ref())) == ["mlsys.model.registered"]
        assert types(stack, f"{name}/{version}") == ["mlsys.model.removed"]


def test_an_announcement_is_a_cloudevent(stack: LocalStack) -> None:
    """See https://github.com/googleapis/google-cloudevents/blob/main/docs/spec/pubsub.md."""
    with model_case(stack, "cloudevent") as case:
        case.upload()
        case.settle()
        [event] = announced(stack, str(case.ref()))
    attributes = event.attributes
    assert attributes["ce-specversion"] == "1.0"
    assert attributes["ce-source"] == "//mlsys/projects/mlsys-local/environments/dev"
    assert attributes["content-type"] == "application/json"
    assert len(attributes["ce-id"]) == 32
    dt.datetime.fromisoformat(attributes["ce-time"])
    assert json.loads(event.data) == {
        "env": "dev",
        "model_name": case.name,
        "model_version": "v1",
        "change": "registered",
    }


def test_a_run_is_announced_once_when_it_is_done(lab: Lab, stack: LocalStack) -> None:
    params = lab.params(lab.put(X.assign(id=range(30))), lab.upload(MODEL, X))
    result = lab.here(params).done()
    assert lab.here(params).done()["reused"]
    [event] = announced(stack, result["run_id"])
    assert event.attributes["ce-type"] == "mlsys.run.finished"
    assert json.loads(event.data) == result


def test_a_run_whose_input_has_drifted_is_announced_as_such_too(
    lab: Lab, stack: LocalStack
) -> None:
    params = lab.params(lab.put((X + 100).assign(id=range(30))), lab.upload(MODEL, X))
    result = lab.here(params).done()
    assert types(stack, result["run_id"]) == ["mlsys.run.finished", "mlsys.run.drifted"]
    assert json.loads(announced(stack, result["run_id"])[1].data) == result
    assert result["drift"]["text"] == "3 of 3 columns (prediction 1.00, b 1.00, a 1.00)"


def test_a_run_that_fails_is_announced_with_the_reason(lab: Lab, stack: LocalStack) -> None:
    rows = X.assign(id=range(30), a=np.nan)
    params = lab.params(lab.put(rows), lab.upload(MODEL, X))
    prepared = prepare(lab.clients, lab.request(params))
    with pytest.raises(PredictionFailed):
        execute(lab.clients, prepared)
    [event] = announced(stack, prepared.plan.run_id)
    assert event.attributes["ce-type"] == "mlsys.run.failed"
    assert "Columns with NULLs: a" in json.loads(event.data)["detail"]


def test_work_succeeds_although_pubsub_is_down(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(*_: Any, **__: Any) -> Any:
        raise ConnectionError("Pub/Sub is away")

    monkeypatch.setattr(lab.clients.publisher, "publish", down)
    params = lab.params(lab.put(X.assign(id=range(30))), lab.upload(MODEL, X))
    assert lab.here(params).done()["rows"] == 30


@pytest.mark.parametrize("name", ["x" * 5_000, "é" * 600])
def test_a_name_longer_than_an_attribute_is_truncated(stack: LocalStack, name: str) -> None:
    """A row written by hand may have such a name."""
    announce(stack.clients, "dev", Event("model.removed", name, {"model_name": name}))
    [event] = [
        m for m in stack.pubsub.messages(announcements("dev"))
        if json.loads(m.data).get("model_name") == name
    ]  # fmt: skip
    subject = event.attributes["ce-subject"]
    assert len(subject.encode()) == MAX_ATTRIBUTE and name.startswith(subject)
