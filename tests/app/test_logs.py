"""Logs: one line of JSON a record, one canonical line a request, as Cloud Logging reads them."""

import io
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask, abort
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st

from app import create_app, logs
from mlsys.errors import RegistryBusy
from mlsys.local.stack import LocalStack
from mlsys.settings import Emulators, Settings

LOCAL = Settings(
    "demo-project", envs=("dev",), push_auth="off", emulators=Emulators("http://127.0.0.1:9")
)
TRACE = "105445aa7843bc8bf206b12000100000"  # pragma: allowlist secret


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """Yield the stream to which the process logs during the test, as `logs.configure` writes it."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.CloudFormatter())
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield stream
    root.removeHandler(handler)
    root.setLevel(before)


@pytest.fixture(scope="module")
def service() -> Flask:
    """Return the service with a few extra routes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.logs.configure", lambda: None)
        service = create_app(LOCAL)

    @service.get("/note")
    def noted() -> str:
        logs.note(run_id="a-run", model="titanic/v1")
        logs.note(outcome="done")
        return "fine"

    @service.get("/bug")
    def bug() -> None:
        raise KeyError("the reason")

    @service.get("/busy")
    def busy() -> None:
        raise RegistryBusy("try again shortly")

    @service.get("/gone")
    def gone() -> None:
        abort(410)

    return service


@pytest.fixture
def client(written: io.StringIO, service: Flask) -> FlaskClient:
    """Return a client of the service, whose log is `written`."""
    return service.test_client()


def lines(written: io.StringIO) -> list[dict[str, Any]]:
    """Return the log's lines, each as a dictionary."""
    return [json.loads(line) for line in written.getvalue().splitlines()]


def test_a_request_logs_one_line(client: FlaskClient, written: io.StringIO) -> None:
    client.get("/note?x=1&y=é", headers={"User-Agent": "curl/8"})
    [line] = lines(written)
    assert line["severity"] == "INFO"
    assert line["message"] == "GET /note 200"
    assert line["logger"] == "mlsys.request"
    assert (line["run_id"], line["model"], line["outcome"]) == ("a-run", "titanic/v1", "done")
    assert line["time"].endswith("Z")
    request = line["httpRequest"]
    latency = request.pop("latency")
    assert latency.endswith("s")
    assert float(latency[:-1]) == pytest.approx(line["seconds"], abs=1e-4)
    assert request == {
        "requestMethod": "GET",
        "requestUrl": "/note?x=1&y=é",
        "status": 200,
        "userAgent": "curl/8",
    }
    assert "problem" not in line
    assert "logging.googleapis.com/trace" not in line


def test_fields_of_one_request_are_not_in_the_next_ones_line(
    client: FlaskClient, written: io.StringIO
) -> None:
    client.get("/note")
    client.get("/health")
    assert "run_id" not in lines(written)[1]


@pytest.mark.parametrize(
    ("path", "severity", "status", "problem"),
    [
        pytest.param("/health", "INFO", 200, None, id="fine"),
        pytest.param("/nowhere", "INFO", 404, "NotFound: 404 Not Found", id="no route"),
        pytest.param("/gone", "INFO", 410, "Gone: 410 Gone", id="of Flask"),
        pytest.param("/predict", "INFO", 400, "InvalidRequest: env: is missing", id="parameters"),
        pytest.param(
            "/busy", "WARNING", 503, "RegistryBusy: try again shortly", id="a transient error"
        ),
    ],
)
def test_the_line_has_the_status_and_the_reason(
    client: FlaskClient, written: io.StringIO, path: str, severity: str, status: int, problem: Any
) -> None:
    client.get(path)
    [line] = lines(written)
    assert line["severity"] == severity
    assert line["message"] == f"GET {path} {status}"
    assert line["httpRequest"]["status"] == status
    assert line.get("problem", "").startswith(problem or "")
    assert ("problem" in line) is (problem is not None)


