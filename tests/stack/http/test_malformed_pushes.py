"""Thousands of malformed messages over HTTP get the documented answers, and valid ones succeed."""

import datetime as dt
import hashlib
import json
import socket
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from types import SimpleNamespace
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import pytest
from google.cloud.storage import Blob
from hypothesis import HealthCheck, Phase, given, seed
from hypothesis import settings as examples
from sklearn.linear_model import LinearRegression

from mlsys.local.stack import LocalStack
from push_corpus import corpus
from pushes import PREDICTIONS, REQUEST, STORAGE, Push, Wire, event, pushes, request_for
from registry_cases import ModelCase, model_case, notifications_lost
from scoring_cases import Lab
from tokens import GOOGLES, SERVICE, signed
from wired import wired

pytestmark = [pytest.mark.usefixtures("environment"), pytest.mark.slow]

FEW, MANY = 350, 5_000
ROWS = pd.DataFrame({"id": range(5), "a": np.arange(5) / 2})


class Good:
    """Valid messages: each registers one more version, or scores one more table."""

    def __init__(self, stack: LocalStack, case: ModelCase, events: int) -> None:
        self.case = case
        self.lab = Lab(stack)
        for number in range(1, events + 1):
            case.upload(version=f"v{number}")
        model = LinearRegression().fit(ROWS[["a"]], 2 * ROWS["a"])
        self.scorer = self.lab.upload(model, ROWS[["a"]], f"{case.name}-scorer")
        self.table = self.lab.put(ROWS)
        self.registered: set[str] = set()
        self.scored = 0

    def register(self, wire: Wire) -> None:
        version = f"v{len(self.registered) + 1}"
        path = self.case.ref(version).path
        good = event(bucketId=self.case.bucket, objectId=path)
        assert wire.send(Push("good", STORAGE, good)) == 204
        self.registered.add(version)
        assert {row["model_version"] for row in self.case.rows()} == self.registered

    def score(self, wire: Wire) -> None:
        output = self.lab.name("output")
        message = REQUEST | {
            "input_table": self.table,
            "output_table": output,
            "model_name": self.scorer,
        }
        assert wire.send(Push("good", PREDICTIONS, request_for(message))) == 204
        assert self.lab.rows(output)["prediction"].tolist() == pytest.approx(ROWS["a"] * 2)
        self.scored += 1


class Watched:
    """The service's processes and log since a moment."""

    def __init__(self, stack: LocalStack) -> None:
        self.log = stack.service_log
        self.start = self.log.stat().st_size

    def lines(self) -> list[dict[str, object]]:
        with self.log.open("rb") as log:
            log.seek(self.start)
            return [json.loads(line) for line in log if line.startswith(b"{")]

    def check(self) -> None:
        """Assert that no process has ended or started, and that no error was logged."""
        lines = self.lines()
        assert not [x for x in lines if x["severity"] in ("ERROR", "CRITICAL")]
        assert not [x for x in lines if "worker with pid" in str(x["message"]).lower()]
        longest = max(len(json.dumps(x)) for x in lines)
        assert longest < 64_000, "Cloud Logging takes lines of 256 KB, and nobody reads these"


def quarantined(stack: LocalStack) -> dict[str, Blob]:
    """Return the quarantined bodies' objects by digest."""
    bucket = stack.settings.runs_bucket("dev")
    days = {dt.datetime.now(dt.UTC).date() - dt.timedelta(days=n) for n in (0, 1)}
    blobs = [
        blob
        for day in days
        for blob in stack.clients.storage.list_blobs(
            bucket, prefix=f"quarantine/{day}/", timeout=60
        )
    ]
    return {blob.name.rsplit("/")[-1].removesuffix(".json"): blob for blob in blobs}


def digest(push: Push) -> str:
    return hashlib.sha256(push.body).hexdigest()


class Flood:
    """Sends messages, with a valid one now and then, and counts them."""

    def __init__(self, stack: LocalStack, every: int, good: list[Callable[[Wire], None]]) -> None:
        assert stack.url is not None
        self.wire = Wire(stack.url)
        self.before = quarantined(stack).keys()
        self.every = every
        self.good = good
        self.sent = 0
        self.statuses: Counter[int] = Counter()
        self.kept: dict[str, Push] = {}
        self.left: dict[str, Push] = {}

    def send(self, push: Push) -> None:
        status = self.wire.send(push)
        assert status == push.status, push.name
        self.statuses[status] += 1
        self.sent += 1
        if push.kept is not None:
            (self.kept if push.kept else self.left)[digest(push)] = push
        if self.sent % self.every == 0 and self.good:
            self.good.pop(0)(self.wire)

    def check(self, stack: LocalStack) -> None:
        """Assert that exactly the unreadable messages are in quarantine."""
        now = quarantined(stack)
        assert [push.name for name, push in self.kept.items() if name not in now] == []
        new = now.keys() - self.before
        left = {name: push for name, push in self.left.items() if name not in self.kept}
        assert [push.name for name, push in left.items() if name in new] == []
        with ThreadPoolExecutor(8) as threads:  # other tests' records are read too
            list(threads.map(lambda name: now[name].delete(timeout=60), new))


