"""The figure of Cloud Monitoring, from the answers of its REST API."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from google.api_core.exceptions import Forbidden

from mlsys.cloud import monitoring
from mlsys.cloud.messages import Use
from mlsys.doctor.check import Check, run_checks, skipped

CLIENTS: Any = SimpleNamespace(settings=SimpleNamespace(project="my-project"))
POINTS = [{"value": {"int64Value": "7"}}, {"value": {"int64Value": "3"}}]


class Session:
    """Google's session, with one answer; records the request."""

    answer: tuple[int, Any] = (200, {"timeSeries": [{"points": POINTS}]})
    seen: dict[str, Any]

    def __init__(self, _: Any) -> None:
        pass

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    def get(self, url: str, params: dict[str, str], timeout: float) -> requests.Response:
        Session.seen = {"url": url, **params}
        assert timeout <= 10
        response = requests.Response()
        response.status_code, body = self.answer
        response._content = json.dumps(body).encode()
        response.request = requests.Request("GET", url).prepare()
        return response


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> type[Session]:
    monkeypatch.setattr("google.auth.transport.requests.AuthorizedSession", Session)
    monkeypatch.setattr(monitoring, "default_credentials", lambda: None)
    monkeypatch.setattr(Session, "answer", Session.answer)
    return Session


def test_the_newest_point_counts(session: type[Session]) -> None:
    assert monitoring.messages_waiting(CLIENTS, "letters") == 7
    assert session.seen["url"].endswith("/v3/projects/my-project/timeSeries")
    assert session.seen["filter"] == (
        'metric.type="pubsub.googleapis.com/subscription/num_undelivered_messages" '
        'AND resource.labels.subscription_id="letters"'
    )
    assert session.seen["interval.endTime"].endswith("Z")


@pytest.mark.parametrize("answer", [{}, {"timeSeries": []}, {"timeSeries": [{"points": []}]}])
def test_without_points_there_is_no_figure(session: type[Session], answer: Any) -> None:
    session.answer = (200, answer)
    assert monitoring.messages_waiting(CLIENTS, "letters") is None


def test_a_refusal_raises_googles_exception(session: type[Session]) -> None:
    session.answer = (403, {"error": {"code": 403, "message": "denied"}})
    with pytest.raises(Forbidden):
        monitoring.messages_waiting(CLIENTS, "letters")


def test_an_api_that_is_not_enabled_is_recognised_by_its_details(session: type[Session]) -> None:
    """https://cloud.google.com/apis/design/errors#error_info."""
    details = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "SERVICE_DISABLED",
        "domain": "googleapis.com",
        "metadata": {"service": "monitoring.googleapis.com", "consumer": "projects/1"},
    }
    session.answer = (403, {"error": {"code": 403, "message": "off", "details": [details]}})

    def ask() -> Any:
        monitoring.messages_waiting(CLIENTS, "letters")
        return skipped("")

    check = Check("a", ask, Use("Cloud Monitoring", "letters", ()), "repair it")
    apis, only = run_checks([check], "my-project")
    assert apis.fix == "gcloud services enable monitoring.googleapis.com --project=my-project"
    assert only.state == "skipped"
