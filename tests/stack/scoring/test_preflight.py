"""`dry_run=true` gives one verdict without loading a row."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from google.cloud import bigquery
from sklearn.linear_model import LinearRegression

from mlsys.gcs import gcs_get, gcs_put
from mlsys.local.stack import LocalStack
from scoring_cases import Lab, unique
from workers import query
from workers.scoring.planning import input_counts, price

pytestmark = pytest.mark.usefixtures("environment")

ROWS = 50
X = pd.DataFrame({"a": np.linspace(0, 1, ROWS), "b": np.linspace(3, -2, ROWS)})
MODEL = LinearRegression().fit(X, X["a"])


@pytest.fixture(scope="module")
def lab(stack: LocalStack) -> Lab:
    return Lab(stack)


@pytest.fixture
def params(lab: Lab) -> dict[str, str]:
    return lab.params(lab.put(X.assign(id=range(ROWS))), lab.upload(MODEL, X), dry_run="true")


def verdict(lab: Lab, params: dict[str, str], **more: str) -> dict[str, Any]:
    answer = lab.here(params | more)
    assert answer.status == 200, answer.text
    return answer.json


@pytest.mark.slow
def test_a_verdict_names_the_run_that_a_request_would_start(
    lab: Lab, params: dict[str, str]
) -> None:
    answer = verdict(lab, params)
    assert answer["ok"]
    assert (answer["problems"], answer["warnings"]) == ([], [])
    assert not answer["run_exists"]
    assert answer["rows"] == ROWS
    assert sorted(answer["reads"]) == ["a", "b", "id"]
    assert answer["nulls"] == {}
    assert answer["duplicate_ids"] is None
    assert lab.objects(answer["run_id"]) == {}
    assert not lab.exists(params["output_table"])
    result = lab.here(params | {"dry_run": "false"}).done()
    assert result["run_id"] == answer["run_id"]
    again = verdict(lab, params)
    assert again["ok"] and again["run_exists"] and again["run_is_done"]
    assert again["run_id"] == result["run_id"]
    assert again["rows"] == ROWS


def test_a_finished_run_is_no_problem_although_its_table_now_has_rows(
    lab: Lab, params: dict[str, str]
) -> None:
    params |= {"write_disposition": "WRITE_EMPTY"}
    lab.here(params | {"dry_run": "false"}).done()
    answer = verdict(lab, params)
    assert answer["ok"] and answer["run_is_done"]
    lab.clients.bigquery.delete_table(params["input_table"], timeout=30)
    own = verdict(lab, params, run_id=answer["run_id"])
    assert own["ok"] and own["rows"] == ROWS


def test_a_failed_run_is_reported_with_the_reason_and_the_nulls(
    lab: Lab, params: dict[str, str]
) -> None:
    rows = X.assign(id=range(ROWS))
    rows.loc[:4, "a"] = np.nan
    params |= {"input_table": lab.put(rows)}
    lab.here(params | {"dry_run": "false"}).problem(422, "prediction-failed")
    answer = verdict(lab, params, check_ids="true", max_rejects="5")
    assert answer["ok"] and answer["run_exists"]
    failed, nulls = answer["warnings"]
    assert "its last try failed: At least 5 of 50 rows" in failed
    assert (answer["nulls"], answer["duplicate_ids"]) == ({"a": 5}, 0)
    assert nulls.startswith("a is NULL in 5 rows")


def test_a_table_that_requires_a_partition_filter_is_reported_without_one(
    lab: Lab, params: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The local BigQuery does not require one.

    https://cloud.google.com/bigquery/docs/querying-partitioned-tables#require_a_partition_filter_in_queries
    """
    monkeypatch.setattr(bigquery.Table, "require_partition_filter", True)
    monkeypatch.setattr(bigquery.Table, "time_partitioning", bigquery.TimePartitioning(field="day"))
    problem = verdict(lab, params)["problems"][0]
    assert "pass a condition on day" in problem["detail"]
    lab.here(params | {"dry_run": "false"}).problem(400, "invalid-request", "condition on day")
    answer = verdict(lab, params, where="id < 5", check_ids="true")
    assert answer["ok"]
    assert (answer["nulls"], answer["duplicate_ids"]) == (None, None)
    assert len(answer["warnings"]) == 2


def test_the_run_id_gets_a_suffix_after_the_output_was_deleted(
    lab: Lab, params: dict[str, str]
) -> None:
    first = lab.here(params | {"dry_run": "false"}).done()
    lab.clients.bigquery.delete_table(params["output_table"], timeout=30)
    answer = verdict(lab, params)
    assert answer["run_id"] == first["run_id"] + "-2"
    assert not answer["run_exists"]


