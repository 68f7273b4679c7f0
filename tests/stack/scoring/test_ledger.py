"""`prediction_runs` has one row for each finished run, whatever happened meanwhile."""

import threading
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from mlsys.errors import PredictionFailed, TryAgain
from mlsys.local.stack import LocalStack
from scoring_cases import Lab, unique
from workers.scoring.engines.run import execute
from workers.scoring.planning.find_run import prepare
from workers.scoring.publishing import ledger
from workers.scoring.publishing.cancellation import cancel

pytestmark = pytest.mark.usefixtures("environment")

X = pd.DataFrame({"a": np.linspace(0, 1, 50), "b": np.linspace(3, -2, 50)})
MODEL = LinearRegression().fit(X, X["a"])


@pytest.fixture(scope="module")
def lab(stack: LocalStack) -> Lab:
    return Lab(stack)


@pytest.fixture
def params(lab: Lab) -> dict[str, str]:
    return lab.params(lab.put(X.assign(id=range(50))), lab.upload(MODEL, X))


def rows(lab: Lab, params: dict[str, str], **more: str) -> list[dict[str, Any]]:
    """Return the rows of `GET /runs` for the request's model."""
    query = {"env": "dev", "model_name": params["model_name"]} | more
    answer = lab.here(query, "/runs")
    assert answer.status == 200, answer.text
    return answer.json["runs"]


def test_a_run_that_succeeded_is_in_the_ledger_with_its_figures(
    lab: Lab, params: dict[str, str]
) -> None:
    result = lab.http(params).done()
    [row] = rows(lab, params)
    same = ("run_id", "state", "model_version", "model_generation", "rows_read", "rows_rejected")
    same += (
        "bytes_read",
        "shards",
        "attempts",
        "path",
        "seconds",
        "job_id",
        "finished_at",
        "snapshot_at",
    )
    assert {name: row[name] for name in same} == {name: result[name] for name in same}
    assert row["rows_scored"] == result["rows"] == 50
    assert row["bytes_read"] >= 50 * 3 * 8
    assert row["started_at"] == result["predicted_at"]
    assert row["request"] == params
    assert row["failure"] is None


def test_a_reused_run_stays_one_row(lab: Lab, params: dict[str, str]) -> None:
    lab.here(params).done()
    before = rows(lab, params)
    assert lab.here(params).done()["reused"]
    assert rows(lab, params) == before


def test_the_model_of_an_output_row_is_found_by_one_join_on_run_id(
    lab: Lab, params: dict[str, str]
) -> None:
    result = lab.here(params).done()
    sql = f"""
        SELECT p.id, r.model_generation, r.model_crc32c
        FROM `{params["output_table"]}` AS p
        JOIN `{lab.project}.mlsys_dev.prediction_runs` AS r USING (run_id)
        WHERE p.id = 7
    """
    [row] = lab.clients.bigquery.query(sql, timeout=30).result(timeout=30)
    assert row["model_generation"] == result["model_generation"]


def test_a_run_that_failed_is_in_the_ledger_until_it_succeeds(
    lab: Lab, params: dict[str, str]
) -> None:
    bad = X.assign(id=range(50))
    bad.loc[3, "a"] = np.nan
    params["input_table"] = lab.put(bad)
    lab.here(params).problem(422, "prediction-failed")
    [row] = rows(lab, params)
    assert row["state"] == "failed"
    assert "Columns with NULLs: a" in row["failure"]
    assert row["rows_scored"] is None
    assert rows(lab, params, state="succeeded") == []
    lab.here(params | {"max_rejects": "1"}).done()
    [again] = rows(lab, params)
    assert again["state"] == "succeeded"
    assert (again["run_id"], again["attempts"]) == (row["run_id"], 2)
    assert again["rejects_table"] == params["output_table"] + "_rejects"
    assert again["request"] == params | {"max_rejects": "1"}
    assert rows(lab, params, state="failed") == []


def test_a_run_shows_what_it_goes_on_with_and_the_ledger_what_it_ended_with(
    lab: Lab, params: dict[str, str]
) -> None:
    bad = X.assign(id=range(50))
    bad.loc[3, "a"] = np.nan
    params["input_table"] = lab.put(bad)
    first = params | {"max_drift": "0.9", "contract": "warn"}
    second = params | {"max_drift": "0.8", "engine": "service"}
    third = params | {"max_rejects": "1", "contract": "off"}

    def shown(run_id: str) -> tuple[Any, Any]:
        status = lab.here({"env": "dev"}, f"/runs/{run_id}").json
        [row] = rows(lab, params)
        assert row["run_id"] == run_id
        return status["request"], row["request"]

    lab.here(first).problem(422, "prediction-failed")
    [row] = rows(lab, params)
    assert shown(row["run_id"]) == (first, first)
    lab.here(second).problem(422, "prediction-failed")
    repeated = params | {"max_drift": "0.8"}  # the engine is that of the plan
    assert shown(row["run_id"]) == (repeated, repeated)
    lab.here(third).done()
    assert shown(row["run_id"]) == (third, third)
    assert lab.here(first).done()["reused"]  # a repeat of a finished run changes nothing
    assert shown(row["run_id"]) == (third, third)


