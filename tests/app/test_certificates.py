"""Google's certificates are fetched on demand, and again only when they expire."""

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from flask import Flask

from app import auth
from tokens import GOOGLES, MESSAGE, SERVICE, STRANGERS, signed, unsigned
from wired import wired


@dataclass
class Certificates:
    """The address of the certificates, and the number of fetches."""

    fetched: int = 0
    cache_control: str = "public, max-age=20000, must-revalidate, no-transform"
    seconds: float = 0.0  # before the answer


@pytest.fixture
def certificates(monkeypatch: pytest.MonkeyPatch) -> Iterator[Certificates]:
    """Serve certificates on this machine in place of Google's."""
    served = Certificates()
    lock = threading.Lock()
    body = json.dumps({"googles": GOOGLES.certificate}).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with lock:
                served.fetched += 1
            time.sleep(served.seconds)
            self.send_response(200)  # with the date, from which the age is counted
            self.send_header("Cache-Control", served.cache_control)
            self.send_header("Content-Type", "application/json; charset=UTF-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/oauth2/v1/certs"
        monkeypatch.setattr("google.oauth2.id_token._GOOGLE_OAUTH2_CERTS_URL", url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        auth._transport.cache_clear()
        yield served
        auth._transport().session.close()
        auth._transport.cache_clear()
        server.shutdown()


@pytest.fixture
def app(certificates: Certificates) -> Flask:
    """Return the service, which verifies the tokens itself."""
    return wired(SERVICE)


def push(app: Flask, token: str) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    return app.test_client().post("/events/storage", json=MESSAGE, headers=headers).status_code


@pytest.mark.slow
def test_a_thousand_pushes_fetch_the_certificates_once(
    app: Flask, certificates: Certificates
) -> None:
    assert {push(app, signed(sub=str(number))) for number in range(1_000)} == {204}
    assert certificates.fetched == 1


def test_concurrent_first_pushes_fetch_the_certificates_once(
    app: Flask, certificates: Certificates
) -> None:
    certificates.seconds = 0.3
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: push(app, signed()), range(64)))
    assert set(answers) == {204}
    assert certificates.fetched == 1


@pytest.mark.parametrize(
    "token",
    [
        pytest.param("garbage", id="garbage"),
        pytest.param(signed(STRANGERS), id="a key nobody knows"),
        pytest.param(signed(STRANGERS, "googles"), id="a known key's name"),
        pytest.param(unsigned({"alg": "RS256", "jku": "http://127.0.0.1:9/"}, {}), id="a place"),
    ],
)
def test_forged_tokens_do_not_make_the_service_fetch_certificates_again(
    app: Flask, certificates: Certificates, token: str
) -> None:
    assert push(app, signed()) == 204
    assert {push(app, token) for _ in range(50)} == {401}
    assert {push(app, signed(STRANGERS, f"key-{number}")) for number in range(50)} == {401}
    assert certificates.fetched == 1


def test_expired_certificates_are_fetched_again(app: Flask, certificates: Certificates) -> None:
    certificates.cache_control = "public, max-age=1"
    assert push(app, signed()) == 204
    time.sleep(2.1)
    assert push(app, signed()) == 204
    assert certificates.fetched == 2
