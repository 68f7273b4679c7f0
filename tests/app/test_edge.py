"""Every route's behaviour for HEAD, OPTIONS, repeated or unknown parameters, bodies, prefixes."""

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from flask.testing import FlaskClient

from app import Service
from edge_cases import REQUEST, SERVICE, Recorder, request_of
from edge_cases import did as did
from wired import NoClients, wired

GETS = [
    *("/predict", "/runs", "/runs/a-run", "/models", "/model-registry", "/check", "/evaluate"),
    *("/runs/a-run/profile", "/models/titanic-survival/drift"),
    "/models/titanic-survival/compare",
]
ACTING = ["/predict", "/evaluate", "/model-registry"]
READING = ["/runs", "/runs/a-run", "/models", "/check"]
EVENTS = ["/events/storage", "/events/predictions"]


@pytest.fixture(scope="module")
def client() -> FlaskClient:
    """Return the service without a backend: a route that begins its work fails the test."""
    return wired(SERVICE).test_client()


def problem(answer: Any, status: int = 400) -> dict[str, Any]:
    assert (answer.status_code, answer.mimetype) == (status, "application/problem+json")
    return dict(answer.get_json(force=True))


@pytest.mark.parametrize("path", ACTING)
def test_head_starts_no_work(client: FlaskClient, path: str) -> None:
    answer = client.head(path, query_string=REQUEST if path == "/predict" else {"env": "dev"})
    assert answer.status_code == 405
    assert "HEAD" not in answer.headers["Allow"]
    assert "GET" in answer.headers["Allow"]


@pytest.mark.parametrize("path", READING)
def test_head_of_a_reading_route_is_get_without_a_body(client: FlaskClient, path: str) -> None:
    """HEAD is validated as GET is: here the parameter is missing."""
    assert client.head(path).status_code == client.get(path).status_code == 400
    assert client.head("/health").status_code == 200


@pytest.mark.parametrize("path", EVENTS)
def test_head_of_an_event_is_refused(client: FlaskClient, path: str) -> None:
    assert client.head(path).status_code == 405


@pytest.mark.parametrize("path", [*GETS, *EVENTS, "/health", "/docs/openapi.json"])
def test_options_lists_the_methods_and_starts_no_work(client: FlaskClient, path: str) -> None:
    answer = client.options(path, query_string=REQUEST)
    assert (answer.status_code, answer.data) == (200, b"")
    assert ("HEAD" in answer.headers["Allow"]) is (path not in [*ACTING, *EVENTS])


@pytest.mark.parametrize("path", GETS)
@pytest.mark.parametrize("values", [("dev", "prod"), ("dev", "dev"), ("", "dev")])
def test_a_repeated_parameter_is_named(
    client: FlaskClient, path: str, values: tuple[str, str]
) -> None:
    answer = client.get(f"{path}?env={values[0]}&env={values[1]}&x=1")
    assert problem(answer)["parameters"] == [
        {"name": "env", "problem": "is passed twice: pass it once"}
    ]


def test_a_repeated_parameter_is_refused_in_every_kind_of_body(client: FlaskClient) -> None:
    form = "env=dev&env=prod&model_name=a&model_name=a"
    text = '{"env": "dev", "model_name": "a", "env": "prod", "model_name": "a"}'
    for content_type, body in (
        ("application/x-www-form-urlencoded", form),
        ("application/json", text),
    ):
        answer = client.post("/predict", data=body, content_type=content_type)
        assert problem(answer)["parameters"] == [
            {"name": "env", "problem": "is passed twice: pass it once"},
            {"name": "model_name", "problem": "is passed twice: pass it once"},
        ]


def test_a_pushed_request_with_a_repeated_key_is_quarantined(
    client: FlaskClient, did: Recorder
) -> None:
    body = json.dumps(REQUEST).replace('"env":', '"env": "prod", "env":').encode()
    assert client.post("/events/predictions", data=request_of(body)).status_code == 204
    [(_, why)] = did.quarantined
    assert "env: is passed twice" in why
    assert did.scored == []


@pytest.mark.parametrize("path", GETS)
def test_an_unknown_parameter_is_named(client: FlaskClient, path: str) -> None:
    names = [p["name"] for p in problem(client.get(f"{path}?env=dev&unheard=1"))["parameters"]]
    assert "unheard" in names
    assert "Unheard" in [
        p["name"] for p in problem(client.get(f"{path}?env=dev&Unheard=1"))["parameters"]
    ]


@pytest.mark.parametrize("path", GETS)
@pytest.mark.parametrize("body", [{"data": {"env": "dev"}}, {"json": {}}, {"data": b"x"}])
def test_a_body_that_get_would_ignore_is_refused(
    client: FlaskClient, path: str, body: dict[str, Any]
) -> None:
    [parameter] = problem(client.get(f"{path}?env=dev", **body))["parameters"]
    assert parameter["name"] == "body"
    assert "pass parameters in the URL" in parameter["problem"]
    assert ("by POST" in parameter["problem"]) is (path == "/predict")


