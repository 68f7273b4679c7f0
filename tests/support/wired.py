"""The service, wired once for its settings, over the clients of a test."""

import functools
from typing import Any

import pytest
from flask_openapi3 import OpenAPI

from app import Service, create_app
from mlsys.cloud.clients import Clients
from mlsys.settings import Settings


class NoClients(Clients):
    """Clients that fail the test when one is created."""

    def _once(self, name: str, make: Any) -> Any:
        raise AssertionError(f"the {name} client was asked for")


@functools.cache
def _wired(settings: Settings) -> OpenAPI:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.logs.configure", lambda: None)
        return create_app(settings, NoClients(settings))


def wired(settings: Settings, clients: Any = None) -> OpenAPI:
    """Return the service with these clients, by default none, and a stop signal of its own.

    Wiring takes 50 milliseconds. A test that adds routes calls `create_app`.
    """
    service = _wired(settings)
    service.extensions["mlsys"] = Service(settings, clients or NoClients(settings))
    return service
