"""`mlsys models`, `mlsys runs` and `mlsys compare` print what the service lists."""

import io
import json
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from mlsys.cli import parser as cli
from mlsys.cli.tables import pairs, table
from mlsys.registry import removal
from mlsys.remote.service import RefusedByService, Service
from mlsys.runs import costs

MODELS = [
    {
        "model_name": name,
        "model_version": version,
        "status": status,
        "status_reason": None if status == "ready" else "its golden rows differ",
        "uploaded_at": "2026-11-28T12:00:00.123456+00:00",
        "size_bytes": 2_793,
        "model_class": "Pipeline(Ridge)",
        "generation": 1795889426214041,
        "metrics": {"r2": 0.51234567} if status == "ready" else None,
    }
    for name, version, status in (
        ("diabetes", "v1", "ready"),
        ("titanic", "v2", "rejected"),
        ("titanic", "v1", "ready"),
    )
]
RUNS = [
    {
        "run_id": f"titanic-v1-{number}",
        "state": state,
        "model_version": "v1",
        "rows_scored": 418 if state == "succeeded" else None,
        "seconds": 1.5,
        "finished_at": "2026-11-28T12:00:00+00:00",
        "output_table": "my-project.titanic.scored",
        "failure": None if state == "succeeded" else "no memory\nat all",
    }
    for number, state in enumerate(("succeeded", "failed"))
]
WORKING = [
    {
        "run_id": "titanic-v1-2",
        "state": "running",
        "stage": "reading",
        "model_version": "v1",
        "seconds": 7.5,
        "finished_at": None,
        "output_table": "my-project.titanic.scored",
    }
]
STATUS = {
    "run_id": "titanic-v1-0",
    "env": "dev",
    "state": "running",
    "request": {"input_table": "a.b.c"},
    "rows_done": 1_000,
    "rows_total": None,
    "rows_rejected": 0,
    "shards_done": 1,
    "shards_total": None,
}
COSTS = [
    {
        "month": "2026-11",
        "model_name": name,
        "runs": runs,
        "rows_scored": 1_000 * runs,
        "bytes_billed": runs * 2**40,
        "estimated_cost": 1.1 * runs,
        "vcpu_seconds": 12.3456789,
    }
    for name, runs in (("titanic", 3), ("diabetes", 1))
]
FACTS = {
    "metrics": [{"name": "r2", "a": 0.5, "b": 0.75, "differs": True, "change": 0.25}],
    "parameters": [{"name": "alpha", "a": "1.0", "b": "x" * 100, "differs": True}],
    "columns": [],
    "contract": [{"name": "Age in_range", "a": "warn: 0..120", "b": None, "differs": True}],
    "versions": [],
    "profile": [],
    "about": [],
    "runs": [],
    "notes": ["v1 has no metadata.json"],
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, str]]]:
    """Let a service answer; return the requests."""
    requests: list[tuple[str, dict[str, str]]] = []

    def ask(_: Service, path: str, params: Any = None, **__: Any) -> dict[str, Any]:
        requests.append((path, dict(params)))
        if path == "/models":
            name = params.get("model_name")
            rows = [row for row in MODELS if name in (None, row["model_name"])]
            return {"models": rows, "next": None}
        if "sum" in params:
            return {"costs": COSTS, "price_basis": "US list prices"}
        if path == "/runs":
            if params.get("state") == "running":
                return {"runs": WORKING, "next": None}
            last = "after" in params
            rows = [] if last else RUNS[: int(params["limit"])]
            return {"runs": rows, "next": None if last else "1.a"}
        if path.endswith("/compare"):
            return {"model_name": "titanic", "a": "v1", "b": "v2"} | FACTS
        if path == "/runs/titanic-v1-0":
            return STATUS
        body = {"type": "urn:mlsys:problem:x", "parameters": [{"name": "b", "problem": "is odd"}]}
        raise RefusedByService("The run x does not exist in dev", body)

    monkeypatch.setattr(Service, "ask", ask)
    monkeypatch.setenv("MLSYS_URL", "http://127.0.0.1:9")
    return requests


