"""Under slow connections and many requests `/health` answers, and excess requests are refused."""

import os
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.client import HTTPConnection
from importlib.metadata import version
from pathlib import Path

import pytest

from app import gunicorn_conf, gunicorn_worker
from mlsys.local.addresses import HOST, choose_port
from mlsys.local.processes import Server, answers

AT_ONCE = gunicorn_conf.threads + gunicorn_worker.WAITING
PROMPT = 2.0  # seconds, on a busy machine
HALVES = {
    "nothing": b"",
    "half a line": b"GET /predict?env=d",
    "half the headers": b"GET /health HTTP/1.1\r\nHost: x\r\nX-A: ",
    "half a body": b"POST /events/storage HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
    "half a chunk": b"POST /events/storage HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    "health with half a body": b"GET /health HTTP/1.1\r\nContent-Length: 9\r\n\r\n{",
    "no request at all": b"\x16\x03\x01\x00\xff hello\r\n\r\n",
}


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Serve without a backend, under gunicorn as in the image, with short time limits."""
    port, root = choose_port(None, "service"), Path(__file__).parents[2]
    paths = [str(root / "tests" / "support"), str(root), str(root / "lib")]
    start = (
        "import app.gunicorn_worker as w, app.gunicorn_connection as k, app.gunicorn_conf as c; "
        "import gunicorn.app.wsgiapp as g; "
        "w.HEAD_SECONDS = k.BODY_SECONDS = w.SEND_SECONDS = 1.0; c._warm.set(); g.run()"
    )
    command = [
        *(sys.executable, "-c", start, "--config", "python:app.gunicorn_conf"),
        *("--bind", f"{HOST}:{port}", "slow_service:app"),
    ]
    server = Server(
        "The service",
        command,
        ready=lambda: answers(f"http://{HOST}:{port}/health"),
        seconds=60,
        log_file=tmp_path_factory.mktemp("slow") / "service.log",
        environment={"PYTHONPATH": os.pathsep.join(paths), "K_SERVICE": ""},
        folder=root,
    )
    try:
        server.wait_until_ready()
        yield port
    finally:
        server.stop()


def ask(port: int, path: str, method: str = "GET") -> tuple[int, float, dict[str, str], bytes]:
    """Send a request on a new connection; return status, seconds, headers and body."""
    began = time.monotonic()
    connection = HTTPConnection(HOST, port, timeout=30)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        body = answer.read()
        return answer.status, time.monotonic() - began, dict(answer.getheaders()), body
    finally:
        connection.close()


def open_halves(port: int, sent: bytes, count: int, opened: ExitStack) -> list[socket.socket]:
    made = []
    for _ in range(count):
        sock = opened.enter_context(socket.create_connection((HOST, port), 10))
        sock.sendall(sent)
        made.append(sock)
    return made


def ends_within(sock: socket.socket, seconds: float) -> bytes:
    """Return what the service still sends, if it closes the connection in time."""
    deadline, received = time.monotonic() + seconds, b""
    while True:
        sock.settimeout(max(deadline - time.monotonic(), 0.01))
        try:
            data = sock.recv(65_536)
        except ConnectionResetError:
            return received
        if not data:
            return received
        received += data


@pytest.mark.parametrize("sent", HALVES.values(), ids=HALVES)
def test_half_sent_requests_block_no_other_request(port: int, sent: bytes) -> None:
    with ExitStack() as opened:
        halves = open_halves(port, sent, 40, opened)
        time.sleep(0.2)
        for _ in range(3):
            status, seconds, _, _ = ask(port, "/health")
            assert status == 200
            assert seconds < PROMPT
        ends_within(halves[0], 12)  # raises TimeoutError if it is held for longer
        ends_within(halves[-1], 12)


def test_headers_sent_byte_by_byte_get_no_longer_timeout(port: int) -> None:
    with ExitStack() as opened:
        [sock] = open_halves(port, b"GET /health HTTP/1.1\r\n", 1, opened)
        began = time.monotonic()
        with pytest.raises((ConnectionError, BrokenPipeError)):
            while time.monotonic() - began < 12:
                sock.sendall(b"a")
                time.sleep(0.1)
        assert time.monotonic() - began < 6


def test_a_late_body_is_answered_with_408(port: int) -> None:
    with ExitStack() as opened:
        [sock] = open_halves(port, HALVES["half a body"], 1, opened)
        received = ends_within(sock, 15)
    assert received.startswith(b"HTTP/1.1 408 ")
    assert b"application/problem+json" in received


def test_an_answer_that_is_not_read_does_not_block_a_thread(port: int) -> None:
    with ExitStack() as opened:
        open_halves(port, b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n", AT_ONCE, opened)
        assert ask(port, "/health")[1] < PROMPT
        deadline = time.monotonic() + 20
        while ask(port, "/slow?seconds=0")[0] == 503:
            assert time.monotonic() < deadline
            time.sleep(0.2)


@pytest.mark.slow
def test_beyond_the_limit_requests_are_refused_at_once_and_health_answers(port: int) -> None:
    many = 60
    with ThreadPoolExecutor(many) as threads:
        futures = [threads.submit(ask, port, "/slow?seconds=1.5") for _ in range(many)]
        time.sleep(0.7)
        status, seconds, _, _ = ask(port, "/health")
        assert (status, seconds < PROMPT) == (200, True)
        results = [request.result() for request in futures]
    assert Counter(status for status, *_ in results) == {200: AT_ONCE, 503: many - AT_ONCE}
    for status, seconds, headers, body in results:
        if status == 503:
            assert seconds < PROMPT + 2
            assert headers["Retry-After"] == "10"
            assert headers["Content-Type"] == "application/problem+json"
            assert b"overloaded" in body
    assert ask(port, "/slow?seconds=0")[0] == 200


@pytest.mark.slow
def test_a_request_with_a_body_is_refused_too(port: int) -> None:
    with ThreadPoolExecutor(AT_ONCE) as threads, ExitStack() as opened:
        futures = [threads.submit(ask, port, "/slow?seconds=1.5") for _ in range(AT_ONCE)]
        time.sleep(0.5)
        for sock in open_halves(port, HALVES["half a body"], 10, opened):
            assert ends_within(sock, 10).startswith(b"HTTP/1.1 503 ")
        assert {request.result()[0] for request in futures} == {200}


def test_split_pipelined_and_keep_alive_requests_are_answered(port: int) -> None:
    with ExitStack() as opened:
        [sock] = open_halves(port, b"GET /hea", 1, opened)
        time.sleep(0.1)
        sock.sendall(b"lth HTTP/1.1\r\nHost: x\r\n\r\nPOST /slow?seconds=0 HTTP/1.1\r\nContent-")
        sock.sendall(b"Length: 5\r\n\r\nabcdeGET /health HTTP/1.1\r\nConnection: close\r\n\r\n")
        received = ends_within(sock, 10)
    assert received.count(b"HTTP/1.1 200 OK") == 3
    assert received.count(b'"healthy"') == 2
    assert b'"bytes": 5' in received


def test_idle_connections_beyond_the_limit_do_not_block_new_ones(port: int) -> None:
    with ExitStack() as opened:
        halves = open_halves(port, b"GET /", gunicorn_conf.worker_connections + 20, opened)
        assert ask(port, "/health")[1] < PROMPT
        ends_within(halves[0], PROMPT)


def test_gunicorn_is_the_release_that_the_worker_relies_on() -> None:
    assert version("gunicorn") == "27.0.1"
