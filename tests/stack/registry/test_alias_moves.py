"""Aliases on the local stack: moved by the library and the command line, dropped, and logged."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from google.cloud import bigquery
from sklearn.linear_model import LinearRegression

from app.auth import LOCAL_ACCOUNT
from mlsys.artifact.aliases import read_alias
from mlsys.artifact.refs import AliasRef
from mlsys.cli import main
from mlsys.cloud.clients import bigquery_retry, clients_for
from mlsys.errors import AliasNotFound, GuardRefused
from mlsys.local.stack import LocalStack
from mlsys.models import set_alias, upload_model
from mlsys.remote.service import RefusedByService, Service
from mlsys.settings.guards import read_guards
from registry_cases import ModelCase, model_case, notifications_lost
from workers.registry.move import Moved, MoveRequest, move_alias
from workers.registry.sync import rescan

DOCUMENT = Path(__file__).parents[3] / "docs" / "models.md"


@pytest.fixture
def case(stack: LocalStack, environment: dict[str, str]) -> Iterator[ModelCase]:
    with model_case(stack, "alias") as fresh:
        yield fresh
        fresh.sql("DELETE FROM model_aliases WHERE model_name = @name")


@pytest.fixture
def url(stack: LocalStack, monkeypatch: pytest.MonkeyPatch) -> str:
    assert stack.url is not None
    monkeypatch.setenv("MLSYS_URL", stack.url)
    return stack.url


def query(case: ModelCase, sql: str, **parameters: str) -> list[dict[str, Any]]:
    config = bigquery.QueryJobConfig(
        default_dataset=case.stack.settings.dataset("dev"),
        query_parameters=[
            bigquery.ScalarQueryParameter(name, "STRING", value)
            for name, value in parameters.items()
        ],
    )
    job = case.clients.bigquery.query(sql, job_config=config, timeout=30, retry=bigquery_retry())
    return [dict(row.items()) for row in job.result(timeout=30, retry=bigquery_retry())]


def log(case: ModelCase) -> list[dict[str, Any]]:
    sql = "SELECT * FROM model_aliases WHERE model_name = @name ORDER BY moved_at"
    return query(case, sql, name=case.name)


@pytest.mark.slow
def test_an_alias_is_moved_dropped_and_removed_and_keeps_its_history(
    case: ModelCase,
    url: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for version in ("v1", "v2"):
        case.upload(version=version)
    case.put(b"no model", "v3/model.pkl")
    case.settle()

    first = set_alias(case.name, "champion", "v1", expected="none", why="the first")
    assert (first.version, first.previous_version, first.moved) == ("v1", None, True)
    assert (first.who, first.why) == (LOCAL_ACCOUNT, "the first")
    with pytest.raises(RefusedByService, match="names v1, not v2. It was moved by local-stack@"):
        set_alias(case.name, "champion", "v2", expected="v2")
    with pytest.raises(RefusedByService, match="/v3 is rejected in dev"):
        set_alias(case.name, "champion", "v3")

    def command(*words: str) -> str:
        assert main(["alias", words[0], case.name, *words[1:], "--env", "dev"]) == 0
        return capsys.readouterr().out.strip()

    name = f"champion of {case.name} in dev"
    assert command("set", "champion", "v2", "--dry-run") == (
        f"{name}: v1 -> v2 is allowed; nothing was moved"
    )
    assert command("set", "champion", "v2", "--why", "better") == (
        f"{name}: v1 -> v2, by {LOCAL_ACCOUNT}"
    )
    assert command("set", "champion", "v2") == f"{name}: unchanged"
    case.put(json.dumps({"version": "v1", "who": "root@example.com"}), "aliases/champion.json")
    case.settle()
    [row] = command("list").splitlines()
    assert re.fullmatch(r"champion  v1  since \S+ \S+  by unknown: not by the service", row)
    bucket = case.clients.storage.bucket(case.bucket)
    assert read_alias(bucket, case.name, "champion").version == "v1"
    assert command("rm", "champion", "--why", "retired", "--expected", "v1") == (
        f"{name}: v1 -> removed, by {LOCAL_ACCOUNT}"
    )
    with pytest.raises(AliasNotFound):
        read_alias(bucket, case.name, "champion")
    assert command("list") == f"{case.name} has no alias in dev."

    case.settle()
    rows = log(case)
    seen = [(row["version"], row["who"], row["why"], row["source"]) for row in rows]
    assert seen == [
        ("v1", LOCAL_ACCOUNT, "the first", "service"),
        ("v2", LOCAL_ACCOUNT, "better", "service"),
        ("v1", None, None, "file"),
        (None, LOCAL_ACCOUNT, "retired", "service"),
    ]
    assert [row["previous_version"] for row in rows] == [None, "v1", "v2", "v1"]
    numbers = [row["generation"] for row in rows]
    assert [row["previous_generation"] for row in rows] == [None, *numbers[:-1]]
    evidence = rows[0]["evidence"]
    evidence = json.loads(evidence) if isinstance(evidence, str) else evidence
    assert evidence["registry"]["status"] == "ready"
    shown = json.loads(command("history", "champion", "--json"))
    assert [row["version"] for row in shown] == ["v1", "v2", "v1"]
    assert shown[0]["valid_to"] is not None and shown[2]["evidence"] == evidence
    assert len(command("history", "champion", "--limit", "2").splitlines()) == 3
    monkeypatch.setattr("mlsys.remote.lists.PAGE", 2)
    assert json.loads(command("history", "champion", "--json", "--limit", "9")) == shown

    command("set", "champion", "v1")
    case.delete("v1/model.pkl")
    case.settle()
    service = Service(url)
    answer = service.ask("/models", {"env": "dev", "model_name": case.name})
    gone = {"model_name": case.name, "alias": "champion", "version": "v1"}
    assert answer["broken_aliases"] == [gone]
    assert [(row["model_version"], row["aliases"]) for row in answer["models"]] == [
        ("v3", []),
        ("v2", []),
    ]
    assert "broken: " in command("list")
    path = f"/models/{case.name}/aliases/champion/history"
    assert [row["broken"] for row in service.ask(path, {"env": "dev"})["history"]] == [
        *(True, False, False, False),
    ]
    command("set", "champion", "v2")
    answer = service.ask("/models", {"env": "dev", "model_name": case.name})
    assert answer["broken_aliases"] == [] and answer["models"][1]["aliases"] == ["champion"]


@pytest.mark.slow
@pytest.mark.usefixtures("url")
def test_a_guard_asks_the_sandbox_the_ledgers_and_the_reports(case: ModelCase) -> None:
    X = pd.DataFrame({"x": np.linspace(0, 1, 20)})
    for version in ("v1", "v2"):
        model = LinearRegression().fit(X, X["x"])
        named = "last" if version == "v2" else None
        upload_model(model, case.name, version, X=X, y=X["x"], metrics={"mae": 0.25}, alias=named)
    model_blob = case.blob("v2")
    assert model_blob is not None
    crc32c, generation = model_blob.crc32c, int(model_blob.generation or 0)
    guard = {
        "movers": [LOCAL_ACCOUNT],
        "golden_rows": True,
        "runs": {"at_least": 1, "ledgers": [case.stack.settings.dataset("dev"), "p.nowhere"]},
        "metrics": {"mae": {"at_most": 0.3, "worse_by": 0, "better": "lower"}},
        "shadow": {"agreement": 1, "rows": 20},
    }
    text, errors = json.dumps({"dev": {f"{case.name}/champion": guard}}), list[str]()
    guards = read_guards(text, ("dev",), errors)
    assert not errors
    clients = clients_for(replace(case.stack.settings, alias_guards=guards))

    def move(version: str) -> Moved:
        ref = AliasRef(case.name, "champion")
        request = MoveRequest(ref, version, LOCAL_ACCOUNT, secrets.token_hex(16), why="x")
        return move_alias(clients, "dev", request)

    def refused(version: str) -> dict[str, Any]:
        with pytest.raises(GuardRefused) as caught:
            move(version)
        return {each["name"]: each["seen"] for each in caught.value.clauses if not each["ok"]}

    assert read_alias(case.clients.storage.bucket(case.bucket), case.name, "last").version == "v2"
    assert refused("v2") == {"runs": 0}
    set_alias(case.name, "champion", "v1")  # the service has no guard
    assert refused("v2") == {"runs": 0, "shadow": {"agreement": None, "rows": 0, "runs": 0}}
    shadow_run = f"{case.name}-shadow"
    shadow = {
        "model_version": "v2",
        "model_generation": generation,
        "report": {"rows": 20, "equal": 20},
    }
    runs = case.clients.storage.bucket(case.stack.settings.runs_bucket("dev"))
    runs.blob(f"{shadow_run}/result.json").upload_from_string(
        json.dumps({"shadow": shadow}), timeout=10
    )
    values = [
        f"'{case.name}-run', 'v2', 'succeeded', {generation}, '{crc32c}', 10, NULL",
        f"'{case.name}-failed', 'v2', 'failed', {generation}, '{crc32c}', NULL, NULL",
        f"""'{shadow_run}', 'v1', 'succeeded', 1, 'x', 20, JSON '{{"shadow": "v2"}}'""",
    ]
    tables = "@name, 'p.d.i', 'p.d.o', 'WRITE_APPEND', CURRENT_TIMESTAMP(), CURRENT_TIMESTAMP()"
    case.sql(
        "INSERT INTO prediction_runs (run_id, model_version, state, model_generation, "
        "model_crc32c, rows_scored, request, model_name, input_table, output_table, "
        "write_disposition, started_at, finished_at) VALUES "
        + ", ".join(f"({each}, {tables})" for each in values)
    )
    try:
        done = move("v2")
    finally:
        case.sql("DELETE FROM prediction_runs WHERE model_name = @name")
    seen = {each["name"]: each["seen"] for each in done.evidence["guard"]}
    assert seen["runs"] == 1  # the environment's own ledger is counted once
    assert seen["golden_rows"] > 0 and seen["metrics.mae.at_most"] == 0.25
    assert seen["shadow"] == {"agreement": 1, "rows": 20, "runs": 1}
    assert [row["guarded"] for row in log(case) if row["alias"] == "champion"] == [None, True]


def test_a_rescan_logs_what_lost_events_did_not(case: ModelCase, stack: LocalStack) -> None:
    with notifications_lost(stack):
        case.put('{"version": "v1", "why": "by hand"}', "aliases/champion.json")
        case.put('{"version": "v7"}', "aliases/latest.json")
        case.put("?", "aliases/challenger.json")
        result = rescan(case.clients, "dev")
    assert result.aliases >= 2 and result.alias_moves >= 2
    named = {each["object"]: each["reason"] for each in result.skipped}
    assert "not latest" in named[f"{case.name}/aliases/latest.json"]
    assert f"{case.name}/aliases/champion.json" not in named
    rows = {row["alias"]: row for row in log(case)}
    assert rows.keys() == {"champion", "challenger"}
    assert (rows["champion"]["version"], rows["champion"]["learnt_by"]) == ("v1", "rescan")
    assert "not JSON" in rows["challenger"]["problem"]
    with notifications_lost(stack):
        case.delete("aliases/champion.json")
        assert rescan(case.clients, "dev").alias_moves == 1
        assert rescan(case.clients, "dev").alias_moves == 0
    assert [row["deleted"] for row in log(case) if row["alias"] == "champion"] == [False, True]


def test_the_documented_query_says_what_was_production_and_who_moved_it(case: ModelCase) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    [sql] = [q for q in re.findall(r"```sql\n(.*?)```", text, re.S) if "alias_history" in q]
    assert "'titanic-survival'" in sql and "mlsys_prod." in sql and "2026-03-03" in sql
    sql = sql.replace("'titanic-survival'", "@name").replace("mlsys_prod.", "")
    moves = [  # moved at, version, who
        ("2026-03-01 08:00:00", "'v1'", "'ada@example.com'"),
        ("2026-03-03 09:30:00", "'v2'", "'bob@example.com'"),
        ("2026-03-03 10:00:00", "NULL", "NULL"),  # deleted
        ("2026-03-04 00:00:00", "'v3'", "'eve@example.com'"),
    ]
    values = ", ".join(
        f"(@name, 'champion', 'prod', TIMESTAMP '{at}', {version}, {who}, {number}, "
        f"{'TRUE' if version == 'NULL' else 'FALSE'}, 'service', 'move', CURRENT_TIMESTAMP())"
        for number, (at, version, who) in enumerate(moves)
    )
    case.sql(
        "INSERT INTO model_aliases (model_name, alias, environment, moved_at, version, who, "
        f"generation, deleted, source, learnt_by, recorded_at) VALUES {values}"
    )
    rows = query(case, sql, name=case.name)
    assert [(row["version"], row["who"]) for row in rows] == [
        ("v1", "ada@example.com"),
        ("v2", "bob@example.com"),
    ]
