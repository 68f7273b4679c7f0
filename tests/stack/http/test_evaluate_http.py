"""`GET /evaluate` over the local stack: metrics, their table and views, and refusals."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

from mlsys.artifact.refs import ModelRef
from mlsys.local.stack import LocalStack
from scoring_cases import Lab, unique
from workers.registry.evidence import measured_metrics
from workers.scoring.journal.store import RunStore

RNG = np.random.default_rng(5)
X = pd.DataFrame({"a": RNG.normal(size=60), "b": RNG.normal(size=60)})
Y = (X["a"] + RNG.normal(size=60) > 0).astype(int)
DATA = X.assign(id=range(60), name=[f"n{i}" for i in range(60)], pair=np.arange(60) // 2)
MODEL = LogisticRegression().fit(X, Y)
CHALLENGER = LogisticRegression().fit(X, (X["b"] > 0.3).astype(int))
OUTPUTS = "predict,predict_proba"


@pytest.fixture(scope="module")
def lab(stack: LocalStack) -> Iterator[Lab]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in stack.environment.items():
            patch.setenv(name, value)
        yield Lab(stack)


@pytest.fixture(scope="module")
def model(lab: Lab) -> str:
    name = unique("evaluated")
    lab.upload(CHALLENGER, X, name, "v2", target="survived")
    return lab.upload(MODEL, X, name, target="survived")


@pytest.fixture(scope="module")
def run(lab: Lab, model: str) -> dict[str, Any]:
    """Return the result of a run over the rows, which v2 scored too, with its ids."""
    more = {"outputs": OUTPUTS, "id_columns": "id,name,pair", "shadow": "v2"}
    return lab.here(lab.params(lab.put(DATA), model, **more)).done()


def query(run: dict[str, Any], labels: str, **more: str) -> dict[str, str]:
    known = {"env": "dev", "run_id": run["run_id"], "labels_table": labels, "label_column": "y"}
    return known | more


def rows_of(lab: Lab, sql: str) -> list[dict[str, Any]]:
    job = lab.clients.bigquery.query(sql.replace("mlsys_dev", lab.settings.dataset("dev")))
    return [dict(row.items()) for row in job.result(timeout=60)]


@pytest.mark.slow
def test_metrics_are_answered_and_kept_once_for_each_state_of_the_labels(
    lab: Lab, run: dict[str, Any]
) -> None:
    labels = lab.put(pd.DataFrame({"ID": range(10, 70), "y": [*Y[10:], *Y[:10]]}))
    params = query(run, labels, id_columns="id")
    answer = lab.http(params, "/evaluate")
    assert answer.status == 200, answer.text
    [row] = answer.json["evaluations"]
    assert answer.json["not_evaluated"] == []
    predicted, scores = MODEL.predict(X)[10:], MODEL.predict_proba(X)[10:]
    expected = {
        "accuracy": accuracy_score(Y[10:], predicted),
        "roc_auc": roc_auc_score(Y[10:], scores[:, 1]),
        "log_loss": log_loss(Y[10:], y_proba=scores),
    }
    assert {name: row[name] for name in expected} == pytest.approx(expected, rel=1e-9)
    about = {
        "task": "classification",
        "prediction_column": "survived",
        "id_columns": ["id"],
        "rows_evaluated": 50,
        "rows_without_label": 10,
        "labels_without_prediction": 10,
        "model_version": "v1",
        "rmse": None,
    }
    assert row | about == row
    assert row["details"]["positive_class"] == 1
    assert sum(b["rows"] for b in row["details"]["calibration"]) == 50
    again = lab.http(params, "/evaluate").json["evaluations"][0]
    assert again["evaluation_id"] == row["evaluation_id"]
    lab.put(pd.DataFrame({"ID": range(10), "y": Y[:10]}), labels)
    later = lab.http(params, "/evaluate").json["evaluations"][0]
    assert (later["rows_evaluated"], later["labels_without_prediction"]) == (60, 10)
    where = f"run_id = '{run['run_id']}'"
    kept = rows_of(
        lab,
        "SELECT rows_evaluated, accuracy, id_columns, TO_JSON_STRING(details) AS details "
        f"FROM `mlsys_dev.prediction_evaluations` WHERE {where} ORDER BY rows_evaluated",
    )
    assert [r["rows_evaluated"] for r in kept] == [50, 60]
    assert kept[0]["accuracy"] == pytest.approx(expected["accuracy"], rel=1e-12)
    assert kept[0]["id_columns"] == ["id"] and "calibration" in kept[0]["details"]
    latest = rows_of(
        lab, f"SELECT metric, value, rows_evaluated FROM `mlsys_dev.model_metrics` WHERE {where}"
    )
    assert {r["rows_evaluated"] for r in latest} == {60}
    assert len(latest) == 14 and {"f1", "brier"} < {r["metric"] for r in latest}
    shadow = lab.here(params | {"shadow": "true"}, "/evaluate").json["evaluations"][0]
    assert (shadow["model_version"], shadow["rows_evaluated"]) == ("v2", 60)
    of_v2 = CHALLENGER.predict(X)
    assert shadow["accuracy"] == pytest.approx(accuracy_score(Y, of_v2))
    of_file = ModelRef(run["model_name"], "v1"), run["model_generation"]
    column = f"{later['labels_table']}.{later['label_column']}"
    measured = measured_metrics(lab.clients, "dev", *of_file, column)
    assert measured["measured.rows"] == 60 and len(measured) == 15
    assert measured["measured.accuracy"] == pytest.approx(accuracy_score(Y, MODEL.predict(X)))
    assert measured_metrics(lab.clients, "dev", of_file[0], 5, column) == {}
    assert measured_metrics(lab.clients, "dev", *of_file, f"{column}2") == {}
    [mean] = rows_of(
        lab,
        "SELECT * FROM `mlsys_dev.model_version_metrics` WHERE metric = 'accuracy' "
        f"AND model_name = '{run['model_name']}' AND model_version = 'v1'",
    )
    assert (mean["runs"], mean["rows_evaluated"]) == (1, 60)
    assert mean["mean"] == pytest.approx(accuracy_score(Y, MODEL.predict(X)), rel=1e-9)


@pytest.mark.slow
def test_what_cannot_be_compared_is_refused_with_what_to_do(lab: Lab, run: dict[str, Any]) -> None:
    frame = pd.DataFrame({"id": range(60), "name": DATA["name"], "y": Y, "text": "x"})
    good, run_id = lab.put(frame), run["run_id"]

    def refused(labels: str = good, **more: str) -> Any:
        given = query(run, labels, id_columns="id") | more
        return lab.here({name: value for name, value in given.items() if value}, "/evaluate")

    assert refused().status == 200
    refused(run_id="nobody").problem(404, "run-not-found", "nobody does not exist in dev")
    refused(run_id="").problem(400, "invalid-request", "run_id: is missing")
    refused(model_name="m").problem(400, "invalid-request", "pass it without run_id")
    refused(since="x").problem(400, "invalid-request", "since: 'x': pass a date or a time")
    refused(labels=lab.name()).problem(404, "table-not-found", "The table with labels")
    refused(labels="other-project.a.b").problem(403, "not-allowed", "labels_table: the service may")
    refused(label_column="z").problem(422, "schema-mismatch", "no column z", "id, name, y, text")
    refused(label_column="text").problem(422, "schema-mismatch", "text: is STRING", "INT64")
    refused(id_columns="").problem(422, "schema-mismatch", "pair: is missing")  # of the request
    refused(id_columns="a").problem(400, "invalid-request", "pass any of id, name, pair")
    pairs = lab.put(frame.assign(pair=range(60)))
    several = refused(pairs, id_columns="pair").problem(422, "schema-mismatch", "60 rows of")
    assert "(pair=" in several["detail"] and "pass more id_columns" in several["detail"]
    refused(prediction_column="z").problem(400, "invalid-request", "pass one of survived")
    twice = lab.put(pd.concat([frame, frame[4:6]]))
    problem = refused(twice).problem(422, "schema-mismatch", "2 rows of", "pass a view with one")
    assert "id=4" in problem["detail"] and "id=5" in problem["detail"]
    others = lab.put(frame.assign(id=frame["id"] + 0.5))
    refused(others).problem(422, "schema-mismatch", "60 have no row with the same id")
    period = {"run_id": "", "model_name": run["model_name"], "since": "2026-12-01"}
    refused(**period, until="2026-11-01").problem(400, "invalid-request", "is not before until")
    for own in ("survived", "probability_0", "Run_ID"):
        own_label = refused(run["output_table"], label_column=own)
        own_label.problem(400, "invalid-request", "is what the run wrote: pass a column with")
    assert refused(lab.view(f"SELECT id, y FROM `{good}` WHERE id < 30")).status == 200
    # The run's plan without its result: it is at work, as far as anybody knows.
    copy = RunStore(lab.clients, "dev", unique("running"))
    plan = RunStore(lab.clients, "dev", run_id).read("plan.json")
    copy.create("plan.json", plan)
    refused(run_id=copy.run_id).problem(409, "conflict", "is running, and published no")


@pytest.mark.slow
def test_rows_are_told_apart_by_the_ids_that_the_model_was_uploaded_with(lab: Lab) -> None:
    name = lab.upload(MODEL, X, target="survived", id_columns=["pair", "half"])
    ids = pd.DataFrame({"pair": np.arange(60) // 2, "half": np.arange(60) % 2})
    run = lab.here(lab.params(lab.put(ids.join(X)), name)).done()
    answer = lab.here(query(run, lab.put(ids.assign(y=Y))), "/evaluate")
    [measured] = answer.json["evaluations"]
    assert measured["id_columns"] == ["pair", "half"] and measured["rows_evaluated"] == 60
    halves = lab.put(ids.drop(columns="half").assign(y=Y))
    lab.here(query(run, halves), "/evaluate").problem(422, "schema-mismatch", "not unique")


@pytest.mark.slow
def test_the_runs_of_a_period_are_evaluated_unless_their_rows_were_replaced(lab: Lab) -> None:
    name = lab.upload(LinearRegression().fit(X, X["b"]), X, unique("evaluated"), target="y_hat")
    table, output = lab.put(DATA), lab.name("output")
    labels = lab.put(DATA.assign(y=X["b"] + 1, id=DATA["id"] * 1.0)[["id", "y"]])
    whole = lab.here(lab.params(table, name)).done()
    first = lab.here(lab.params(table, name, output_table=output, where="id < 40")).done()
    more = {"output_table": output, "write_disposition": "WRITE_TRUNCATE"}
    last = lab.here(lab.params(table, name, where="id < 20", **more)).done()
    period = {"model_name": name, "since": "2020-01-01", "until": "2100-01-01T00:00:00+01:00"}
    params = query({"run_id": ""}, labels) | period
    del params["run_id"]
    answer = lab.here(params, "/evaluate")
    assert answer.status == 200, answer.text
    rows = {row["run_id"]: row for row in answer.json["evaluations"]}
    assert rows.keys() == {whole["run_id"], last["run_id"]}
    for run_id, count in ((whole["run_id"], 60), (last["run_id"], 20)):
        row = rows[run_id]
        assert (row["task"], row["rows_evaluated"]) == ("regression", count)
        for metric in ("rmse", "mae"):
            assert row[metric] == pytest.approx(1.0, rel=1e-9)
        assert row["mean_error"] == pytest.approx(-1.0, rel=1e-9)
    [refused] = answer.json["not_evaluated"]
    assert refused["run_id"] == first["run_id"]
    assert "wrote 40 rows" in refused["reason"] and "and 0 are there now" in refused["reason"]
    lab.here(query(first, labels), "/evaluate").problem(409, "conflict", "WRITE_TRUNCATE")
    for none in ({"model_version": "v7"}, {"since": "2099-01-01"}):
        lab.here(params | none, "/evaluate").problem(404, "run-not-found", "in this period")
