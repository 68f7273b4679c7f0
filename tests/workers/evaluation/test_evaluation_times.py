"""Dates and times as labels of predicted texts: one spelling in Python and in BigQuery."""

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import accuracy_score, log_loss

from mlsys.local.stack import LocalStack
from scoring_cases import Lab
from workers.evaluation.times import prediction_sql, time_text

TEXTS = (
    *("2026-11-01", "2026-11-01T09:30:00", "2026-11-01 09:30:00.5", "2026-11-01T09:30:00.123456"),
    *("2026-11-01T00:00:00.000000000", "20261101", "2026-02-30", "2026-11-01T09:30:00Z", "", "x"),
    *("2026-11-01T09:30", "0001-01-01", "9999-12-31T23:59:59.999999"),
)


@pytest.fixture(scope="module")
def lab(stack: LocalStack) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in stack.environment.items():
            patch.setenv(name, value)
        yield Lab(stack)


def test_a_text_has_one_spelling_as_a_class_and_in_the_query(lab: Lab) -> None:
    sql = f"SELECT x, {prediction_sql('x')} AS y FROM UNNEST({list(TEXTS)}) AS x"
    rows = lab.clients.bigquery.query(sql).result(timeout=60)
    assert {row["x"]: row["y"] for row in rows} == {text: time_text(text) for text in TEXTS}


@pytest.mark.slow
@pytest.mark.parametrize("unit", ["D", "s", "ns"])
def test_classes_that_are_times_are_compared_with_labels_that_are(lab: Lab, unit: str) -> None:
    rng = np.random.default_rng(3)
    X = pd.DataFrame({"a": rng.normal(size=60)})
    days = np.array(["2026-11-01", "2026-12-24"], "datetime64[D]").astype(f"datetime64[{unit}]")
    right = days[(X["a"] + rng.normal(size=60) > 0).astype(int)]
    model = RandomForestClassifier(n_estimators=3, max_depth=2, random_state=0).fit(X, right)
    name = lab.upload(model, X, target="day")
    rows = X.assign(id=range(60))
    run = lab.here(lab.params(lab.put(rows), name, outputs="predict,predict_proba")).done()
    stamps = pd.Series(right.astype("datetime64[us]"))
    labels: dict[str, Any] = {
        "DATE": [moment.date() for moment in stamps],
        "DATETIME": stamps,
        "TIMESTAMP": stamps.dt.tz_localize(dt.UTC),
    }
    for kind, values in labels.items():
        table = lab.put(pd.DataFrame({"id": range(60), "day": values}))
        query = {
            "env": "dev",
            "run_id": run["run_id"],
            "labels_table": table,
            "label_column": "day",
        }
        answer = lab.here(query, "/evaluate")
        assert answer.status == 200, (kind, answer.text)
        [measured] = answer.json["evaluations"]
        assert measured["rows_evaluated"] == 60
        predicted = model.predict(X)
        assert measured["accuracy"] == pytest.approx(accuracy_score(right, predicted))
        expected = log_loss(right.astype(str), model.predict_proba(X))
        assert measured["log_loss"] == pytest.approx(expected, rel=1e-9)
        assert measured["details"]["notes"] == []
        assert measured["details"]["positive_class"] == "2026-12-24T00:00:00.000000"
