"""`GET /check` over the local stack: what is broken is named, and nothing else fails."""

import json

import pytest
import requests
from google.cloud import bigquery

from mlsys.doctor.shared import TABLES
from mlsys.local.stack import LocalStack
from workers import checks

IDS = [
    *("apis", *TABLES, "queries", "clock", "read-session"),
    *("models-bucket", "runs-bucket", "aliases", "location", "datasets"),
    *("publish-predictions", "publish-events", "run-job", "walls", "machine"),
]


def failing(stack: LocalStack) -> dict[str, str]:
    return {f.id: f.seen for f in checks.check(stack.clients, "dev") if f.state == "failed"}


def test_the_service_checks_all_that_it_needs(stack: LocalStack) -> None:
    answer = requests.get(f"{stack.url}/check", params={"env": "dev"}, timeout=60)
    assert answer.status_code == 200
    body = answer.json()
    assert [check["id"] for check in body["checks"]] == IDS
    states = {check["id"]: check["state"] for check in body["checks"]}
    assert {id for id, state in states.items() if state != "ok"} <= {"walls"}, json.dumps(body)
    assert body["ok"] is True


def test_another_environment_is_refused(stack: LocalStack) -> None:
    answer = requests.get(f"{stack.url}/check", params={"env": "prod"}, timeout=60)
    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("id", "table"), [("registry-table", "model_registry"), ("ledger-table", "prediction_runs")]
)
def test_a_missing_column_is_named(
    stack: LocalStack, monkeypatch: pytest.MonkeyPatch, id: str, table: str
) -> None:
    get = bigquery.Client.get_table

    def older(self: bigquery.Client, name: str, **options: object) -> bigquery.Table:
        existing = get(self, name, **options)
        if name.endswith(table):
            existing.schema = [field for field in existing.schema if field.name != "loader"]
        return existing

    monkeypatch.setattr(bigquery.Client, "get_table", older)
    fails = failing(stack)
    assert list(fails) == [id]
    assert "loader is missing" in fails[id]
