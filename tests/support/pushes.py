"""Random malformed push messages, the expected answer to each, and a client that sends them."""

import base64
import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from hypothesis import strategies as st

STORAGE, PREDICTIONS = "/events/storage", "/events/predictions"
MAX_BODY = 1024 * 1024
JSON_TYPE = {"Content-Type": "application/json"}
# No mutation of these names gives an existing model or table.
EVENT = {
    "eventType": "OBJECT_FINALIZE",
    "bucketId": "mlsys-models-dev",
    "objectId": "never-uploaded/v1/model.pkl",
}
REQUEST = {
    "env": "dev",
    "input_table": "mlsys-local.nowhere.nothing",
    "output_table": "mlsys-local.nowhere.predictions",
    "model_name": "never-uploaded",
    "model_version": "v1",
}


@dataclass(frozen=True)
class Push:
    """A request, the status of its answer, and whether its body goes into quarantine."""

    name: str
    path: str
    body: bytes
    kept: bool | None = True  # None: either is right
    status: int = 204
    headers: Mapping[str, str] = field(default_factory=lambda: JSON_TYPE)
    chunked: bool = False
    method: str = "POST"
    announced: int = 0  # a Content-Length; the answer comes before the body


class Wire:
    """A connection to the service, kept open for as long as the service keeps it."""

    def __init__(self, url: str, seconds: float = 60) -> None:
        address = urlsplit(url)
        self._connection = http.client.HTTPConnection(
            address.hostname or "", address.port, timeout=seconds
        )

    def send(self, push: Push) -> int:
        """Send the request and return the answer's status."""
        body: Any = iter((push.body[:7], push.body[7:])) if push.chunked else push.body
        try:
            headers = dict(push.headers)
            if push.announced:
                headers["Content-Length"] = str(push.announced)
            self._connection.request(push.method, push.path, body, headers)
            answer = self._connection.getresponse()
            answer.read()
        except OSError:
            self.close()
            raise
        if push.announced:  # the service does not wait for a body
            self.close()
        return answer.status

    def close(self) -> None:
        self._connection.close()


def event(**changed: Any) -> bytes:
    """Return a storage notification with changes; `...` removes an attribute."""
    return wrapped({k: v for k, v in (EVENT | changed).items() if v is not ...})


def request_for(value: Any) -> bytes:
    """Return a scoring request's message."""
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    return wrapped({}, base64.b64encode(content).decode())


def wrapped(attributes: Any, data: Any = "", **more: Any) -> bytes:
    message = {"attributes": attributes, "data": data, "messageId": "1"}
    return json.dumps({"message": message, "subscription": "projects/p/s", **more}).encode()


def filled(size: int) -> bytes:
    """Return a body of exactly `size` bytes that is not JSON."""
    return b"{".ljust(size, b" ")


def nested(levels: int, inner: str = "") -> str:
    return "[" * levels + inner + "]" * levels


HEADERS: dict[str, dict[str, str]] = {
    "no content type": {},
    "another content type": {"Content-Type": "text/plain"},
    "a form's content type": {"Content-Type": "application/x-www-form-urlencoded"},
    "a multipart without a boundary": {"Content-Type": "multipart/form-data"},
    "a content type of unusual characters": {"Content-Type": "\xff;;;charset=utf-99"},
    "a charset that is not so": {"Content-Type": "application/json; charset=utf-16"},
    "said to be gzip": JSON_TYPE | {"Content-Encoding": "gzip"},
    "said to be anything": JSON_TYPE | {"Content-Encoding": "br, zstd, x"},
    "a trace of unusual characters": JSON_TYPE
    | {"X-Cloud-Trace-Context": "../%s", "traceparent": "--"},
    "an unexpected token": JSON_TYPE | {"Authorization": "Bearer \xff"},
}

TEXT = st.text(st.characters(), max_size=40)  # with lone surrogates
NUMBERS = st.integers() | st.floats() | st.sampled_from([10**30, -(2**63) - 1, 1e308])
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=8,
)


@st.composite
def damaged(draw: st.DrawFn, body: bytes) -> bytes:
    """Return the body with bytes cut out, inserted or repeated."""
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(body)))
        to = draw(st.integers(at, min(len(body), at + 12)))
        instead = draw(st.binary(max_size=6) | st.sampled_from([body[at:to] * 2, b"\\ud800", b"0"]))
        body = body[:at] + instead + body[to:]
    return body


@st.composite
def changed(draw: st.DrawFn, good: dict[str, str]) -> dict[str, Any]:
    """Return the object with parts removed, replaced or added."""
    out: dict[str, Any] = {k: v for k, v in good.items() if draw(st.integers(0, 7))}
    for name in draw(st.lists(st.sampled_from(list(good)) | TEXT, max_size=2)):
        out[name] = draw(VALUES)
    return out


def pushes() -> st.SearchStrategy[Push]:
    """Return a strategy for pushes of malformed or unusual messages, to either route."""
    not_json = st.binary(max_size=200).map(lambda b: b"\xff" + b)
    no_message = VALUES.filter(lambda v: not isinstance(v, dict) or "message" not in v)
    kept = st.builds(
        lambda path, body, chunked: Push("malformed", path, body, chunked=chunked),
        st.sampled_from([STORAGE, PREDICTIONS]),
        not_json
        | no_message.map(lambda v: json.dumps(v).encode())
        | VALUES.filter(lambda v: not isinstance(v, dict)).map(
            lambda v: json.dumps({"message": v}).encode()
        ),
        st.booleans(),
    )
    headers = st.sampled_from(list(HEADERS.values())) | st.just(JSON_TYPE)
    either = st.one_of(
        st.builds(lambda b: Push("event", STORAGE, wrapped(b), None), changed(EVENT)),
        st.builds(lambda b: Push("data", STORAGE, wrapped(EVENT, b), None), VALUES),
        st.builds(lambda b: Push("request", PREDICTIONS, request_for(b), None), changed(REQUEST)),
        st.builds(lambda b: Push("bytes", PREDICTIONS, request_for(b), None), st.binary()),
        st.builds(
            lambda b, h: Push("damaged event", STORAGE, b, None, headers=h),
            damaged(event()),
            headers,
        ),
        st.builds(
            lambda b, h: Push("damaged request", PREDICTIONS, b, None, headers=h),
            damaged(request_for(REQUEST)),
            headers,
        ),
        st.builds(
            lambda b: Push("damaged data", PREDICTIONS, request_for(b), None),
            damaged(json.dumps(REQUEST).encode()),
        ),
    )
    return kept | either
