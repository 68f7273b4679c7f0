"""An HTTP endpoint to which tests have messages pushed."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Receiver:
    """An HTTP endpoint that keeps what it receives and answers with `statuses`."""

    url: str
    statuses: list[int] = field(default_factory=list)  # one for each request, then 204
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    hold: threading.Event = field(default_factory=threading.Event)  # no answer until it is set


@contextmanager
def listening() -> Iterator[Receiver]:
    """Open a fresh `Receiver` on a free port."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with lock:
                received.bodies.append(body)
                received.headers.append({k.lower(): v for k, v in self.headers.items()})
                status = received.statuses.pop(0) if received.statuses else 204
            received.hold.wait(30)
            try:
                self.send_response_only(status)
                self.send_header("Content-Length", "0")
                self.end_headers()
            except ConnectionError:
                pass  # the publisher stopped waiting

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        received = Receiver(f"http://127.0.0.1:{server.server_port}/push")
        received.hold.set()
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield received
        received.hold.set()
        server.shutdown()
        thread.join(5)
