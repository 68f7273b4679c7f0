"""What the service says at its start when models may be made of any code."""

import dataclasses
import logging
import signal
from types import SimpleNamespace

import pytest

from app import create_app, gunicorn_conf, risks
from edge_cases import SERVICE
from mlsys.errors import SettingsError
from mlsys.settings import Emulators
from wired import NoClients
from workers.sandbox import walls

FREE = dataclasses.replace(SERVICE, models="any")
SIGNED = dataclasses.replace(FREE, signing_keys=("key",))
WALLS = walls.Walls(True, 4, undumpable=True)
NO_WALLS = walls.Walls(False, 0, undumpable=False, missing="darwin has no system-call filters")


def test_unsigned_models_of_any_code_and_missing_walls_are_risks() -> None:
    assert risks(SERVICE, NO_WALLS) == []
    assert risks(SIGNED, WALLS) == []
    [unsigned] = risks(FREE, WALLS)
    assert unsigned.startswith("MLSYS_MODELS=any without MLSYS_MODEL_SIGNING_KEY: everybody who")
    [open_] = risks(SIGNED, NO_WALLS)
    assert "without a system-call filter (darwin has no system-call filters)" in open_
    assert risks(FREE, NO_WALLS) == [unsigned, open_]


def test_the_worker_logs_the_risks_once_as_it_starts(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walls, "protect_memory", lambda: True)
    monkeypatch.setattr(walls, "available", lambda: WALLS)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    app = SimpleNamespace(extensions={"mlsys": SimpleNamespace(settings=FREE)})
    with caplog.at_level(logging.INFO):
        gunicorn_conf.post_worker_init(SimpleNamespace(wsgi=app))
    texts = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert texts == risks(FREE, WALLS)


def test_any_code_is_refused_on_cloud_run_without_walls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.logs.configure", lambda: None)
    monkeypatch.setattr(walls, "available", lambda: NO_WALLS)
    cloud = dataclasses.replace(
        SIGNED,
        on_cloud_run=True,
        role="api",
        push_auth="app",
        push_audience="https://a.example",
        push_service_account="push@example.com",
        emulators=Emulators(),
    )
    with pytest.raises(SettingsError, match="darwin has no system-call filters"):
        create_app(cloud, NoClients(cloud))
