"""A proxy in front of a local HTTP server that can delay calls and answer them itself."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

HOST = "127.0.0.1"
TIMEOUT = 60.0  # seconds for a local server to answer
IDLE = 2.0  # seconds after which an idle connection to a local server is not reused
HEAD = 1 << 20  # bytes of a request that are read before it is passed on; the rest streams
PIECE = 1 << 16
_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "upgrade", "proxy-connection"}
_OBJECT = re.compile(
    r"(session-\d+|[a-z]+)\.(json|pkl)\b|(parts|[a-z]+)/(\d+/)?\d+(?:-[0-9a-f]+)*\.parquet"
)


def name_call(method: str, target: str, body: Any = b"") -> str:
    """Name a call in two words: `GET job`, `PUT part`."""
    path, _, query = unquote(target).partition("?")
    head = body[:2000].decode(errors="replace") if isinstance(body, bytes) else str(body)[:2000]
    if "/bigquery/v2/" in path:
        if path.endswith("/jobs") and (kind := re.search(r'"(load|query|copy)": *\{', head)):
            return f"{method} {kind[1]}"
        found = re.findall(r"/(job|table|dataset|queries)s?\b", path)
        return f"{method} {found[-1] if found else 'bigquery'}"
    if "prefix=" in query:
        return f"{method} list"
    text = path if "/o/" in path else f"{query} {head}"
    if match := _OBJECT.search(text):
        if match[3]:
            return f"{method} {match[3].rstrip('s')}"
        return f"{method} {'session' if match[1].startswith('session') else match[0]}"
    return f"{method} {'object' if '/o' in path else 'bucket'}"


@dataclass
class Reply:
    """An answer: whole in `body`, or still to be read from `stream`."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes = b""
    stream: http.client.HTTPResponse | None = None

    @classmethod
    def of_json(cls, status: int, value: Any) -> Reply:
        """Return a JSON answer of the proxy's own."""
        return cls(status, [("Content-Type", "application/json")], json.dumps(value).encode())

    @classmethod
    def error(cls, status: int, reason: str, message: str) -> Reply:
        """Return a refusal in the form of Google's JSON APIs."""
        errors = [{"domain": "global", "reason": reason, "message": message}]
        return cls.of_json(
            status, {"error": {"code": status, "errors": errors, "message": message}}
        )


class Service(Protocol):
    """Decides on the answers."""

    def answer(self, call: Call) -> Reply:
        """Answer a call, usually by `call.forward()`."""

    def wait_here(self, name: str, moment: str) -> None:
        """Return when the call of this name may continue."""


class Proxy(ThreadingHTTPServer):
    """A server on a free port of the loopback in front of the one at `upstream`."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, upstream: str, service: Service) -> None:
        super().__init__((HOST, 0), Call)
        self.upstream = upstream
        self.url = f"http://{HOST}:{self.server_port}"
        self.service = service

    def connect(self) -> http.client.HTTPConnection:
        """Return a connection to the local server."""
        return http.client.HTTPConnection(urlsplit(self.upstream).netloc, timeout=TIMEOUT)

    def ask(self, method: str, target: str, body: bytes = b"") -> tuple[int, bytes]:
        """Send the local server a request of the proxy's own."""
        connection = self.connect()
        try:
            connection.request(method, target, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore the broken connection of a caller that was killed."""


class Call(BaseHTTPRequestHandler):
    """A caller's connection, with one call after the other."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    timeout = 300
    server: Proxy

    def setup(self) -> None:
        super().setup()
        self.upstream = self.server.connect()
        self.used = 0.0

    def finish(self) -> None:
        self.upstream.close()
        with contextlib.suppress(OSError):
            super().finish()

    def answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if "Transfer-Encoding" in self.headers:
            self.relay(Reply.error(411, "required", "Pass a Content-Length"))
            return
        self.left = length
        self.head = b"".join(self.pieces(min(length, HEAD)))
        name = name_call(self.command, self.path, self.head)
        service = self.server.service
        service.wait_here(name, "before")
        try:
            reply = service.answer(self)
        except (OSError, http.client.HTTPException) as exc:
            self.upstream.close()
            reply = Reply.error(502, "badGateway", f"{self.server.upstream}: {exc!r}")
            self.close_connection = True
        service.wait_here(name, "after")
        self.relay(reply)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = answer

    def pieces(self, size: int) -> Iterator[bytes]:
        """Yield the next `size` bytes of the request; a caller that died sends fewer."""
        while size > 0:
            piece = self.rfile.read(min(size, PIECE))
            if not piece:
                self.close_connection = True
                raise ConnectionAbortedError("the caller is gone")
            self.left -= len(piece)
            size -= len(piece)
            yield piece

    def forward(self) -> Reply:
        """Pass the request on to the local server and return its answer."""
        if time.monotonic() - self.used > IDLE:
            self.upstream.close()
        headers = {k: v for k, v in self.headers.items() if k.lower() not in _HOP | {"host"}}

        def body() -> Iterator[bytes]:
            yield self.head
            yield from self.pieces(self.left)

        self.upstream.request(self.command, self.path, body() if self.head else None, headers)
        answer = self.upstream.getresponse()
        self.used = time.monotonic()
        kept = [(k, v) for k, v in answer.getheaders() if k.lower() not in _HOP]
        if self.command == "HEAD" or not answer.getheader("Content-Type", "").startswith(
            "application/json"
        ):
            return Reply(answer.status, kept, stream=answer)
        kept = [(k, v) for k, v in kept if k.lower() != "content-length"]
        return Reply(answer.status, kept, answer.read())

    def relay(self, reply: Reply) -> None:
        """Send the caller the answer, if it is still connected."""
        for _ in self.pieces(self.left):
            pass  # the rest of a refused request
        try:
            self.send_response_only(reply.status)
            sized = any(k.lower() == "content-length" for k, _ in reply.headers)
            bare = self.command == "HEAD" or reply.status in (204, 304) or reply.status < 200
            for key, value in reply.headers:
                self.send_header(key, value)
            if not sized and not bare:
                if reply.stream is None:
                    self.send_header("Content-Length", str(len(reply.body)))
                else:
                    self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"" if bare else reply.body)
            while reply.stream is not None and (piece := reply.stream.read(PIECE)):
                self.wfile.write(piece if sized else b"%x\r\n%s\r\n" % (len(piece), piece))
            if reply.stream is not None and not sized and not bare:
                self.wfile.write(b"0\r\n\r\n")
            self.wfile.flush()
        except OSError:
            self.close_connection = True
            self.upstream.close()

    def log_message(self, *args: Any) -> None:
        pass
