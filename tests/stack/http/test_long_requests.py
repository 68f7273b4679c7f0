"""Requests of the documented sizes: in long URLs, and beyond them in bodies."""

import http.client
import json
import socket
from urllib.parse import quote, urlencode, urlsplit

import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from app.api.predict_queries import MAX_WHERE
from app.wire import MAX_LINE
from mlsys.local.stack import LocalStack
from scoring_cases import Lab

IDS = [f"customer_attribute_{i:04d}" for i in range(250)]
ROWS = pd.DataFrame(
    {"a": [0.0, 1.0, 2.0], "b": ["ж", "y", "z"]} | {name: [0.5] * 3 for name in IDS}
)
MODEL = LinearRegression().fit(ROWS[["a"]], ROWS["a"])


@pytest.fixture(scope="module")
def lab(stack: LocalStack) -> Lab:
    return Lab(stack)


@pytest.fixture(scope="module")
def params(lab: Lab) -> dict[str, str]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in lab.stack.environment.items():
            patch.setenv(name, value)
        return lab.params(lab.put(ROWS), lab.upload(MODEL, ROWS[["a"]]), outputs="predict")


def long_filter(length: int, sign: str) -> str:
    """Return a condition of that many characters that the first row fulfils."""
    start = "b = 'ж' OR b IN ('"
    return f"{start}{sign * (length - len(start) - 2)}')"


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [
        pytest.param({"id_columns": ",".join(IDS)}, id="250 id columns"),
        pytest.param({"id_columns": "b", "where": long_filter(6_000, "x")}, id="a filter of 6,000"),
        pytest.param({"id_columns": "b", "where": long_filter(MAX_WHERE, "x")}, id="of 10,000"),
    ],
)
def test_a_request_of_the_documented_size_fits_into_a_url(
    lab: Lab, params: dict[str, str], more: dict[str, str]
) -> None:
    answer = lab.http(params | more | {"output_table": lab.name("long")})
    assert answer.done()["rows"] == (1 if "where" in more else 3)


@pytest.mark.parametrize("as_json", [True, False])
def test_a_request_too_long_for_a_url_can_be_sent_as_a_body(
    lab: Lab, params: dict[str, str], as_json: bool
) -> None:
    more = {"id_columns": "b", "where": long_filter(MAX_WHERE, "你")}
    request = params | more | {"output_table": lab.name("long")}
    assert len(urlencode(request)) > MAX_LINE
    how = {"json": request | {"wait": True}} if as_json else {"data": request}
    answer = lab.session.post(f"{lab.stack.url}/predict", timeout=120, **how)
    assert (answer.status_code, answer.json()["rows"]) == (200, 1)
    again = lab.session.post(f"{lab.stack.url}/predict", data=request, timeout=120).json()
    assert again["reused"] and again["run_id"] == answer.json()["run_id"]


def test_a_body_is_the_same_request_as_a_url(lab: Lab, params: dict[str, str]) -> None:
    request = params | {"output_table": lab.name("same"), "id_columns": "b"}
    first = lab.http(request).done()
    listed = request | {"id_columns": ["b"], "outputs": ["predict"], "wait": True, "max_rejects": 0}
    answer = lab.session.post(f"{lab.stack.url}/predict", json=listed, timeout=120)
    assert answer.json() == first | {"reused": True}


HAN = quote("你" * MAX_WHERE).encode()


def raw(stack: LocalStack, request: bytes) -> tuple[int, str, dict[str, object]]:
    """Send these bytes to the service and return its answer."""
    parts = urlsplit(stack.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=30) as connection:
        connection.sendall(request)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        kind = answer.headers["Content-Type"]
        return answer.status, kind, json.loads(answer.read())


@pytest.mark.parametrize(
    ("request_", "status", "says"),
    [
        pytest.param(
            b"GET /predict?where="
            + quote("你" * 10_000).encode()
            + b" HTTP/1.1\r\nHost: x\r\n\r\n",
            414,
            "body of POST to the same path",
            id="a long line",
        ),
        pytest.param(
            b"GET /health HTTP/1.1\r\nHost: x\r\nX-Long: " + b"y" * 9_000 + b"\r\n\r\n",
            431,
            "headers of the request are too large",
            id="a long header",
        ),
        *(
            pytest.param(
                b"GET %s HTTP/1.1\r\nHost: x\r\n" % path + headers + b"\r\n",
                431,
                "100 headers of 8,190 bytes",
                id=f"{name} for {path.decode()}",
            )
            for path in (b"/health", b"/models?env=dev", b"/nowhere")
            for name, headers in {
                "101 headers": b"".join(b"X-%d: y\r\n" % i for i in range(100)),
                "20,000 headers": b"".join(b"X-%d: y\r\n" % i for i in range(20_000)),
            }.items()
        ),
        pytest.param(b"NONSENSE\r\n\r\n", 400, "Invalid", id="no request"),
        pytest.param(
            b"GET /health HTTP/1.1\r\nHost: x\r\nBad Name: y\r\n\r\n", 400, "", id="a header"
        ),
    ],
)
def test_a_request_refused_before_flask_gets_a_problem_too(
    stack: LocalStack, request_: bytes, status: int, says: str
) -> None:
    found, kind, body = raw(stack, request_)
    assert (found, kind) == (status, "application/problem+json")
    assert body["status"] == status and says in str(body["detail"])
    assert body["type"] == f"urn:mlsys:problem:{status}"
