"""A model's methods that are written, and their output columns."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import KMeans
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC

from in_process import columns_of_outputs
from mlsys.errors import InvalidRequest, SchemaMismatch
from mlsys.local.stack import LocalStack
from samples import sampled
from scoring_cases import Lab
from workers.inference.shapes import features
from workers.scoring.planning import outputs
from workers.scoring.planning.columns import Column

pytestmark = pytest.mark.usefixtures("environment")

IRIS = load_iris(as_frame=True)
X = IRIS.data.set_axis(["sl", "sw", "pl", "pw"], axis=1)
SPECIES = IRIS.target.map(dict(enumerate(IRIS.target_names)))
BINARY = SPECIES == "setosa"


@pytest.fixture(scope="module")
def lab(stack: LocalStack) -> Lab:
    return Lab(stack)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        pytest.param(LogisticRegression(max_iter=500).fit(X, BINARY), ["decision"], id="two"),
        pytest.param(
            LogisticRegression(max_iter=500).fit(X, SPECIES),
            ["decision_setosa", "decision_versicolor", "decision_virginica"],
            id="three classes",
        ),
        pytest.param(
            make_pipeline(StandardScaler(), SVC(decision_function_shape="ovo")).fit(X, SPECIES),
            [
                "decision_setosa_versicolor",
                "decision_setosa_virginica",
                "decision_versicolor_virginica",
            ],
            id="pairs",
        ),
        pytest.param(
            IsolationForest(n_estimators=5, random_state=0).fit(X), ["decision"], id="no classes"
        ),
    ],
)
def test_decision_values_are_written_by_class(lab: Lab, model: Any, expected: list[str]) -> None:
    assert columns_of_outputs([], model, (), ["decision_function"])[1] == {
        "decision_function": tuple(expected)
    }
    table = lab.put(X.assign(id=range(len(X))))
    _, rows = lab.score(table, lab.upload(model, X), outputs="predict,decision_function")
    given = model.decision_function(lab.rows(table)[list(X.columns)])
    np.testing.assert_array_equal(rows[expected].to_numpy().reshape(given.shape), given)
    assert rows["prediction"].tolist() == model.predict(X).tolist()


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        pytest.param(
            make_pipeline(StandardScaler(), PCA(2)).fit(X),
            ["transform_pca0", "transform_pca1"],
            id="a pipeline that ends in a transformer",
        ),
        pytest.param(
            make_column_transformer((OneHotEncoder(), ["kind"]), remainder="passthrough").fit(
                X.assign(kind=SPECIES)
            ),
            ["transform_onehotencoder__kind_setosa", "transform_onehotencoder__kind_versicolor"]
            + ["transform_onehotencoder__kind_virginica"]
            + [f"transform_remainder__{c}" for c in X.columns],
            id="a matrix that may be sparse",
        ),
    ],
)
def test_a_transformer_without_predict_can_be_used(
    lab: Lab, model: Any, expected: list[str]
) -> None:
    data = X.assign(kind=SPECIES)[list(model.feature_names_in_)]
    table = lab.put(data.assign(id=range(len(X))))
    name = lab.put_pickle(model)
    _, rows = lab.score(table, name, outputs="transform", id_columns="id")
    assert [c for c in rows.columns if c.startswith("transform")] == expected
    transformed = model.transform(data)
    dense = transformed.toarray() if hasattr(transformed, "toarray") else transformed
    np.testing.assert_array_equal(rows[expected], dense)
    _, same = lab.score(table, name, id_columns="id")  # such a model gives the same
    np.testing.assert_array_equal(same[expected], dense)


def test_a_clusterer_writes_labels_and_distances(lab: Lab) -> None:
    model = KMeans(3, n_init=1, random_state=0).fit(X)
    table = lab.put(X.assign(id=range(len(X))))
    _, rows = lab.score(table, lab.upload(model, X), outputs="transform,predict")
    assert rows["prediction"].tolist() == model.predict(X).tolist()
    names = [f"transform_kmeans{i}" for i in range(3)]
    np.testing.assert_array_equal(rows[names], model.transform(X))


@pytest.mark.parametrize(
    "labels",
    sampled(
        {
            "signs": (("<=50K", ">50K", "50K"),),
            "grades": (("A+", "A", "A-"),),
            "another script": (("北京", "上海", "东京"),),
            "cases and scripts": (("yes", "Yes", "да"),),
        },
        2,
        __file__,
        kind=lambda case: all(label.isascii() for label in case[0]),
    ),
)
def test_each_probability_column_can_be_matched_to_its_class(
    lab: Lab, labels: tuple[str, ...]
) -> None:
    model = LogisticRegression(max_iter=500).fit(X, np.array(labels)[IRIS.target])
    table = lab.put(X.assign(id=range(len(X))))
    params = lab.params(table, lab.upload(model, X), outputs="predict_proba")
    writes = lab.here(params | {"dry_run": "true"}).json["writes"]
    said = {c["label"]: c["name"] for c in writes if "label" in c}
    result = lab.here(params).done()
    assert result["labels"] == {name: label for label, name in said.items()}
    fields = lab.clients.bigquery.get_table(params["output_table"], timeout=30).schema
    about = {f.name: f.description for f in fields if f.description}
    assert about == {name: f"predict_proba: class {label}" for label, name in said.items()}
    rows = lab.rows(params["output_table"])
    given = model.predict_proba(X)
    np.testing.assert_array_equal(rows[[said[label] for label in model.classes_]], given)
    names = json.dumps({label: f"c{i}" for i, label in enumerate(model.classes_)})
    mine = lab.params(
        table, params["model_name"], outputs="predict_proba", class_columns=names, wait="true"
    )
    lab.here(mine).done()
    assert lab.here(mine).done()["reused"]
    rows = lab.rows(mine["output_table"])
    np.testing.assert_array_equal(rows[[f"probability_c{i}" for i in range(3)]], given)


def test_a_table_that_holds_the_target_is_scored(lab: Lab) -> None:
    model = LogisticRegression(max_iter=500).fit(X, BINARY)
    name = lab.upload(model, X, target="setosa", id_columns=[])
    table = lab.put(X.assign(id=range(len(X)), setosa=BINARY, run_id="x"))
    for more in ({}, {"id_columns": "*"}):
        result, rows = lab.score(table, name, **more)
        [warning] = [w for w in result["warnings"] if "not carried over" in w]
        assert "setosa, run_id" in warning
        assert rows["setosa"].tolist() == model.predict(X).tolist()
        assert set(rows["run_id"]) == {result["run_id"]}
    _, rows = lab.score(table, name, prediction_column="guess", id_columns="id,setosa")
    assert rows["guess"].tolist() == model.predict(X).tolist()
    assert rows["setosa"].tolist() == BINARY.tolist()
    named = lab.params(table, name, id_columns="id,setosa", dry_run="true")
    verdict = lab.here(named).json
    assert not verdict["ok"]
    assert verdict["problems"][0]["columns"] == [{"name": "setosa", "problem": "is a duplicate"}]
    array = lab.put_pickle(LogisticRegression(max_iter=500).fit(X.to_numpy(), BINARY))
    lab.here(lab.params(table, array, dry_run="true"))


def test_scores_of_samples_are_written(lab: Lab) -> None:
    model = IsolationForest(n_estimators=5, random_state=0).fit(X)
    table = lab.put(X.assign(id=range(len(X))))
    _, rows = lab.score(table, lab.upload(model, X), outputs="predict,score_samples")
    np.testing.assert_array_equal(rows["score"], model.score_samples(X))


def test_exactly_the_requested_outputs_are_written(lab: Lab) -> None:
    model = LogisticRegression(max_iter=500).fit(X, BINARY)
    table = lab.put(X.assign(id=range(len(X))))
    _, rows = lab.score(table, lab.upload(model, X), outputs="decision_function")
    assert list(rows.columns)[:2] == ["id", "decision"]
    assert "prediction" not in rows


def test_every_input_column_is_copied_on_request(lab: Lab) -> None:
    model = LogisticRegression(max_iter=500).fit(X, BINARY)
    data = X.assign(id=range(len(X)), species=SPECIES)
    _, rows = lab.score(lab.put(data), lab.upload(model, X), id_columns="*")
    pd.testing.assert_frame_equal(rows[list(data.columns)], data, check_dtype=False)
    assert rows["prediction"].tolist() == model.predict(X).tolist()
    params = lab.params(lab.put(data), lab.upload(model, X), id_columns="*,id")
    lab.here(params).problem(400, "invalid-request", "* alone")


@pytest.mark.parametrize("method", ["decision_function", "transform"])
def test_an_output_that_the_model_lacks_is_refused_with_the_available_ones(method: str) -> None:
    from sklearn.tree import DecisionTreeClassifier

    model = DecisionTreeClassifier().fit(X, BINARY)
    with pytest.raises(InvalidRequest, match=f"no {method}: pass outputs=predict,predict_proba"):
        columns_of_outputs([], model, (), [method])


class Nameless:
    """Transforms, and cannot name its columns."""

    def transform(self, rows: Any) -> Any:
        return rows


def test_a_transformer_that_cannot_name_its_columns_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="get_feature_names_out"):
        features(Nameless(), [])


def test_more_columns_than_a_table_has_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "MAX_COLUMNS", 6)
    model = LogisticRegression(max_iter=500).fit(X, BINARY)
    with pytest.raises(SchemaMismatch, match="7 columns, and a table has at most 6"):
        columns_of_outputs([Column("id", "INT64")], model, (), ["predict", "decision_function"])