def flood(stack: LocalStack, count: int, registrations: int, runs: int) -> Flood:
    """Send the fixed list and then random messages, `count` in all, with valid ones among them."""
    fixed = list(corpus())
    with model_case(stack, "among-malformed") as case, notifications_lost(stack):
        good = Good(stack, case, registrations)
        todo = [good.register] * registrations
        for number in range(runs):
            todo.insert(number * (len(todo) // runs), good.score)
        watched = Watched(stack)
        sent = Flood(stack, count // (len(todo) + 1), todo)
        for push in fixed:
            sent.send(push)

        @seed(count)
        @examples(
            max_examples=count - len(fixed),
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(pushes())
        def others(push: Push) -> None:
            sent.send(push)

        others()
        sent.wire.close()
        assert sent.sent >= count
        assert sent.good == []
        assert (len(good.registered), good.scored) == (registrations, runs)
        assert len(case.registered()) == registrations
    watched.check()
    sent.check(stack)
    return sent


def test_hundreds_of_malformed_messages_do_not_stop_the_service(stack: LocalStack) -> None:
    flood(stack, FEW, registrations=8, runs=3)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_five_thousand_malformed_messages_do_not_stop_the_service(stack: LocalStack) -> None:
    began = time.monotonic()
    sent = flood(stack, MANY, registrations=40, runs=10)
    seconds = time.monotonic() - began
    print(f"\n{sent.sent} messages and 50 good ones in {seconds:.0f} s: {dict(sent.statuses)}")


@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(b"\x00\xff\r\n\r\n", id="no HTTP"),
        pytest.param(b"POST\r\n\r\n", id="no path"),
        pytest.param(b"Content-Length: x\r\n\r\n", id="a length that is not a number"),
        pytest.param(b"Content-Length: -1\r\n\r\n", id="a negative length"),
        pytest.param(b"Content-Length: 9\r\nContent-Length: 2\r\n\r\n{}", id="two lengths"),
        pytest.param(b"Content-Length: 99\r\n\r\n{}", id="a body that ends early"),
        pytest.param(b"Transfer-Encoding: gzip\r\n\r\n{}", id="an unknown encoding"),
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", id="a chunk of no length"),
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\n9\r\n{}", id="a chunk that ends early"),
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", id="no last chunk"),
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}xx0\r\n\r\n", id="no end of it"),
    ],
)
@pytest.mark.parametrize("path", [STORAGE, PREDICTIONS])
def test_a_broken_http_request_is_refused_and_stores_nothing(
    stack: LocalStack, path: str, request_bytes: bytes
) -> None:
    before = quarantined(stack).keys()
    address = urlsplit(stack.url or "")
    with socket.create_connection((address.hostname, address.port or 80), timeout=30) as wire:
        if b": " in request_bytes:
            wire.sendall(f"POST {path} HTTP/1.1\r\nHost: localhost\r\n".encode())
        wire.sendall(request_bytes)
        wire.shutdown(socket.SHUT_WR)
        with wire.makefile("rb") as reader:
            answer = reader.read()
    status = answer.split(b" ")[1] if answer else b""
    assert status in (b"", b"400", b"501"), answer
    assert quarantined(stack).keys() == before
    with closing(Wire(stack.url or "")) as working:
        assert working.send(Push("good", STORAGE, event())) == 204


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        pytest.param(None, 401, id="no token"),
        pytest.param("Bearer a.b.c", 401, id="a forged token"),
        pytest.param(f"Bearer {signed(email='somebody@else')}", 403, id="another account"),
    ],
)
def test_an_unauthenticated_push_is_refused_unread(
    monkeypatch: pytest.MonkeyPatch, authorization: str | None, status: int
) -> None:
    """Nothing is stored either: otherwise anybody could fill the bucket."""
    answer = SimpleNamespace(status=200, data=json.dumps({"googles": GOOGLES.certificate}).encode())
    monkeypatch.setattr("app.auth._transport", lambda: lambda *_, **__: answer)
    client = wired(SERVICE).test_client()
    headers = {} if authorization is None else {"Authorization": authorization}
    for push in corpus():
        if push.status != 405:
            got = client.post(push.path, data=push.body, headers=headers)
            assert got.status_code == status, push.name
            assert got.mimetype == "application/problem+json"
