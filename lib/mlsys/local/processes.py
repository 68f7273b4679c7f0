"""Server processes of the local stack: guarded children, and waiting until they answer."""

import contextlib
import http.client
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from mlsys.cloud.loopback import without_proxies
from mlsys.errors import MlsysError
from mlsys.local.addresses import HOST
from mlsys.local.guard import GRACE

_TAIL_LINES = 20
_TAIL_BYTES = 8192

log = logging.getLogger(__name__)


class ServerNotReady(MlsysError):
    """A server of the local stack ended or did not answer in time; the message has its log."""


def answers(url: str, status: int = 200, timeout: float = 2.0) -> bool:
    """Return whether GET `url` (http, without any proxy) answers with `status`."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or HOST, parts.port, timeout=timeout)
    try:
        connection.request("GET", parts.path or "/")
        return connection.getresponse().status == status
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def listens(port: int, timeout: float = 2.0) -> bool:
    """Return whether a server accepts connections on the loopback's `port`."""
    try:
        socket.create_connection((HOST, port), timeout).close()
    except OSError:
        return False
    return True


class Server:
    """A process that ends with this one, however that ends, and writes to a log file."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        ready: Callable[[], bool],
        seconds: float,
        log_file: Path,
        environment: Mapping[str, str],
        folder: Path,
        remove: Path | None = None,
        lock: IO[str] | None = None,
    ) -> None:
        """Start `command` in `folder`, with `environment` over this process's own.

        `ready` tells whether it answers, which it must within `seconds`. `remove` names a folder
        that is removed if this process dies without stopping the server; `lock` is a lock's
        file that the guard keeps open until the server has ended.
        """
        self.name = name
        self.log_file = log_file
        self._ready = ready
        self._seconds = seconds
        guarded = [sys.executable, "-m", "mlsys.local.guard"]
        if remove is not None:
            guarded += ["--remove", str(remove)]
        with log_file.open("ab") as output:
            self._process = subprocess.Popen(
                [*guarded, "--", *command],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **without_proxies(os.environ), **environment},
                cwd=folder,
                pass_fds=[lock.fileno()] if lock else [],
                # A signal to our whole group must not end the guard before it ended its child.
                start_new_session=True,
            )

    def wait_until_ready(self) -> None:
        """Wait until the server answers.

        Raises:
            ServerNotReady: it ended, or did not answer in time. It is stopped.
        """
        deadline = time.monotonic() + self._seconds
        while time.monotonic() < deadline:
            self.check()
            if self._ready():
                return
            time.sleep(0.05)
        self.stop()
        raise ServerNotReady(self._report(f"did not answer within {self._seconds:.0f} seconds"))

    def check(self) -> None:
        """Check that the server runs.

        Raises:
            ServerNotReady: it has ended; the message has its log's end.
        """
        if (code := self._process.poll()) is not None:
            raise ServerNotReady(self._report(f"ended with exit code {code}"))

    def begin_stop(self) -> None:
        """Ask the server to end and return at once; `stop` waits for it."""
        if self._process.stdin and not self._process.stdin.closed:
            with contextlib.suppress(BrokenPipeError):  # it has ended already
                self._process.stdin.write(b"stop\n")
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()

    def stop(self) -> None:
        """End the server and everything it started, within `GRACE` and a few more seconds."""
        self.begin_stop()
        try:
            self._process.wait(GRACE + 5)
        except subprocess.TimeoutExpired:
            log.warning("the guard of %s did not end in time and is killed", self.name)
            self._process.kill()
            self._process.wait()

    def _report(self, what: str) -> str:
        with self.log_file.open("rb") as lines:
            lines.seek(max(0, self.log_file.stat().st_size - _TAIL_BYTES))
            tail = lines.read().decode(errors="replace").splitlines()[-_TAIL_LINES:]
        return "\n".join([f"{self.name} {what}; the end of {self.log_file}:", *tail])
