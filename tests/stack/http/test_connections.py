"""Connections to the service that a client keeps open, as proxies and `requests.Session` do."""

import time
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from urllib.parse import urlsplit

from mlsys.local.stack import LocalStack

IDLE = 2.3  # seconds; gunicorn's default closes after two


def test_an_idle_connection_is_still_served(stack: LocalStack) -> None:
    """Open many at once, since a service that closes them as requests arrive breaks only some."""
    address = urlsplit(stack.url)
    with ExitStack() as opened:
        kept = [
            opened.enter_context(
                closing(HTTPConnection(address.hostname or "", address.port, timeout=30))
            )
            for _ in range(8)
        ]
        for connection in kept:
            connection.request("GET", "/health")
            assert connection.getresponse().read()
        sockets = [connection.sock for connection in kept]
        time.sleep(IDLE)
        for connection in kept:
            connection.request("GET", "/health")
        for connection in kept:
            assert connection.getresponse().read()
        assert [connection.sock for connection in kept] == sockets  # no connection was reopened
