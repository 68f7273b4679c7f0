"""A run says how its rows differ from the training data, once, and can stop before it publishes."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from mlsys.local.stack import LocalStack
from scoring_cases import Lab
from workers.monitoring.drift import js_distance
from workers.scoring.publishing import profile as profiles

pytestmark = pytest.mark.usefixtures("environment")

RANDOM = np.random.default_rng(0)


def frame(rows: int, shift: float = 0.0) -> pd.DataFrame:
    random = np.random.default_rng(rows)
    table = pd.DataFrame({"id": range(rows), "fare": random.normal(shift, size=rows)})
    table["sex"] = random.integers(0, 2, rows)
    table.loc[::7, "age"] = 30.0  # the others are NULL
    return table


X = frame(800)[["fare", "sex"]]
MODEL = LogisticRegression().fit(X, np.where(X["fare"] > 0.5, "yes", "no"))


@pytest.fixture(scope="module")
def lab(stack: LocalStack) -> Lab:
    return Lab(stack)


def recorded(lab: Lab, run_id: str) -> list[dict[str, Any]]:
    """Return the rows of a run in `prediction_profiles`, in the order of its columns."""
    sql = (
        "SELECT * EXCEPT (bins), TO_JSON_STRING(bins) AS bins FROM mlsys_dev.prediction_profiles "
        f"WHERE run_id = '{run_id}' ORDER BY role, position"
    )
    return [dict(row.items()) for row in lab.clients.bigquery.query(sql).result()]


def test_a_run_whose_input_has_drifted_says_so_everywhere(lab: Lab) -> None:
    model = lab.upload(MODEL, X)
    table = lab.put(frame(400, shift=2.0))
    params = lab.params(table, model, max_drift="0.5")
    compared = lab.here(params | {"dry_run": "true"}).json["drift"]
    assert (compared["reference"], compared["columns"]) == ("training", 3)
    assert (compared["features"], compared["predictions"]) == (["fare", "sex"], ["prediction"])

    refused = lab.here(params)
    assert refused.status == 422
    assert refused.json["type"].endswith("input-drifted")
    assert "further than max_drift=0.5 from the training data: fare 0." in refused.json["detail"]
    run_id = lab.here(params | {"dry_run": "true"}).json["run_id"]
    parts = lab.objects(f"{run_id}/parts/")
    assert parts
    assert not lab.exists(params["output_table"])
    assert recorded(lab, run_id) == []

    result = lab.here(params | {"max_drift": "0.95"}).done()
    assert result["run_id"] == run_id
    assert lab.objects(f"{run_id}/parts/") == parts  # nothing was scored again
    assert result["drift"]["level"] == "drift"
    assert result["drift"]["text"].startswith("2 of 3 columns (fare 0.")
    rows = recorded(lab, run_id)
    assert [row["column_name"] for row in rows] == ["fare", "sex", "prediction"]
    fare = rows[0]
    bins = json.loads(fare["bins"])
    assert fare["distance"] == pytest.approx(
        js_distance([b["rows"] for b in bins], [b["before"] for b in bins])
    )
    assert (fare["level"], fare["row_count"], fare["reference"]) == ("drift", 400, "training")
    assert float(fare["max_value"]) == frame(400, 2.0)["fare"].max()
    assert rows[1]["level"] == "ok"

    again = lab.here(params).done()  # the run is done: what it published counts
    assert again["reused"]
    assert recorded(lab, run_id) == rows


def test_rows_that_a_killed_caller_did_not_write_are_written_by_the_next(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, table = lab.upload(MODEL, X), lab.put(frame(300))
    params = lab.params(table, model)

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(profiles, "insert_rows", killed)
        with pytest.raises(KeyboardInterrupt):
            lab.here(params)
    result = lab.here(params).done()
    assert not result["reused"]  # the rows are written before the result
    rows = recorded(lab, result["run_id"])
    assert [row["level"] for row in rows] == ["ok", "ok", "ok"]
    lab.here(params).done()
    assert recorded(lab, result["run_id"]) == rows


@pytest.mark.slow
def test_a_model_without_a_profile_is_compared_with_its_last_run(lab: Lab) -> None:
    model = lab.put_pickle(MODEL)
    table = lab.put(frame(400)[["id", "fare", "sex"]])
    first, _ = lab.score(table, model, id_columns="id")
    assert first["drift"]["text"] == "nothing to compare with yet"
    moved = lab.put(frame(400, 3.0)[["id", "fare", "sex"]])
    second, _ = lab.score(moved, model, id_columns="id")
    assert second["drift"]["text"].startswith("1 of 1 column (prediction 0.")
    [row] = recorded(lab, second["run_id"])
    assert (row["reference"], row["reference_rows"]) == (first["run_id"], 400)

    off, _ = lab.score(table, model, id_columns="id", profile="false")
    assert off["drift"] is None
    assert recorded(lab, off["run_id"]) == []

    sql = f"SELECT * FROM mlsys_dev.prediction_drift WHERE model_name = '{model}'"
    seen = {row["run_id"]: row for row in lab.clients.bigquery.query(sql).result()}
    assert set(seen) == {first["run_id"], second["run_id"]}
    assert seen[first["run_id"]]["distance_previous"] is None
    previous = seen[second["run_id"]]
    assert previous["previous_run_id"] == first["run_id"]
    assert previous["distance_previous"] == pytest.approx(row["distance"])
    assert previous["distance_week"] is None


@pytest.mark.slow
def test_the_profile_of_a_run_and_the_drift_of_a_models_runs_are_answered(lab: Lab) -> None:
    model = lab.upload(MODEL, X)
    runs = []
    for number, shift in enumerate((0.0, 2.0)):
        table = lab.put(frame(100 + number, shift))
        runs.append(lab.here(lab.params(table, model)).done()["run_id"])
    path = f"/runs/{runs[1]}/profile"
    profile = lab.here({"env": "dev"}, path).json
    assert (profile["run_id"], profile["model_name"]) == (runs[1], model)
    first, *others = profile["columns"]
    assert (first["column_name"], first["level"], first["row_count"]) == ("fare", "drift", 101)
    assert {row["column_name"] for row in others} == {"sex", "prediction"}
    assert sum(b["rows"] for b in first["bins"]) == 101
    answer = lab.here({"env": "dev", "runs": "5"}, f"/models/{model}/drift").json
    assert not answer["more"] and len(answer["columns"]) == 6
    assert [row["run_id"] for row in answer["columns"]] == [runs[1]] * 3 + [runs[0]] * 3
    latest = answer["columns"][0]
    assert (latest["column_name"], latest["previous_run_id"]) == ("fare", runs[0])
    assert latest["distance"] == pytest.approx(first["distance"])
    assert latest["distance_previous"] > 0.2 and latest["distance_week"] is None
    one = lab.here({"env": "dev", "runs": "1"}, f"/models/{model}/drift").json["columns"]
    assert {row["run_id"] for row in one} == {runs[1]}
    unknown = lab.here({"env": "dev", "model_version": "v9"}, f"/models/{model}/drift")
    unknown.problem(404, "model-not-found")
    lab.here({"env": "dev"}, "/runs/nobody/profile").problem(404, "run-not-found")
    for earlier, days, copied in (("week", 7, runs[0]), ("days", 6, runs[1])):
        lab.clients.bigquery.query(
            "INSERT INTO mlsys_dev.prediction_profiles SELECT * REPLACE "
            f"('{earlier}-{model}' AS run_id, TIMESTAMP_SUB(predicted_at, INTERVAL {days} DAY) AS "
            f"predicted_at) FROM mlsys_dev.prediction_profiles WHERE run_id = '{copied}'"
        ).result()
    rows = lab.here({"env": "dev", "runs": "5"}, f"/models/{model}/drift").json["columns"]
    fare = {row["run_id"]: row for row in rows if row["column_name"] == "fare"}
    seen = [fare[run][name] for run in runs for name in ("previous_run_id", "week_run_id")]
    assert seen == [f"days-{model}", f"week-{model}", runs[0], f"week-{model}"]
    before = recorded(lab, runs[0])[0]["bins"], recorded(lab, runs[1])[0]["bins"]
    counts = [[item["rows"] for item in json.loads(bins)] for bins in before]
    distance = js_distance(*counts)
    assert distance > 0.2
    assert fare[runs[0]]["distance_previous"] == pytest.approx(distance)
    assert fare[runs[1]]["distance_week"] == pytest.approx(distance)
    assert fare[runs[0]]["distance_week"] == pytest.approx(0, abs=1e-7)
    without = lab.here(lab.params(table, model, profile="false")).done()["run_id"]
    refused = lab.here({"env": "dev"}, f"/runs/{without}/profile")
    refused.problem(409, "conflict", "profile=false")