def test_a_run_that_was_killed_shows_what_its_last_try_tolerates(
    lab: Lab, params: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    prepared = prepare(lab.clients, lab.request(params))
    prepared.close()
    path = f"/runs/{prepared.plan.run_id}"
    assert lab.here({"env": "dev"}, path).json["request"] == params
    more = params | {"max_rejects": "2%", "contract": "warn"}
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("workers.scoring.engines.run.decide", crash)
        execute(lab.clients, prepare(lab.clients, lab.request(more)))
    assert lab.here({"env": "dev"}, path).json["request"] == more
    cancel(lab.clients, "dev", prepared.plan.run_id, by=None, why="enough")
    [row] = rows(lab, params)
    assert (row["state"], row["request"]) == ("cancelled", more)


def test_a_repeated_request_writes_the_ledger_row_that_a_crash_lost(
    lab: Lab, params: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("workers.scoring.engines.run.record", crash)
        execute(lab.clients, prepare(lab.clients, lab.request(params)))
    assert rows(lab, params) == []
    assert lab.here(params).done()["reused"]
    assert len(rows(lab, params)) == 1
    assert lab.count(params["output_table"]) == 50


def test_a_busy_ledger_is_a_503_and_every_row_is_written_once(
    lab: Lab, params: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_: Any) -> None:
        raise TryAgain("Too many concurrent changes to one BigQuery table: try again")

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "run", busy)
        lab.here(params).problem(503, "try-again")
    assert lab.here(params).done()["rows"] == 50
    assert lab.count(params["output_table"]) == 50
    assert len(rows(lab, params)) == 1


def test_a_failed_run_raises_its_own_error_even_if_the_ledger_is_busy(
    lab: Lab, params: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = X.assign(id=range(50), a=np.nan)
    params["input_table"] = lab.put(bad)

    def busy(*_: Any) -> None:
        raise TryAgain("Too many concurrent changes to one BigQuery table: try again")

    monkeypatch.setattr(ledger, "run", busy)
    with pytest.raises(PredictionFailed):
        execute(lab.clients, prepare(lab.clients, lab.request(params)))


def test_a_duplicate_or_stale_row_is_replaced(lab: Lab, params: dict[str, str]) -> None:
    """Two callers that insert at the same moment leave such rows: this DML never conflicts.

    https://cloud.google.com/bigquery/docs/data-manipulation-language#dml-limitations
    """
    result = lab.here(params).done()
    table = f"`{lab.project}.mlsys_dev.prediction_runs`"
    for state in ("succeeded", "failed"):
        sql = f"INSERT INTO {table} SELECT * REPLACE ('{state}' AS state) FROM {table} "
        sql += f"WHERE run_id = '{result['run_id']}' LIMIT 1"
        lab.clients.bigquery.query(sql, timeout=30).result(timeout=30)
    assert len(rows(lab, params)) == 3
    assert lab.here(params).done()["reused"]
    [row] = rows(lab, params)
    assert row["state"] == "succeeded"


def test_a_strict_caller_that_loses_to_a_lenient_one_does_not_record_a_failure(
    lab: Lab, params: dict[str, str]
) -> None:
    bad = X.assign(id=range(50))
    bad.loc[3, "a"] = np.nan
    params["input_table"] = lab.put(bad)
    strict = prepare(lab.clients, lab.request(params))
    lab.here(params | {"max_rejects": "1"}).done()
    strict.store.note("failure.json", {"state": "failed", "finished_at": "2026-01-01T00:00:00Z"})
    ledger.record(lab.clients, strict.store, strict.plan)
    assert [row["state"] for row in rows(lab, params)] == ["succeeded"]


def test_the_latest_runs_come_first_up_to_the_limit(lab: Lab, params: dict[str, str]) -> None:
    ids = [lab.here(params | {"run_id": unique("run")}).done()["run_id"] for _ in range(3)]
    assert [row["run_id"] for row in rows(lab, params)] == ids[::-1]
    assert [row["run_id"] for row in rows(lab, params, limit="2")] == ids[:0:-1]


@pytest.mark.slow
@pytest.mark.parametrize("just_ended", [False, True])
def test_concurrent_runs_leave_one_row_each(
    lab: Lab, params: dict[str, str], just_ended: bool
) -> None:
    lab.here(params).done()
    prepared = prepare(lab.clients, lab.request(params))
    delete = f"DELETE FROM `{lab.project}.mlsys_dev.prediction_runs` WHERE run_id = @run_id"
    from google.cloud import bigquery

    key = [bigquery.ScalarQueryParameter("run_id", "STRING", prepared.plan.run_id)]
    config = bigquery.QueryJobConfig(query_parameters=key)
    lab.clients.bigquery.query(delete, job_config=config, timeout=30).result(timeout=30)
    failed: list[Exception] = []

    def record() -> None:
        try:
            ledger.record(lab.clients, prepared.store, prepared.plan, just_ended=just_ended)
        except Exception as exc:
            failed.append(exc)

    threads = [threading.Thread(target=record) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert all(isinstance(exc, TryAgain) for exc in failed), failed
    assert len(rows(lab, params)) == 1


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ({"env": "dev", "limit": "0"}, "limit"),
        ({"env": "dev", "limit": "many"}, "limit"),
        ({"env": "dev", "state": "odd"}, "state"),
        ({"env": "dev", "sort": "odd"}, "sort"),
        ({"env": "dev", "model_name": "Titanic"}, "model_name"),
        ({}, "env"),
        ({"env": "prod"}, "env"),
    ],
)
def test_a_malformed_query_of_the_ledger_is_refused(
    lab: Lab, query: dict[str, str], named: str
) -> None:
    body = lab.here(query, "/runs").problem(400, "invalid-request")
    assert [p["name"] for p in body["parameters"]] == [named]