def test_one_verdict_reports_problems_of_input_and_output(lab: Lab, params: dict[str, str]) -> None:
    answer = verdict(
        lab,
        params,
        input_table=lab.put(pd.DataFrame({"id": [1], "a": ["text"]})),
        output_table=f"{lab.project}.nowhere.out",
        where="nope < 3",
    )
    assert not answer["ok"]
    where, output = answer["problems"]
    assert "where" in where["detail"]
    assert "mlsys-local.nowhere" in output["detail"]
    answer = verdict(
        lab,
        params,
        input_table=lab.put(pd.DataFrame({"id": [1], "a": ["text"]})),
        output_table=f"{lab.project}.nowhere.out",
    )
    columns, output = answer["problems"]
    assert {c["name"] for c in columns["columns"]} == {"a", "b"}
    assert "mlsys-local.nowhere" in output["detail"]


def test_nulls_where_the_model_saw_none_are_counted(lab: Lab, params: dict[str, str]) -> None:
    rows = X.assign(id=range(ROWS))
    rows.loc[:4, "a"] = np.nan
    answer = verdict(lab, params, input_table=lab.put(rows))
    assert answer["ok"]
    assert answer["nulls"] == {"a": 5}
    assert answer["warnings"] == ["a is NULL in 5 rows, and the model saw no NULLs there"]
    filtered = verdict(lab, params, input_table=lab.put(rows), where="b < 0")
    assert "5 rows of the whole table" in filtered["warnings"][0]


def test_nulls_that_the_training_had_are_not_reported(lab: Lab, params: dict[str, str]) -> None:
    from sklearn.ensemble import HistGradientBoostingRegressor

    rows = X.assign(id=range(ROWS))
    rows.loc[:4, "a"] = np.nan
    model = HistGradientBoostingRegressor(max_iter=2).fit(rows[["a", "b"]], rows["b"])
    name = lab.upload(model, rows[["a", "b"]])
    answer = verdict(lab, params, input_table=lab.put(rows), model_name=name)
    assert (answer["nulls"], answer["warnings"]) == ({}, [])


def test_required_columns_are_not_counted(
    lab: Lab, params: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = [
        bigquery.SchemaField("id", "INTEGER"),
        bigquery.SchemaField("a", "FLOAT", "REQUIRED"),
        bigquery.SchemaField("b", "FLOAT", "REQUIRED"),
    ]
    table = lab.name()
    lab.clients.bigquery.create_table(bigquery.Table(table, fields), timeout=30)

    def refuse(*_: Any) -> None:
        raise AssertionError("a query ran")

    monkeypatch.setattr(input_counts, "select", refuse)
    assert verdict(lab, params, input_table=table)["nulls"] == {}


def test_an_expensive_count_is_left_to_the_caller(
    lab: Lab, params: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The local BigQuery does not estimate queries; here a dry run reports a large table."""
    terabytes = 3 * 2**40

    def large(clients: Any, sql: str) -> query.DryRun:
        return query.DryRun((), terabytes)

    for module in (input_counts, price):
        monkeypatch.setattr(module, "dry_run", large)
    answer = verdict(lab, params)
    assert answer["nulls"] is None
    assert "3,072 GiB" in answer["warnings"][0]
    assert answer["bytes"] == terabytes
    assert answer["price_usd"] == pytest.approx(3.30)
    assert "list price" in answer["price_basis"]


def test_duplicate_ids_are_counted_on_request(lab: Lab, params: dict[str, str]) -> None:
    rows = X.assign(id=[*range(ROWS - 3), 0, 0, 1])
    table = lab.put(rows)
    assert verdict(lab, params, input_table=table)["duplicate_ids"] is None
    answer = verdict(lab, params, input_table=table, check_ids="true")
    assert answer["duplicate_ids"] == 3
    assert "3 rows have the id of another row" in answer["warnings"][0]
    assert verdict(lab, params, check_ids="true")["duplicate_ids"] == 0


def test_check_ids_is_refused_without_dry_run(lab: Lab, params: dict[str, str]) -> None:
    request = params | {"dry_run": "false", "check_ids": "true"}
    body = lab.here(request).problem(400, "invalid-request", "dry_run=true")
    assert [p["name"] for p in body["parameters"]] == ["check_ids"]


def test_the_models_versions_are_listed_with_the_services(lab: Lab, params: dict[str, str]) -> None:
    bucket = lab.settings.models_bucket("dev")
    path = f"{params['model_name']}/v1/metadata.json"
    document = json.loads(gcs_get(bucket, path))
    here = document["versions"]["scikit-learn"]
    answer = verdict(lab, params)
    assert {"library": "scikit-learn", "model": here, "service": here} in answer["versions"]
    document["versions"]["scikit-learn"] = "1.2.3"
    gcs_put(json.dumps(document).encode(), bucket, path)
    answer = verdict(lab, params)
    assert {"library": "scikit-learn", "model": "1.2.3", "service": here} in answer["versions"]
    assert answer["warnings"] == [
        f"the model was saved with scikit-learn 1.2.3, and the service has {here}"
    ]


def test_the_run_id_of_another_request_is_refused(lab: Lab, params: dict[str, str]) -> None:
    own = params | {"run_id": unique("mine")}
    lab.here(own | {"dry_run": "false"}).done()
    lab.here(own | {"outputs": "predict", "write_disposition": "WRITE_TRUNCATE"}).problem(
        409, "conflict", own["run_id"], "write_disposition"
    )
