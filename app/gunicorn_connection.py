"""A connection to the service, and what has arrived of its next request."""

from __future__ import annotations

import time
from typing import Any

from gunicorn.http.unreader import SocketUnreader
from gunicorn.workers.gthread import TConn

BODY_SECONDS = 30.0
MAX_HEAD = 131_072  # bytes; gunicorn's own limits refuse a longer one


class Connection(TConn):
    """A connection of gunicorn's that keeps the beginning of its next request."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.head = b""
        self.counted = False  # among the requests in work
        self.deadline = 0.0  # of the request's body

    def init(self) -> None:
        """Give the parser the bytes that the main loop has read; the rest has to arrive in time."""
        super().init()
        if not isinstance(self.parser.unreader, _InTime):
            self.parser.unreader = _InTime(self)
        self.deadline = time.monotonic() + BODY_SECONDS
        if self.head:
            self.parser.unreader.unread(self.head)
            self.head = b""

    @property
    def is_whole(self) -> bool:
        """True if the headers are complete, or longer than a request's may be."""
        return b"\r\n\r\n" in self.head or len(self.head) > MAX_HEAD

    @property
    def asks_for_health(self) -> bool:
        """True for `GET /health` without a body."""
        line, _, fields = self.head.partition(b"\r\n")
        method, _, rest = line.partition(b" ")
        path = rest.split(b" ")[0].split(b"?")[0]
        if method not in (b"GET", b"HEAD") or path != b"/health":
            return False
        lower = fields.lower()
        return b"content-length:" not in lower and b"transfer-encoding:" not in lower


class _InTime(SocketUnreader):
    """Reads what a request still lacks, until its deadline."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection.sock)
        self._connection = connection

    def chunk(self, size_hint: int | None = None) -> bytes:
        """Return the next bytes.

        Raises:
            TimeoutError: they did not arrive in time.
        """
        before = self.sock.gettimeout()
        left = self._connection.deadline - time.monotonic()
        self.sock.settimeout(max(left if before is None else min(left, before), 0.0))
        try:
            return super().chunk(size_hint)
        except BlockingIOError as exc:
            raise TimeoutError("The request's body did not arrive in time") from exc
        finally:
            self.sock.settimeout(before)
