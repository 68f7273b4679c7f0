"""`mlsys undo` and `mlsys.runs.undo` ask the service, and say what became of the rows."""

import json
from typing import Any

import pytest

from mlsys.cli import parser as cli
from mlsys.errors import InvalidRequest, TryAgain
from mlsys.remote import patience
from mlsys.remote.service import RefusedByService, Service
from mlsys.remote.undo import undone_lines
from mlsys.runs import Run, undo

ANSWER = {
    "run_id": "a-run",
    "env": "dev",
    "state": "undone",
    "by": "me@example.com",
    "why": "the wrong table",
    "undone_at": "2026-11-28T12:00:00+00:00",
    "already": False,
    "dry_run": False,
    "tables": [
        {
            "table": "p.d.t$20261122",
            "role": "output",
            "how": "restore",
            "rows_removed": 1_000,
            "rows_restored": 900,
        },
        {
            "table": "p.d.t_rejects",
            "role": "rejects",
            "how": "delete",
            "rows_removed": 2,
            "rows_restored": 0,
        },
    ],
}
WORDS = ["undo", "a-run", "--env", "dev", "--why", "the wrong table"]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Let a service answer at the second request; return the requests."""
    requests: list[Any] = []

    def ask(_: Service, path: str, params: Any, *, method: str, **__: Any) -> dict[str, Any]:
        requests.append((method, path, dict(params)))
        if "lost" in path:
            raise RefusedByService("lost was changed since", {"detail": "x"})
        if len(requests) == 1:
            raise TryAgain("BigQuery is busy")
        return ANSWER | {"dry_run": "dry_run" in params}

    monkeypatch.setattr(Service, "ask", ask)
    monkeypatch.setattr(patience.time, "sleep", lambda _: None)
    monkeypatch.setenv("MLSYS_URL", "http://127.0.0.1:9")
    return requests


def test_the_command_says_how_many_rows_go_and_return(
    asked: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(WORDS) == 0
    assert capsys.readouterr().out.splitlines() == [
        "a-run is undone",
        "  p.d.t$20261122: 1,000 rows were removed, 900 earlier rows brought back",
        "  p.d.t_rejects: 2 rows were removed",
    ]
    params = {"env": "dev", "why": "the wrong table"}
    assert asked == [("POST", "/runs/a-run/undo", params)] * 2
    assert cli.main([*WORDS, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("a-run can be undone; nothing was changed\n")
    assert "1,000 rows would be removed, 900 earlier rows brought back" in said
    assert asked[-1][2] == params | {"dry_run": "true"}
    assert cli.main([*WORDS, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == ANSWER


def test_the_command_names_the_table_that_keeps_rows_which_did_not_return() -> None:
    table = ANSWER["tables"][0] | {"rows_removed": 0, "rows_restored": 0, "copy": "p.d.undo_x"}
    assert undone_lines(ANSWER | {"tables": [table]})[1:] == [
        "  p.d.t$20261122: 0 rows were removed; others replaced them meanwhile: p.d.undo_x has the "
        "earlier rows for seven days"
    ]


def test_a_refusal_ends_the_command_with_one(
    asked: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["undo", "lost", "--env", "dev", "--why", "x"]) == 1
    assert capsys.readouterr().err == "mlsys: lost was changed since\n"
    with pytest.raises(SystemExit):
        cli.main(["undo", "lost", "--env", "dev"])
    assert "--why" in capsys.readouterr().err


def test_a_notebook_undoes_a_run_or_its_id(
    asked: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run({"run_id": "a-run", "env": "prod", "state": "succeeded"})
    assert undo(run, "the wrong table") == ANSWER
    assert asked[-1][2]["env"] == "prod"
    assert "1,000 rows were removed" in capsys.readouterr().err
    with pytest.raises(InvalidRequest, match="why: is None"):
        undo("a-run", None)  # type: ignore[arg-type]
