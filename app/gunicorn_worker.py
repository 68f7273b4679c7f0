"""gunicorn's threaded worker, with threads for whole requests only, and one kept for `/health`.

gunicorn gives a connection a thread as its first byte arrives, for as long as the rest takes: a few
half-sent requests, or as many long ones as it has threads, block all others. Here

- the main loop reads until a request's headers are complete, within `HEAD_SECONDS`;
- `/health` has threads of its own;
- at most `threads` requests are worked on and `WAITING` wait; every other one is answered 503;
- a body has to arrive within `BODY_SECONDS`, an answer to be taken within `SEND_SECONDS`;
- the main loop never waits for a client to close.

Cloud Run's front end already holds requests back; this protects a port that clients reach directly.
The class overrides methods of gunicorn 27.0.1 (`gunicorn/workers/gthread.py`), which is pinned.
"""

from __future__ import annotations

import contextlib
import errno
import selectors
import socket
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

from app import overload
from app.gunicorn_connection import Connection

WAITING = 24  # requests beyond those that have a thread; a burst of events is worked off
HEALTH_THREADS, REFUSING_THREADS = 2, 2
HEAD_SECONDS = 10.0  # from a request's first byte to the end of its headers
SEND_SECONDS = 60.0
LINGER_SECONDS = 2.0  # for the client to close first, so that it gets the whole answer
CHUNK = 65_536  # bytes of one read


class Worker(ThreadWorker):
    """The threaded worker that the module describes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.waiting: dict[
            Connection, float
        ] = {}  # connections that wait for a request, and until when
        self.lingering: dict[socket.socket, float] = {}  # answered, half closed, and until when
        self.in_work = 0
        self.health = ThreadPoolExecutor(HEALTH_THREADS, "health")
        self.refusing = ThreadPoolExecutor(REFUSING_THREADS, "refusing")

    # The methods up to `_close` run in the main loop, and must not wait for anything.

    def accept(self, listener: socket.socket) -> None:
        """Accept a connection; if that makes too many, drop the one that has waited longest."""
        try:
            sock, address = listener.accept()
        except OSError as exc:
            if exc.errno in (errno.EMFILE, errno.ENFILE):
                self._drop_oldest()
            elif exc.errno not in (errno.EAGAIN, errno.ECONNABORTED, errno.EWOULDBLOCK):
                raise
            return
        self.nr_conns += 1
        if self.nr_conns >= self.worker_connections:
            self._drop_oldest()
        self._await(Connection(self.cfg, sock, address, listener.getsockname()))

    def _drop_oldest(self) -> None:
        if self.waiting:
            self._drop(next(iter(self.waiting)))

    def _await(self, conn: Connection) -> None:
        """Wait for a request, or for the rest of one, without a thread."""
        conn.sock.setblocking(False)
        self.waiting[conn] = time.monotonic() + HEAD_SECONDS
        self._register(conn.sock, lambda _: self._read(conn))

    def _register(self, sock: socket.socket, do: Callable[[Any], None]) -> None:
        self.poller.register(sock, selectors.EVENT_READ, do)

    def _read(self, conn: Connection) -> None:
        try:
            data = conn.sock.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(conn)
            return
        conn.head += data
        if conn.is_whole:
            self._no_longer_waiting(conn)
            self.enqueue_req(conn)

    def _no_longer_waiting(self, conn: Connection) -> None:
        del self.waiting[conn]
        with contextlib.suppress(OSError, KeyError, ValueError):
            self.poller.unregister(conn.sock)

    def _drop(self, conn: Connection) -> None:
        self._no_longer_waiting(conn)
        self.nr_conns -= 1
        conn.close()

    def on_client_socket_readable(self, conn: Connection, client: socket.socket) -> None:
        """Read the next request of a connection that was kept."""
        self.poller.unregister(client)
        self.keepalived_conns.remove(conn)
        self._await(conn)
        self._read(conn)

    def murder_pending(self) -> None:
        """Close connections whose request does not arrive, and those that linger."""
        now = time.monotonic()
        for conn in [conn for conn, end in self.waiting.items() if end < now]:
            self._drop(conn)
        for sock in [sock for sock, end in self.lingering.items() if end < now]:
            self._close(sock)

    def _cap_keepalive(self, deadline: float) -> None:
        super()._cap_keepalive(deadline)
        self.waiting = {conn: min(end, deadline) for conn, end in self.waiting.items()}

    def enqueue_req(self, conn: Connection) -> None:
        """Give a complete request a thread: of `/health`'s pool, the workers' or the refusals'."""
        handle: Callable[[Connection], Any] = self.handle
        if conn.asks_for_health:
            pool = self.health
        elif self.in_work >= self.cfg.threads + WAITING:
            pool, handle = self.refusing, self._refuse
        else:
            pool, conn.counted = self.tpool, True
            self.in_work += 1
        future = pool.submit(handle, conn)
        future.add_done_callback(
            lambda done: self.method_queue.defer(self.finish_request, conn, done)
        )

    def finish_request(self, conn: Connection, fs: Future[Any]) -> None:
        """Keep the connection for its next request, or close it."""
        if conn.counted:
            self.in_work, conn.counted = self.in_work - 1, False
        again = not fs.cancelled() and fs.exception() is None and fs.result()
        rest = conn.parser.unreader.take_buffered() if again else b""
        if rest:  # the next request has begun to arrive with this one
            conn.head = rest
            if conn.is_whole:
                self.enqueue_req(conn)
            else:
                self._await(conn)
        elif again:
            super().finish_request(conn, fs)
        else:
            self.nr_conns -= 1
            self._linger(conn.sock)

    def _linger(self, sock: socket.socket) -> None:
        """Close as RFC 9112 section 9.6 specifies, without waiting for the client."""
        try:
            sock.setblocking(False)
            sock.shutdown(socket.SHUT_WR)
            self._register(sock, lambda _: self._drain(sock))
            self.lingering[sock] = time.monotonic() + LINGER_SECONDS
        except (OSError, ValueError, KeyError):
            sock.close()

    def _drain(self, sock: socket.socket) -> None:
        try:
            if sock.recv(CHUNK):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._close(sock)

    def _close(self, sock: socket.socket) -> None:
        del self.lingering[sock]
        with contextlib.suppress(OSError, KeyError, ValueError):
            self.poller.unregister(sock)
        sock.close()

    # The following methods run in a thread.

    def _refuse(self, conn: Connection) -> Any:
        with overload.refusing():
            return self.handle(conn)

    def handle(self, conn: Connection) -> Any:
        """Handle a complete request."""
        conn.data_ready = True
        return super().handle(conn)

    def handle_request(self, req: Any, conn: Connection) -> Any:
        """Answer a request; the client has to take the answer in time."""
        conn.sock.settimeout(SEND_SECONDS)
        if overload.is_refusing():
            req.force_close()  # nobody waits for its body
        return super().handle_request(req, conn)