def test_an_empty_body_counts_as_no_body(client: FlaskClient) -> None:
    answer = client.get("/models?env=qa", headers={"Content-Length": "0"})
    assert [p["name"] for p in problem(answer)["parameters"]] == ["env"]
    assert client.get("/health", data=b"x").status_code == 200


def test_eventarcs_own_parameters_are_ignored(client: FlaskClient, did: Recorder) -> None:
    path = "/events/predictions?__GCP_CloudEventsMode=a&__GCP_CloudEventsMode=b"
    assert client.post(path, data=request_of(REQUEST)).status_code == 204
    assert len(did.scored) == 1


def test_an_event_sent_to_the_root_is_pointed_to_the_event_routes(client: FlaskClient) -> None:
    assert "/events/storage" in problem(client.post("/", data=b"{}"), 404)["detail"]
    assert "GET /docs" in problem(client.get("/"), 404)["detail"]


def test_the_service_is_served_under_the_path_of_its_url(monkeypatch: pytest.MonkeyPatch) -> None:
    """With and without a proxy that strips the path; any caller can send X-Forwarded-Prefix."""
    settings = replace(SERVICE, url="https://api.example/team/mlsys/")
    under = wired(settings).test_client()
    for path in ("/health", "/team/mlsys/health"):
        assert under.get(path, headers={"X-Forwarded-Prefix": "/evil"}).status_code == 200
    assert under.get("/team/mlsysx/health").status_code == 404
    assert under.get("/docs").headers["Location"].endswith("/team/mlsys/docs/")
    assert under.get("/docs/openapi.json").get_json()["servers"] == [{"url": "/team/mlsys"}]
    monkeypatch.setattr("app.api.predictions.publish_request", lambda *_: None)
    plan = SimpleNamespace(run_id="a-run", model=SimpleNamespace(version="v1"))
    prepared = SimpleNamespace(plan=plan, result=None, close=bool)
    monkeypatch.setattr("workers.scoring.planning.find_run.prepare", lambda *_: prepared)
    accepted = under.get("/predict", query_string=REQUEST | {"wait": "false"})
    assert accepted.get_json()["status_url"] == accepted.headers["Location"]
    assert accepted.headers["Location"] == "https://api.example/team/mlsys/runs/a-run?env=dev"


@pytest.mark.parametrize(
    ("given", "host", "base"),
    [
        ({}, "127.0.0.1:8080", "http://127.0.0.1:8080"),
        ({}, "mlsys:8080", "http://mlsys:8080"),
        ({}, "a b", "http://localhost:80"),  # not a host: the server's own name
        ({"on_cloud_run": True}, "mlsys-abc-uc.a.run.app", "https://mlsys-abc-uc.a.run.app"),
        ({"url": "https://api.example"}, "evil.example", "https://api.example"),
    ],
)
def test_a_status_url_is_absolute_even_if_the_service_does_not_know_its_address(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], host: str, base: str
) -> None:
    settings = replace(SERVICE, url=None)
    service = Service(replace(settings, **given), NoClients(settings))
    client = wired(settings)
    client.extensions["mlsys"] = service
    monkeypatch.setattr("app.api.predictions.publish_request", lambda *_: None)
    plan = SimpleNamespace(
        plan=SimpleNamespace(run_id="a-run", model=SimpleNamespace(version="v1")),
        result=None,
        close=bool,
    )
    monkeypatch.setattr("workers.scoring.planning.find_run.prepare", lambda *_: plan)
    accepted = client.test_client().get(
        "/predict", query_string=REQUEST | {"wait": "false"}, headers={"Host": host}
    )
    assert accepted.get_json()["status_url"] == f"{base}/runs/a-run?env=dev"


def test_a_path_prefix_sent_by_the_caller_is_ignored(client: FlaskClient) -> None:
    answer = client.get("/docs", headers={"X-Forwarded-Prefix": "/evil"})
    assert answer.headers["Location"].endswith("localhost/docs/")
    assert "servers" not in client.get("/docs/openapi.json").get_json()


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("path", [*GETS, *EVENTS, "/health"])
def test_a_wrong_method_is_answered_with_the_allowed_methods(
    client: FlaskClient, path: str, method: str
) -> None:
    if (path, method) == ("/runs/a-run", "DELETE"):
        method = "POST"
    answer = client.open(path, method=method)
    problem(answer, 405)
    assert ("POST" if path in [*EVENTS, "/predict"] else "GET") in answer.headers["Allow"]
