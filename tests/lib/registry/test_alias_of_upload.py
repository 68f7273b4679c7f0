"""`upload_model(alias=...)` and `mlsys promote --alias`: what is moved, and what is said if not."""

from __future__ import annotations

import datetime as dt
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from mlsys import cli, models
from mlsys.errors import (
    InvalidRequest,
    ModelUnusable,
    NotRegistered,
    SettingsError,
    TryAgain,
)
from mlsys.registry import promotion
from mlsys.registry.row import Registered
from mlsys.remote.service import RefusedByService, Service
from mlsys.settings import Settings

X = pd.DataFrame({"a": np.linspace(0, 1, 30)})
MODEL = LinearRegression().fit(X, X["a"])
URL = "http://127.0.0.1:9"


class World:
    """The bucket, the registry and the service, as far as these calls see them."""

    def __init__(self) -> None:
        self.uploaded: list[str] = []
        self.asked: list[tuple[str, str, Any]] = []
        self.row: Registered | Exception = Registered(1, "ready", None)
        self.fault: Exception | None = None
        self.named: list[dict[str, Any]] = []

    def write(self, clients: Any, env: str, name: str, *_: Any, **__: Any) -> Any:
        self.uploaded.append(name)
        return models.ModelRef(name, "v3"), 1

    def wait(self, *_: Any) -> Registered:
        if isinstance(self.row, Exception):
            raise self.row
        return self.row

    def ask(self, _: Service, path: str, params: Any = None, **options: Any) -> dict[str, Any]:
        method = options.get("method", "GET")
        self.asked.append((method, path, options.get("body")))
        if method == "GET":
            return {"aliases": self.named}
        if self.fault is not None:
            raise self.fault
        names = ("model_name", "alias", "version", "previous_version", "who", "why", "moved_at")
        moved = dict.fromkeys(names, "x") | {"moved": True, "generation": 7, "evidence": {}}
        return moved | {"alias": "champion", "version": "v3", "previous_version": "v2"}

    @property
    def moves(self) -> list[dict[str, Any]]:
        """The bodies of the moves, without their names."""
        bodies = (body for method, _, body in self.asked if method == "POST")
        return [{k: v for k, v in body.items() if k != "request_id"} for body in bodies]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    it = World()
    clients = SimpleNamespace(settings=Settings("p"))
    monkeypatch.setattr(models, "default_clients", lambda: clients)
    monkeypatch.setattr(models, "write_version", it.write)
    monkeypatch.setattr(models, "wait_until_registered", it.wait)
    monkeypatch.setattr("mlsys.cloud.clients.default_clients", lambda: clients)
    monkeypatch.setattr("mlsys.cloud.clients.clients_for", lambda settings: clients)
    monkeypatch.setattr(promotion, "promote", lambda *_, **__: Registered(1, "ready", None))
    monkeypatch.setattr(Service, "ask", lambda self, *a, **o: it.ask(self, *a, **o))
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.delenv("MLSYS_URL", raising=False)
    return it


def upload(**values: Any) -> models.ModelRef:
    given: dict[str, Any] = {"alias": "champion", "why": "better", "url": URL}
    return models.upload_model(MODEL, "m", X=X, **given | values)


def test_the_alias_is_moved_once_the_version_is_ready(world: World) -> None:
    assert str(upload()) == "m/v3"
    assert world.moves == [{"version": "v3", "why": "better"}]
    assert world.asked[0][1] == "/models/m/aliases/champion"


@pytest.mark.parametrize(
    ("values", "error", "text"),
    [
        ({"wait": False}, InvalidRequest, "alias: needs wait=True"),
        ({"alias": "latest"}, InvalidRequest, "alias: 'latest'"),
        ({"url": None}, SettingsError, "the service's address is not known"),
        ({"alias": None}, InvalidRequest, "why: is the reason for an alias: pass alias"),
    ],
)
def test_what_cannot_be_moved_is_refused_before_the_upload(
    values: dict[str, Any], error: type[Exception], text: str, world: World, tmp_path: Any
) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(error, match=text):
        patch.chdir(tmp_path)  # without a .env
        upload(**values)
    assert not world.uploaded and not world.asked


def test_a_version_that_is_not_ready_stays_uploaded_and_the_alias_where_it_is(
    world: World,
) -> None:
    world.row = Registered(1, "rejected", "its golden rows differ")
    with (
        pytest.warns(UserWarning, match="its golden rows differ"),
        pytest.raises(ModelUnusable, match="m/v3 is uploaded, and champion was not moved: it is"),
    ):
        upload()
    world.row = NotRegistered("m/v3 is uploaded to dev, and the registry does not show it")
    with pytest.raises(NotRegistered, match=r"does not show it.*\. champion was not moved"):
        upload()
    assert world.uploaded == ["m", "m"] and not world.asked


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (RefusedByService("The guard refuses", {"clauses": []}), RefusedByService),
        (TryAgain("busy"), TryAgain),
    ],
)
def test_a_refusal_says_that_the_version_is_uploaded(
    fault: Exception, error: type[Exception], world: World
) -> None:
    world.fault = fault
    with pytest.raises(error, match="m/v3 is uploaded, and champion was not moved: ") as caught:
        upload()
    if isinstance(caught.value, RefusedByService):
        assert caught.value.body == {"clauses": []}


def promoted(*words: str) -> int:
    given = ["promote", "m", "v3", "--from", "dev", "--to", "staging", "--by", "ada"]
    return cli.main([*given, *words])


@pytest.mark.parametrize("named", ["v2", None])
def test_a_promotion_carries_the_alias_with_who_moved_it_and_why(
    named: str | None,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    world.named = [{"alias": "champion", "version": named}] if named else []
    monkeypatch.setattr(promotion, "reason_in", lambda *_: "promoted from dev")
    assert promoted("--alias", "champion", "--url", URL) == 0
    assert capsys.readouterr().out.splitlines() == [
        "m/v3 is in staging, ready",
        "champion: v2 -> v3, by x",
    ]
    why = {"why": "promoted from dev", "expected": named or "none"}
    assert world.moves == [{"version": "v3"} | why]
    world.fault = RefusedByService("The guard of champion refuses v3")
    assert promoted("--alias", "champion", "--url", URL, "--why", "mine") == 1
    said = capsys.readouterr().err
    assert (
        said == "mlsys: m/v3 is in staging, and champion was not moved: The guard of champion "
        "refuses v3\n"
    )
    assert world.moves[-1]["why"] == "mine"


def test_a_reason_without_an_alias_promotes_nothing(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert promoted("--why", "x") == 1
    assert "why: is the reason for an alias: pass --alias" in capsys.readouterr().err
    assert not world.asked


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (None, "promoted from dev"),
        ({"version": "v2"}, "promoted from dev"),
        (
            {"version": "v3", "who": "ada@example.com", "why": "better"},
            "promoted from dev, where ada@example.com moved champion to it on 2026-03-01: better",
        ),
        (
            {"version": "v3", "who": None, "why": None},
            "promoted from dev, where somebody, past the service moved champion to it on "
            "2026-03-01",
        ),
    ],
)
def test_the_reason_is_that_of_the_source(row: dict[str, Any] | None, reason: str) -> None:
    rows = [row | {"valid_from": dt.datetime(2026, 3, 1, tzinfo=dt.UTC)}] if row else []
    job = SimpleNamespace(result=lambda **_: rows)
    clients: Any = SimpleNamespace(
        settings=Settings("p"), bigquery=SimpleNamespace(query=lambda *_, **__: job)
    )
    ref = models.ModelRef("m", "v3")
    assert promotion.reason_in(clients, "dev", ref, "champion") == reason
