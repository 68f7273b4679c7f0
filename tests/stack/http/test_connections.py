"""Connections to the service that a client keeps, as proxies and `requests.Session` do."""

import time
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from urllib.parse import urlsplit

from mlsys.local.stack import LocalStack

IDLE = 2.3  # seconds; gunicorn itself closes after two, at its next look


def test_a_connection_that_was_idle_is_still_served(stack: LocalStack) -> None:
    """Many at once, since only some are lost where the service closes them as requests come."""
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
        assert [connection.sock for connection in kept] == sockets  # none of them is new
