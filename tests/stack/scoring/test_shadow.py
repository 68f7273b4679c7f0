"""A challenger scores the rows of a run beside it, and never changes what the run publishes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeRegressor

from mlsys.gcs import gcs_put
from mlsys.local.stack import LocalStack
from samples import sampled
from scoring_cases import Lab, rejected_ids, unique
from team_models import Ending
from workers.scoring.publishing import shadow as shadow_of_runs
from workers.scoring.publishing.shadow import read_shadow_report
from workers.scoring.shards.agreement import Agreements
from workers.scoring.shards.compared_columns import SHARES

ROWS = 3_000
BEYOND = 1e6  # no value of the frame
FAILURES = [
    "rejects",
    "dies",
    "lacks columns",
    "does not fit",
    "the same",
    "another number",
    "missing",
]


@pytest.fixture(scope="module")
def lab(stack: LocalStack) -> Iterator[Lab]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in stack.environment.items():
            patch.setenv(name, value)
        yield Lab(stack)


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(11)
    frame = pd.DataFrame(rng.normal(size=(ROWS, 3)), columns=["a", "b", "c"])
    frame.insert(0, "id", rng.permutation(ROWS))
    return frame


@pytest.fixture(scope="module")
def table(lab: Lab, frame: pd.DataFrame) -> str:
    return lab.put(frame)


@pytest.fixture(scope="module")
def regressors(lab: Lab, frame: pd.DataFrame) -> str:
    """Two versions that read different columns."""
    y = frame["a"] - 2 * frame["b"] + frame["c"] ** 2
    name = unique("regressor")
    lab.upload(LinearRegression().fit(frame[["a", "b"]], y), frame[["a", "b"]], name)
    tree = DecisionTreeRegressor(max_depth=6, random_state=0).fit(frame[["b", "c"]], y)
    return lab.upload(tree, frame[["b", "c"]], name, "v2")


@pytest.fixture(scope="module")
def classifiers(lab: Lab, frame: pd.DataFrame) -> str:
    """Two versions of three classes."""
    X, name = frame[["a", "b", "c"]], unique("classifier")
    y = np.array(["high", "low", "mid"])[np.digitize(X["a"] + X["b"] ** 2, [0.3, 1.5])]
    for version, rows in (("v1", slice(0, 200)), ("v2", slice(200, 2_000))):
        model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X[rows], y[rows])
        lab.upload(model, X, name, version)
    return name


def joined(lab: Lab, table: str, model: str, **more: Any) -> pd.DataFrame:
    """Return the rows of a join of two separate runs, of v1 and of v2."""
    frames = [lab.score(table, model, model_version=v, **more)[1] for v in ("v1", "v2")]
    return frames[0].merge(frames[1], on="id", suffixes=("_1", "_2"))


def distribution(differences: list[float]) -> dict[str, Any]:
    """Return the figures of a report, worked out in fractions."""
    exact, count = sorted(map(Fraction, differences)), len(differences)
    at = [
        max(0, -(-Fraction(share).numerator * count // Fraction(share).denominator) - 1)
        for share in SHARES
    ]
    return {
        "mean": float(sum(exact) / count),
        "mean_absolute": float(sum(map(abs, exact)) / count),
        "max_absolute": float(max(map(abs, exact))),
        "quantiles": {s: float(exact[i]) for s, i in zip(SHARES, at, strict=True)},
    }


@pytest.mark.slow
def test_the_report_of_regressors_is_that_of_a_join_of_two_runs(
    lab: Lab, table: str, regressors: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = lab.params(table, regressors, shadow="v2")
    with monkeypatch.context() as patch:
        patch.setattr(shadow_of_runs, "_rows", None)  # what was counted is not read again
        result = lab.here(params).done()
    with monkeypatch.context() as patch:
        patch.setattr(Agreements, "of", lambda *_: None)  # as where another process scored
        read = lab.here(lab.params(table, regressors, shadow="v2")).done()
    assert read["shadow"]["report"] == result["shadow"]["report"]
    both = joined(lab, table, regressors)
    shadow = result["shadow"]
    assert (shadow["model_version"], shadow["rows"], shadow["reason"]) == ("v2", ROWS, None)
    report = shadow["report"]
    found = (both["prediction_2"] - both["prediction_1"]).tolist()
    (column,) = report["columns"]
    assert {name: column[name] for name in distribution(found)} == distribution(found)
    assert (report["rows"], column["kind"], column["not_finite"]) == (ROWS, "numbers", 0)
    order = both.assign(d=np.abs(found)).sort_values(["d", "id"], ascending=[False, True]).head(50)
    assert [row["ids"]["id"] for row in report["most_different"]] == order["id"].tolist()
    assert [row["difference"] for row in report["most_different"]] == order["d"].tolist()
    # Each table has its own model's rows.
    for output, side in ((params["output_table"], "1"), (shadow["output_table"], "2")):
        rows = lab.rows(output)
        assert rows["prediction"].tolist() == both.sort_values("id")[f"prediction_{side}"].tolist()
        assert set(rows["run_id"]) == {result["run_id"]}
        assert set(rows["model_version"]) == {f"v{side}"}


@pytest.mark.slow
def test_the_report_of_classifiers_is_that_of_a_join_of_two_runs(
    lab: Lab, table: str, classifiers: str
) -> None:
    options = {"outputs": "predict,predict_proba"}
    alias = f"{classifiers}/aliases/challenger.json"
    gcs_put(json.dumps({"version": "v2"}), lab.settings.models_bucket("dev"), alias)
    params = lab.params(table, classifiers, shadow="challenger", **options)
    result = lab.here(params).done()
    both = joined(lab, table, classifiers, **options)
    shadow = result["shadow"]
    assert (shadow["requested"], shadow["model_version"]) == ("challenger", "v2")
    assert shadow["model_alias"] == "challenger"
    report = shadow["report"]
    (column,) = report["columns"]
    equal = int((both["prediction_1"] == both["prediction_2"]).sum())
    assert 0 < equal < ROWS
    assert (report["rows"], report["equal"], column["equal"]) == (ROWS, equal, equal)
    assert report["agreement"] == column["agreement"] == equal / ROWS
    confusion = Counter(zip(both["prediction_1"], both["prediction_2"], strict=True))
    assert {(c["first"], c["shadow"]): c["rows"] for c in column["confusion"]} == confusion
    assert column["label_pairs"] == len(confusion)
    unequal = sorted(both["id"][both["prediction_1"] != both["prediction_2"]])
    assert [row["ids"]["id"] for row in report["most_different"]] == unequal[:50]
    written = lab.rows(shadow["output_table"])
    names = [f"probability_{label}" for label in ("high", "low", "mid")]
    expected = both.sort_values("id", ignore_index=True)[[f"{name}_2" for name in names]]
    assert (written[names].to_numpy() == expected.to_numpy()).all()
    asked = lab.here({"env": "dev"}, f"/runs/{result['run_id']}").json["result"]["shadow"]
    assert asked == shadow == read_shadow_report(lab.clients, "dev", result["run_id"])
    assert lab.here(params).done()["shadow"] == shadow  # reused
    assert lab.count(params["output_table"]) == lab.count(shadow["output_table"]) == ROWS


@pytest.mark.slow
def test_rows_that_one_of_the_models_cannot_score_are_not_compared(
    lab: Lab, frame: pd.DataFrame
) -> None:
    X, name = frame[["a", "b"]], unique("partial")
    lab.upload(LinearRegression().fit(X, frame["c"]), X, name)
    lab.upload(LinearRegression().fit(frame[["b", "c"]], frame["a"]), frame[["b", "c"]], name, "v2")
    rows = frame.copy()
    rows.loc[[5, 900], "a"], rows.loc[[7, 8], "b"] = np.nan, np.nan
    rows.loc[[9, 1_000, 2_999], "c"] = np.nan
    table = lab.put(rows)
    params = lab.params(table, name, shadow="v2", max_rejects=5)
    result = lab.here(params).done()
    both = joined(lab, table, name, max_rejects=5)
    report = result["shadow"]["report"]
    found = (both["prediction_2"] - both["prediction_1"]).tolist()
    assert (report["rows"], len(found)) == (ROWS - 7, ROWS - 7)
    (column,) = report["columns"]
    assert {name: column[name] for name in distribution(found)} == distribution(found)
    assert (result["rows_rejected"], result["shadow"]["rows_rejected"]) == (4, 5)
    # The rejects are those of v1 alone, with the columns that it reads.
    assert rejected_ids(lab, result["rejects_table"]) == sorted(rows["id"][[5, 900, 7, 8]])
    rejected = [json.loads(row) for row in lab.rows(result["rejects_table"], by=None)["row"]]
    assert all(set(row) == {"id", "a", "b"} for row in rejected)


def failing(lab: Lab, frame: pd.DataFrame, kind: str) -> tuple[str, dict[str, str], str]:
    """Return a model whose challenger fails, parameters, and a word of the reason."""
    X, name = frame[["a", "b"]], unique("failing")
    lab.upload(LinearRegression().fit(X, frame["c"]), X, name, id_columns=["id"])
    wide = frame[["a", "b", "c"]]
    output = lab.name("output")
    more = {"output_table": output, "shadow": "v2"}
    if kind == "rejects":
        lab.upload(LinearRegression().fit(wide, frame["a"]), wide, name, "v2")
        return name, more, "v2 cannot score 1 row at least, and max_rejects is 0"
    if kind == "dies":
        lab.upload(Ending("dies", at=BEYOND).fit(X), X, name, "v2")
        return name, more, "v2 cannot score 1 row at least"
    if kind == "lacks columns":
        other = wide.rename(columns={"c": "unknown"})
        lab.upload(LinearRegression().fit(other, frame["a"]), other, name, "v2")
        return name, more, "unknown"
    if kind == "does not fit":
        lab.upload(LinearRegression().fit(X, frame["a"]), X, name, "v2")
        lab.create({"id": "STRING", "prediction": "FLOAT64"}, f"{output}_shadow")
        return name, more, "does not fit the table"
    if kind == "the same":
        return name, more | {"shadow": "v1"}, "v1 is the version that the run publishes"
    if kind == "another number":
        lab.upload(LinearRegression().fit(X, frame[["a", "b"]]), X, name, "v2")
        return name, more, "v1 predicts 1 value a row, and v2 2"
    return name, more | {"shadow": "v7"}, "does not exist"


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", sampled(FAILURES, 2, __file__, kind=lambda kind: kind in ("rejects", "dies"))
)
def test_a_challenger_that_fails_changes_nothing_and_the_result_says_why(
    lab: Lab, frame: pd.DataFrame, kind: str
) -> None:
    rows = frame.copy()
    rows.loc[17, ["a", "c"]] = BEYOND, np.nan
    name, more, words = failing(lab, frame, kind)
    table = lab.put(rows)
    alone = lab.score(table, name)[1]
    params = lab.params(table, name, **more)
    check = lab.here(params | {"dry_run": "true"}).json
    assert check["ok"]
    result = lab.here(params).done()
    shadow = result["shadow"]
    assert (shadow["report"], shadow["rows"]) == (None, None)
    assert words in shadow["reason"]
    if kind not in ("rejects", "dies"):
        assert words in check["shadow"]["reason"]
    own = ["id", "c", "prediction"] if "c" in alone else ["id", "prediction"]
    pd.testing.assert_frame_equal(lab.rows(params["output_table"])[own], alone[own])
    assert (result["rows"], result["rows_rejected"]) == (ROWS, 0)
    table = f"{params['output_table']}_shadow"
    assert not lab.exists(table) or lab.count(table) == 0


def test_a_challenger_belongs_to_the_plan_and_not_to_the_runs_identity(
    lab: Lab, table: str, regressors: str
) -> None:
    params = lab.params(table, regressors)
    alone = lab.here(params).done()
    again = lab.here(params | {"shadow": "v2"}).done()
    assert (again["run_id"], again["reused"], again["shadow"]) == (alone["run_id"], True, None)
    assert "was planned without a shadow" in again["warnings"][-1]
    assert lab.count(params["output_table"]) == ROWS
    check = lab.here(params | {"shadow": "v2", "dry_run": "true"}).json
    assert "was planned without a shadow" in check["warnings"][-1]
    other = lab.here(lab.params(table, regressors, shadow="v2")).done()
    text = lab.here({"env": "dev"}, "/runs").json["runs"]
    (row,) = (row for row in text if row["run_id"] == other["run_id"])
    assert row["request"]["shadow"] == "v2"


@pytest.mark.long
def test_the_challengers_table_follows_the_write_disposition(
    lab: Lab, frame: pd.DataFrame, regressors: str
) -> None:
    output = lab.name("output")
    options = {"output_table": output, "shadow": "v2", "write_disposition": "WRITE_TRUNCATE"}
    for count in (20, 10):
        params = lab.params(lab.put(frame.head(count)), regressors, **options)
        lab.here(params).done()
        assert lab.count(output) == lab.count(f"{output}_shadow") == count


@pytest.mark.long
def test_an_input_without_rows_has_a_report_of_none(
    lab: Lab, frame: pd.DataFrame, regressors: str
) -> None:
    empty = lab.create({"id": "INT64", "a": "FLOAT64", "b": "FLOAT64", "c": "FLOAT64"})
    report = lab.here(lab.params(empty, regressors, shadow="v2")).done()["shadow"]["report"]
    assert (report["rows"], report["agreement"], report["most_different"]) == (0, None, [])