def test_models_lists_each_model_by_its_newest_version(
    asked: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["models", "--env", "dev"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "MODEL     LATEST  STATUS    VERSIONS  UPLOADED (UTC)       CLASS",
        "diabetes  v1      ready            1  2026-11-28 12:00:00  Pipeline(Ridge)",
        "titanic   v2      rejected         2  2026-11-28 12:00:00  Pipeline(Ridge)",
    ]
    assert asked == [("/models", {"env": "dev", "limit": "1000"})]


def test_models_lists_the_versions_of_one_model_and_shows_one_version(
    asked: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["models", "titanic", "--env", "dev", "--status", "ready"]) == 0
    assert asked[0][1]["status"] == "ready"
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.split()[:2] == ["VERSION", "STATUS"]
    assert "its golden rows differ" in second and "r2 0.512346" in third
    assert cli.main(["models", "titanic", "v2", "--env", "dev"]) == 0
    said = capsys.readouterr().out
    assert "status_reason  its golden rows differ\n" in said and "1795889426214041\n" in said
    assert cli.main(["models", "titanic", "v9", "--env", "dev"]) == 1
    assert "titanic v9 is not in dev: it has v2, v1 there" in capsys.readouterr().err
    assert cli.main(["models", "other", "--env", "dev"]) == 0
    assert capsys.readouterr().err == "other has no version in dev.\n"


def test_json_is_the_services_rows(asked: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    for words, rows in (
        (["models"], MODELS),
        (["runs"], WORKING + RUNS),
        (["models", "diabetes"], MODELS[:1]),
    ):
        assert cli.main([*words, "--env", "dev", "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == rows
    assert cli.main(["runs", "titanic-v1-0", "--env", "dev", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == STATUS


def test_runs_lists_the_runs_by_filters(
    asked: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["runs", "--env", "dev", "--model-name", "titanic", "--state", "failed"]
    assert cli.main([*words, "--limit", "2"]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[1:] == [
        "titanic-v1-0  succeeded  v1        418      1.5  2026-11-28 12:00:00  "
        "my-project.titanic.scored",
        "titanic-v1-1  failed     v1                 1.5  2026-11-28 12:00:00  no memory at all",
    ]
    assert "pass a larger --limit" in said.err
    params = {"env": "dev", "model_name": "titanic", "state": "failed", "limit": "2"}
    assert asked == [("/runs", params)]


def test_runs_lists_those_that_work_first(
    asked: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["runs", "--env", "dev", "--limit", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == [
        *("titanic-v1-2", "running", "v1", "7.5", "reading", "my-project.titanic.scored")
    ]
    assert lines[2].startswith("titanic-v1-0") and len(lines) == 3
    assert cli.main(["runs", "--env", "dev", "--state", "running", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == WORKING


def test_runs_sums_what_they_cost(asked: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["runs", "--env", "dev", "--costs", "--months", "3"]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[:2] == [
        "MONTH    MODEL     RUNS   ROWS              BYTES  USD  VCPU SECONDS",
        "2026-11  titanic      3  3,000  3,298,534,883,328  3.3       12.3457",
    ]
    assert said.err == "USD: US list prices.\n"
    assert asked == [("/runs", {"env": "dev", "sum": "month", "months": "3"})]
    assert costs(months=3)["bytes_billed"].tolist() == [3 * 2**40, 2**40]
    for wrong, reason in (
        (["--costs", "--limit", "3"], "adds up all runs: leave out --limit"),
        (["--months", "3"], "works only with --costs"),
        (["x", "--costs"], "names one run: leave out --costs"),
    ):
        assert cli.main(["runs", "--env", "dev", *wrong]) == 1
        assert reason in capsys.readouterr().err


def test_runs_shows_one_run(asked: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["runs", "titanic-v1-0", "--env", "dev"]) == 0
    assert "rows_done      1,000\n" in capsys.readouterr().out
    assert cli.main(["runs", "x", "--env", "dev"]) == 1
    assert capsys.readouterr().err == "mlsys: The run x does not exist in dev\n  b: is odd\n"
    assert cli.main(["runs", "x", "--env", "dev", "--state", "failed"]) == 1
    assert "names one run: leave out --state" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("end", "lines"),
    [
        (
            {
                "state": "undone",
                "result": {"state": "succeeded", "finished_at": "2026-11-28T12:00:00+00:00"},
                "undo": {"by": "ada", "why": "wrong", "undone_at": "2026-11-29T01:00:00+00:00"},
            },
            [
                *("state undone", "finished_at 2026-11-28 12:00:00"),
                *("undone_at 2026-11-29 01:00:00", "undone_by ada", "undone_why wrong"),
            ],
        ),
        (
            {
                "state": "cancelled",
                "cancellation": {"detail": "why", "cancelled_at": "2026-11-29T01:00:00+00:00"},
            },
            ["state cancelled", "failure why", "finished_at 2026-11-29 01:00:00"],
        ),
    ],
)
def test_a_run_that_was_undone_or_cancelled_says_when_and_why(
    asked: list[Any],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    end: dict[str, Any],
    lines: list[str],
) -> None:
    for name, value in end.items():
        monkeypatch.setitem(STATUS, name, value)
    assert cli.main(["runs", "titanic-v1-0", "--env", "dev"]) == 0
    said = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert [line for line in said if line in lines] == lines


def test_compare_prints_each_section_that_differs(
    asked: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["compare", "titanic", "v1", "v2", "--env", "dev", "--all"]) == 0
    said = capsys.readouterr()
    assert said.out.split("\n\n")[0] == "METRIC   v1    v2  CHANGE\nr2      0.5  0.75    0.25"
    assert f"alpha      1.0  {'x' * 60}...\n" in said.out
    assert "CONTRACT      v1            v2\nAge in_range  warn: 0..120" in said.out
    assert said.err == "note: v1 has no metadata.json\n"
    assert asked == [
        ("/models/titanic/compare", {"env": "dev", "a": "v1", "b": "v2", "all": "true"})
    ]


# Removal


@pytest.fixture
def removed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let versions be looked up and removed; return those that were."""
    gone: list[str] = []
    monkeypatch.setattr("mlsys.cloud.clients.default_clients", lambda: None)

    def look(_: Any, env: str, ref: Any) -> Any:
        return SimpleNamespace(ref=ref, urls=[f"gs://b/{ref.path}"], latest="v2")

    def remove(found: Any) -> list[str]:
        gone.append(str(found.ref))
        return ["champion"] if found.ref.version == "v9" else []

    monkeypatch.setattr(removal, "look", look)
    monkeypatch.setattr(removal, "remove", remove)
    return gone


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("typed", "code"), [("y\n", 0), ("yes\n", 0), ("n\n", 1), ("", 1)])
def test_rm_asks_before_it_deletes(
    removed: list[str], monkeypatch: pytest.MonkeyPatch, typed: str, code: int
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(typed))
    assert cli.main(["models", "rm", "titanic", "v3", "--env", "dev"]) == code
    assert removed == ([] if code else ["titanic/v3"])


def test_rm_without_a_terminal_needs_yes_and_says_what_the_registry_will_do(
    removed: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    words = ["models", "rm", "titanic", "v3", "--env", "dev"]
    assert cli.main(words) == 1 and removed == []
    assert "pass --yes to delete it" in capsys.readouterr().err
    assert cli.main([*words, "--yes"]) == 0 and removed == ["titanic/v3"]
    said = capsys.readouterr().out
    assert said.startswith("titanic/v3 is deleted from dev; latest means v2.\n")
    assert "The registry removes its row" in said
    assert cli.main(["models", "rm", "titanic", "v9", "--env", "dev", "--yes"]) == 1
    assert "the alias champion was moved to v9 meanwhile" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["rm", "titanic", "v3", "--env", "dev", "--yes"],
        ["--env", "dev", "rm", "titanic", "v3", "--yes"],
        ["rm", "--env", "dev", "titanic", "--yes", "v3"],
    ],
)
def test_words_and_options_come_in_any_order(removed: list[str], words: list[str]) -> None:
    assert cli.main(["models", *words]) == 0
    assert removed == ["titanic/v3"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["rm", "titanic"], "takes a name and a version"),
        (["rm", "titanic", "3", "--yes"], "model_version: '3': pass v1"),
        (["titanic", "v1", "v2"], "takes a name and a version, not 3 words"),
        (["titanic", "--yes"], "is for `mlsys models rm NAME VERSION`"),
    ],
)
def test_other_words_are_refused(
    asked: list[Any],
    removed: list[str],
    words: list[str],
    says: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["models", *words, "--env", "dev"]) == 1
    assert says in capsys.readouterr().err and removed == []


def test_a_table_shows_control_characters_of_others_as_spaces() -> None:
    assert table(["A"], [["x\x1b[31m\ny"]]) == "A\nx [31m y"
    assert pairs({"a": None, "b": "x\ny", "cc": 1_000}) == "b   x y\ncc  1,000"
