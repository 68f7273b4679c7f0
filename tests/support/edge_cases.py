"""The service without a backend, with a recorder in place of the workers, and bodies to push."""

import base64
import json
from typing import Any

import pytest
from flask.testing import FlaskClient

from mlsys.cloud.clients import Clients
from mlsys.errors import ModelUnusable
from mlsys.models import ModelRef
from mlsys.settings import Emulators, Settings
from wired import wired

SERVICE = Settings(
    "my-project",
    envs=("dev",),
    push_auth="off",
    emulators=Emulators("http://127.0.0.1:9"),
)
ATTRIBUTES = {
    "eventType": "OBJECT_FINALIZE",
    "bucketId": "mlsys-models-dev",
    "objectId": "titanic/v1/model.pkl",
}
REQUEST = {
    "env": "dev",
    "input_table": "my-project.titanic.test",
    "output_table": "my-project.titanic.predictions",
    "model_name": "titanic-survival",
    "model_version": "v1",
    "run_id": "a-run",
}


class Recorder:
    """Records what the handlers had the workers do."""

    def __init__(self) -> None:
        self.quarantined: list[tuple[bytes, str]] = []
        self.converged: list[tuple[str, str]] = []
        self.scored: list[Any] = []
        self.fault: Exception | None = None

    def quarantine(
        self,
        _: Clients,
        env: str,
        route: str,
        body: bytes,
        reason: str,
        headers: dict[str, str],
    ) -> str:
        assert not {"authorization", "cookie"} & {name.lower() for name in headers}
        assert route in ("/events/storage", "/events/predictions")
        assert env == "dev"
        self.quarantined.append((body, reason))
        return "gs://mlsys-runs-dev/quarantine/x.json"

    def converge(self, _: Clients, env: str, ref: ModelRef) -> str:
        if self.fault:
            raise self.fault
        self.converged.append((env, str(ref)))
        return "registered"

    def prepare(self, _: Clients, request: Any, run_id: str | None, **__: Any) -> Any:
        if self.fault:
            raise self.fault
        self.scored.append((request, run_id))
        raise ModelUnusable("and that is enough for these tests")

    def clear(self) -> None:
        self.quarantined.clear()
        self.converged.clear()
        self.scored.clear()


@pytest.fixture
def did(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """Replace the workers by a recorder, and return it."""
    recorder = Recorder()
    monkeypatch.setattr("workers.quarantine.quarantine", recorder.quarantine)
    monkeypatch.setattr("workers.registry.sync.converge", recorder.converge)
    monkeypatch.setattr("workers.scoring.planning.find_run.prepare", recorder.prepare)
    return recorder


@pytest.fixture
def client(did: Recorder) -> FlaskClient:
    """Return a test client of the service without a backend."""
    return wired(SERVICE).test_client()


def envelope(attributes: Any = None, data: Any = None, **more: Any) -> bytes:
    """Return a push request's body."""
    message = {"attributes": attributes, "data": data, "messageId": "1", **more}
    return json.dumps({"message": message, "subscription": "projects/p/subscriptions/s"}).encode()


def event(**changed: Any) -> bytes:
    """Return a storage notification with changes; `...` removes an attribute."""
    return envelope({k: v for k, v in (ATTRIBUTES | changed).items() if v is not ...})


def request_of(value: Any) -> bytes:
    """Return a scoring request's message."""
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    return envelope(data=base64.b64encode(content).decode())