def test_a_bug_is_an_error_with_its_stack_trace_in_the_message(
    client: FlaskClient, written: io.StringIO
) -> None:
    """Error Reporting groups by the stack trace if the message contains it."""
    answer = client.get("/bug", headers={"X-Cloud-Trace-Context": f"{TRACE}/1;o=1"})
    assert answer.status_code == 500
    error, request = lines(written)
    assert error["severity"] == request["severity"] == "ERROR"
    assert "Traceback (most recent call last)" in error["message"]
    assert "KeyError: 'the reason'" in error["message"]
    assert request["problem"] == "KeyError: 'the reason'"
    trace = f"projects/demo-project/traces/{TRACE}"
    assert error["logging.googleapis.com/trace"] == trace
    assert request["logging.googleapis.com/trace"] == trace


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"X-Cloud-Trace-Context": f"{TRACE}/5;o=1"}, id="Cloud Run's"),
        pytest.param({"X-Cloud-Trace-Context": TRACE}, id="without a span"),
        pytest.param({"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}, id="W3C's"),
        pytest.param({"traceparent": f"01-{TRACE}-00f067aa0ba902b7-01-more"}, id="a later form"),
        *(
            pytest.param(
                {"X-Cloud-Trace-Context": bad, "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"},
                id=f"W3C's beside {bad[:9]!r}",
            )
            for bad in ("", "x", TRACE + "0", "0" * 32, f"{TRACE}/x", "é" * 32)
        ),
        pytest.param(
            {
                "X-Cloud-Trace-Context": f"{TRACE}/1",
                "traceparent": f"00-{TRACE[::-1]}-00f067aa0ba902b7-01",
            },
            id="Cloud Run's first",
        ),
    ],
)
def test_the_line_has_the_requests_trace(
    client: FlaskClient, written: io.StringIO, headers: dict[str, str]
) -> None:
    client.get("/health", headers=headers)
    [line] = lines(written)
    assert line["logging.googleapis.com/trace"] == f"projects/demo-project/traces/{TRACE}"


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"X-Cloud-Trace-Context": "x"}, id="short"),
        pytest.param({"X-Cloud-Trace-Context": TRACE + "0"}, id="long"),
        pytest.param({"X-Cloud-Trace-Context": "../../" + TRACE}, id="a path"),
        pytest.param({"X-Cloud-Trace-Context": "é" * 32}, id="other letters"),
        pytest.param({"X-Cloud-Trace-Context": "z" * 32}, id="not hexadecimal"),
        pytest.param({"traceparent": TRACE}, id="no version"),
        pytest.param({"traceparent": f"00-{TRACE[1:]}-00f067aa0ba902b7-01"}, id="W3C's, short"),
        pytest.param({"traceparent": "---"}, id="empty fields"),
        pytest.param({"traceparent": f"00-{'0' * 32}-00f067aa0ba902b7-01"}, id="W3C's, zeros"),
        pytest.param({"traceparent": f"ff-{TRACE}-00f067aa0ba902b7-01"}, id="W3C's, no version"),
    ],
)
def test_a_malformed_trace_header_is_ignored(
    client: FlaskClient, written: io.StringIO, headers: dict[str, str]
) -> None:
    assert client.get("/health", headers=headers).status_code == 200
    [line] = lines(written)
    assert "logging.googleapis.com/trace" not in line


@given(st.text())
def test_any_message_is_logged_as_one_line_of_json(text: str) -> None:
    forged = f'{text}\n{{"severity": "ERROR", "message": "forged"}}\r\n\u2028{text}'
    record = logging.LogRecord("a", logging.INFO, "", 0, "%s", (forged,), None)
    record.outcome = {forged: forged}
    line = logs.CloudFormatter().format(record)
    assert len(line.splitlines()) == 1
    assert json.loads(line)["message"] == forged
    assert json.loads(line)["severity"] == "INFO"
    assert json.loads(line)["outcome"] == {forged: forged}


def test_a_path_with_a_newline_or_a_percent_sign_stays_one_line(
    client: FlaskClient, written: io.StringIO
) -> None:
    client.get("/a%0Ab%25s", headers={"User-Agent": 'x"}{"severity": "ERROR"'})
    [line] = lines(written)
    assert line["message"] == "GET /a\nb%s 404"
    assert line["severity"] == "INFO"


def test_only_known_fields_go_into_the_line() -> None:
    record = logging.makeLogRecord({"msg": "m", "run_id": "a-run", "secret": "x"})
    line = json.loads(logs.CloudFormatter().format(record))
    assert line["run_id"] == "a-run"
    assert "secret" not in line


def test_configuring_twice_writes_each_record_once(monkeypatch: pytest.MonkeyPatch) -> None:
    root, stream = logging.Logger("root of its own"), io.StringIO()
    monkeypatch.setattr(logging, "getLogger", lambda: root)
    monkeypatch.setattr(sys, "stdout", stream)
    logs.configure()
    logs.configure()
    root.info("once")
    root.debug("never")
    assert [line["message"] for line in lines(stream)] == ["once"]


def test_every_line_of_the_running_service_is_json(stack: LocalStack) -> None:
    """Cloud Logging takes other text for lines without a severity, gunicorn's included."""
    lines = stack.service_log.read_text().splitlines()
    assert any("Listening at" in line for line in lines)
    for line in lines:
        assert json.loads(line)["severity"] in ("INFO", "WARNING", "ERROR")
