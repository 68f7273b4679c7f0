"""`mlsys drift` and the notebook show the columns that the service lists, run by run."""

import json
from typing import Any

import pytest

from mlsys.cli import parser as cli
from mlsys.errors import InvalidRequest
from mlsys.remote.service import Service
from mlsys.runs import Run, drift, profile

COLUMNS = [
    {
        "run_id": run_id,
        "model_name": "titanic",
        "model_version": "v1",
        "predicted_at": "2026-11-28T12:00:00+00:00",
        "role": "feature",
        "column_name": name,
        "level": level,
        "distance": distance,
        "distance_previous": before,
        "distance_week": None,
        "importance": 0.25,
        "why": None if level == "ok" else "distance 0.31",
    }
    for run_id, name, level, distance, before in (
        ("r2", "fare", "drift", 0.31234, 0.01),
        ("r2", "age", "ok", 0.02, 0.5),
        ("r1", "fare", "unknown", None, None),
    )
]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, str]]]:
    """Let a service answer; return the requests."""
    requests: list[tuple[str, dict[str, str]]] = []

    def ask(_: Service, path: str, params: Any = None, **__: Any) -> dict[str, Any]:
        requests.append((path, dict(params)))
        if path == "/models/nobody/drift":
            return {"columns": [], "more": True}
        if path.endswith("/profile"):
            about = {"run_id": "r2", "model_name": "titanic", "model_version": "v1"}
            rows = [{k: v for k, v in row.items() if k not in about} for row in COLUMNS[:2]]
            return about | {"columns": [row | {"bins": [{"bin": "a", "rows": 1}]} for row in rows]}
        return {"columns": COLUMNS, "more": False}

    monkeypatch.setattr(Service, "ask", ask)
    monkeypatch.setenv("MLSYS_URL", "http://localhost:8080")
    return requests


def test_the_columns_of_each_run_are_a_table(
    asked: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["drift", "titanic", "--env", "dev", "--top", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "r2 (v1, 2026-11-28 12:00:00 UTC): 1 of 2 columns drifted"
    assert lines[1].split()[:4] == ["COLUMN", "ROLE", "LEVEL", "TRAINING"]
    assert lines[2].split()[:5] == ["fare", "feature", "drift", "0.312", "0.01"]
    assert lines[3] == "1 more column: pass a larger --top" and lines[4] == ""
    assert lines[5].endswith("none of 0 columns drifted") and lines[-1].startswith("fare")
    words = ["--against", "previous", "--model-version", "v1", "--runs", "9"]
    assert cli.main(["drift", "titanic", "--env", "dev", *words]) == 0
    assert capsys.readouterr().out.splitlines()[2].startswith("age")
    assert cli.main(["drift", "titanic", "--env", "dev", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == COLUMNS
    assert cli.main(["drift", "nobody", "--env", "dev"]) == 0
    said = capsys.readouterr()
    assert said.out == "" and "No run of nobody in dev has counted" in said.err
    assert "pass a smaller --runs" in said.err
    assert asked[0] == ("/models/titanic/drift", {"env": "dev", "runs": "5"})
    assert asked[1][1] == {"env": "dev", "runs": "9", "model_version": "v1"}


def test_a_notebook_gets_frames(asked: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    frame = drift("titanic", runs=3, version="v1")
    assert frame["distance"].tolist()[:2] == [0.31234, 0.02]
    assert frame["distance_previous"].tolist()[:2] == [0.01, 0.5]
    assert asked[0] == (
        "/models/titanic/drift",
        {"env": "dev", "model_version": "v1", "runs": "3"},
    )
    columns = profile(Run({"run_id": "r2"}))
    assert columns["column_name"].tolist() == ["fare", "age"]
    assert set(columns["run_id"]) == {"r2"} and columns["bins"][0] == [{"bin": "a", "rows": 1}]
    assert asked[1] == ("/runs/r2/profile", {"env": "dev"})
    assert drift("nobody").empty and "pass smaller runs" in "".join(capsys.readouterr())


def test_a_call_without_a_name_is_refused_before_the_service_is_asked(asked: list[Any]) -> None:
    for call in (lambda: profile(""), lambda: drift(" "), lambda: profile(None)):  # type: ignore[arg-type]
        with pytest.raises(InvalidRequest, match="pass a (run's id|model's name)"):
            call()
    assert asked == []
