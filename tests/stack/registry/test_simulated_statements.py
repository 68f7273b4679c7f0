"""The simulator's statements do what those of `workers/sql` do on the local BigQuery."""

from __future__ import annotations

import json
import uuid
from random import Random
from typing import Any

import pytest
from google.cloud import bigquery

from mlsys.local.stack import LocalStack
from simulator.statements import FUNCTIONS, Replace, alias_key, model_key
from workers.query import run
from workers.sql import statement


class Both:
    """The local BigQuery and the simulator's tables, which get the same statements."""

    def __init__(self, stack: LocalStack) -> None:
        self.stack = stack
        self.tables: dict[str, list[dict[str, Any]]] = {"model_registry": [], "model_aliases": []}

    def change(self, name: str, keys: list[str], rows: list[dict[str, Any]]) -> None:
        given = {"keys": keys, "rows": json.dumps(rows)}
        change = FUNCTIONS[name](self.tables, given)
        assert isinstance(change, Replace)
        kept = [row for row in self.tables[change.table] if not change.deletes(row)]
        self.tables[change.table] = [*kept, *change.rows]
        self._run(name, given)

    def compare(self, name: str, **given: str) -> None:
        theirs = [dict(row.items()) for row in self._run(name, given)]
        ours = FUNCTIONS[name](self.tables, given)
        assert sorted(map(text, ours)) == sorted(map(text, theirs))

    def _run(self, name: str, given: dict[str, Any]) -> Any:
        parameters = [
            bigquery.ArrayQueryParameter(key, "STRING", value)
            if isinstance(value, list)
            else bigquery.ScalarQueryParameter(key, "STRING", value)
            for key, value in given.items()
        ]
        return run(self.stack.clients, "dev", statement(name), *parameters)


def text(row: dict[str, Any]) -> str:
    document = row.get("evidence")
    values = row | ({"evidence": json.loads(document)} if document else {})
    return json.dumps(values, default=lambda at: at.isoformat(), sort_keys=True)


@pytest.fixture
def both(stack: LocalStack) -> Both:
    return Both(stack)


def test_the_statements_agree_with_the_local_bigquery(both: Both) -> None:
    choose, model = Random(1), f"sim-{uuid.uuid4().hex[:8]}"
    for number in range(6):
        version = f"v{choose.randint(1, 2)}"
        row = {
            "model_name": model,
            "model_version": version,
            "version_number": 1,
            "environment": "dev",
            "gcs_uri": "gs://b/x",
            "generation": number,
            "verified_with": "x",
            "status": "ready",
            "registered_by": "event",
            "uploaded_at": "2026-03-01T00:00:00+00:00",
        } | ({"metadata_generation": 7} if choose.random() < 0.5 else {})
        keys = [model_key(row)] if choose.random() < 0.7 else []
        both.change("replace_models", keys, [row] if choose.random() < 0.8 else [])
        alias = {
            "model_name": model,
            "alias": "champion",
            "environment": "dev",
            "generation": choose.randint(1, 2),
            "deleted": choose.random() < 0.3,
            "moved_at": f"2026-03-01T00:00:0{number}+00:00",
            "source": "service",
            "learnt_by": "event",
        } | ({"evidence": {"a": [1]}, "forced": True, "version": version} if number % 2 else {})
        keys = [alias_key(alias)] if choose.random() < 0.7 else []
        both.change("replace_aliases", keys, [alias])
        both.compare("recorded_models", key=f"{model}/{version}")
        both.compare("version_status", model=model, version=version)
        both.compare("recorded_aliases", model=model, alias="champion")
    both.change("replace_models", [f"{model}/v1", f"{model}/v2"], [])
    keys = sorted(map(alias_key, both.tables["model_aliases"]))
    both.change("replace_aliases", keys, [])
    both.compare("recorded_models", key=f"{model}/v1")
    both.compare("recorded_aliases", model=model, alias="champion")
