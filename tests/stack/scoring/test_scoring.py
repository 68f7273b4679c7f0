"""The output table holds what `model.predict` gives for the same rows, for any model."""

import dataclasses
from collections import Counter
from contextlib import closing
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.datasets import load_diabetes, load_iris, load_linnerud, load_wine
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from mlsys.artifact.metadata import ModelMetadata
from mlsys.bq import bq_get
from mlsys.cloud.clients import clients_for
from mlsys.errors import ModelUnusable
from mlsys.gcs import gcs_put
from mlsys.local.stack import LocalStack
from scoring_cases import Lab
from team_models import Doubling
from workers.scoring.planning.model_pin import find_model, load_pinned
from workers.scoring.shards import pool

pytestmark = pytest.mark.usefixtures("environment")

STREAMS = "workers.scoring.shards.read_session.streams_to_request"
FEATURES = ["Pclass", "Sex", "Age", "SibSp", "Fare", "Embarked"]
STAMPS = {
    "predicted_at": "TIMESTAMP",
    "model_name": "STRING",
    "model_version": "STRING",
    "run_id": "STRING",
}


@pytest.fixture(scope="module")
def lab(stack: LocalStack) -> Lab:
    return Lab(stack)


def identified(X: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with an id column in front."""
    return X.reset_index(drop=True).rename_axis("id").reset_index()


def iris() -> tuple[pd.DataFrame, pd.Series]:
    X, y = load_iris(return_X_y=True, as_frame=True)
    X.columns = ["a", "b", "c", "d"]
    return X, y


def as_read(lab: Lab, table: str, X: pd.DataFrame) -> pd.DataFrame:
    """Return the rows in BigQuery's memory layout, on which the last bits of results depend."""
    return lab.rows(table)[list(X.columns)]


def ramp(rows: int) -> pd.DataFrame:
    """Return a table of `rows` rows, all different."""
    n = np.arange(rows)
    return pd.DataFrame({"id": n, "a": np.sin(n), "b": n % 1009, "c": n / 7.0})


def ramp_model() -> DecisionTreeRegressor:
    """Return a model whose answer to a row does not depend on the other rows, to the last bit."""
    data = ramp(5000)
    y = data["a"] * data["c"]
    return DecisionTreeRegressor(random_state=0).fit(data[["a", "b", "c"]], y)


def test_the_titanic_pipeline_is_scored_over_http(lab: Lab) -> None:
    train = bq_get(f"SELECT * FROM `{lab.project}.titanic.train`")
    test = bq_get(f"SELECT * FROM `{lab.project}.titanic.test` ORDER BY PassengerId")
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    columns = ColumnTransformer(
        [
            ("numbers", numbers, ["Pclass", "Age", "SibSp", "Fare"]),
            ("words", OneHotEncoder(handle_unknown="ignore"), ["Sex", "Embarked"]),
        ]
    )
    forest = RandomForestClassifier(50, random_state=0, n_jobs=2)
    model = make_pipeline(columns, forest).fit(train[FEATURES], train["Survived"])
    name = lab.upload(model, train[FEATURES], id_columns=["PassengerId"])
    params = lab.params(f"{lab.project}.titanic.test", name, outputs="predict,predict_proba")
    result = lab.http(params).done()
    assert result["rows"] == 418
    assert not result["reused"]
    # The training data have no NULL there, so the drafted contract warns of one.
    drafted = "contract: Fare not_null: 1 of 418 rows fails (first PassengerId=1044: None)"
    assert result["warnings"] == [drafted]
    rows = lab.rows(params["output_table"], "PassengerId")
    assert lab.schema(params["output_table"]) == {
        "PassengerId": "INT64",
        "prediction": "INT64",
        "probability_0": "FLOAT64",
        "probability_1": "FLOAT64",
        **STAMPS,
    }
    forest.set_params(n_jobs=1)
    assert rows["PassengerId"].tolist() == test["PassengerId"].tolist()
    np.testing.assert_array_equal(rows["prediction"], model.predict(test[FEATURES]))
    probabilities = rows[["probability_0", "probability_1"]].to_numpy()
    np.testing.assert_array_equal(probabilities, model.predict_proba(test[FEATURES]))
    assert set(rows["model_name"]) == {name}
    assert set(rows["model_version"]) == {"v1"}
    assert set(rows["run_id"]) == {result["run_id"]}
    assert set(rows["predicted_at"]) == {pd.Timestamp(result["predicted_at"])}


def test_a_regression_is_scored(lab: Lab) -> None:
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    model = make_pipeline(StandardScaler(), Ridge()).fit(X, y)
    table = lab.put(identified(X))
    _, rows = lab.score(table, lab.upload(model, X))
    np.testing.assert_array_equal(rows["prediction"], model.predict(as_read(lab, table, X)))


def test_the_target_names_the_output_column(lab: Lab) -> None:
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    model = TransformedTargetRegressor(Ridge(), func=np.log1p, inverse_func=np.expm1).fit(X, y)
    table = lab.put(identified(X))
    _, rows = lab.score(table, lab.upload(model, X, y=y.rename("progression")))
    assert list(rows.columns) == ["id", "progression", *STAMPS]
    np.testing.assert_array_equal(rows["progression"], model.predict(as_read(lab, table, X)))


def test_each_of_several_classes_has_a_probability(lab: Lab) -> None:
    X, y = load_wine(return_X_y=True, as_frame=True)
    X.columns = [c.replace("/", "_") for c in X.columns]
    model = RandomForestClassifier(20, random_state=0).fit(X, y)
    _, rows = lab.score(
        lab.put(identified(X)), lab.upload(model, X), outputs="predict,predict_proba"
    )
    np.testing.assert_array_equal(rows["prediction"], model.predict(X))
    found = rows[["probability_0", "probability_1", "probability_2"]].to_numpy()
    np.testing.assert_array_equal(found, model.predict_proba(X))


@pytest.mark.parametrize("kind", ["object", "str", "U"])
def test_text_classes_are_written_as_text(lab: Lab, kind: str) -> None:
    X, y = iris()
    words = load_iris().target_names[y]
    species = words.astype("U") if kind == "U" else pd.Series(words).astype(kind)
    model = DecisionTreeClassifier(random_state=0).fit(X, species)
    table = lab.put(identified(X))
    _, rows = lab.score(table, lab.upload(model, X), outputs="predict,predict_proba")
    assert rows["prediction"].tolist() == model.predict(X).tolist()
    names = ["probability_setosa", "probability_versicolor", "probability_virginica"]
    np.testing.assert_array_equal(rows[names], model.predict_proba(X))


def test_boolean_classes_are_written_as_bool(lab: Lab) -> None:
    X, y = iris()
    model = DecisionTreeClassifier(random_state=0).fit(X, y == 1)
    params = lab.params(
        lab.put(identified(X)), lab.upload(model, X), outputs="predict,predict_proba"
    )
    lab.here(params).done()
    assert lab.schema(params["output_table"])["prediction"] == "BOOL"
    rows = lab.rows(params["output_table"])
    assert rows["prediction"].tolist() == model.predict(X).tolist()
    np.testing.assert_array_equal(
        rows[["probability_False", "probability_True"]], model.predict_proba(X)
    )


@pytest.mark.slow
def test_a_regression_of_several_outputs_has_a_column_each(lab: Lab) -> None:
    data = load_linnerud(as_frame=True)
    X, y = data.data, data.target
    X.columns = [c.lower() for c in X.columns]
    model = make_pipeline(StandardScaler(), LinearRegression()).fit(X, y)
    table = lab.put(identified(X))
    expected = model.predict(as_read(lab, table, X))
    _, rows = lab.score(table, lab.upload(model, X, y=y))
    np.testing.assert_array_equal(rows[["Weight", "Waist", "Pulse"]], expected)
    _, rows = lab.score(table, lab.put_pickle(model))
    found = rows[["prediction_0", "prediction_1", "prediction_2"]]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.slow
def test_a_classification_of_several_outputs_has_a_column_each(lab: Lab) -> None:
    X, y = iris()
    both = pd.DataFrame({"species": y, "long": (X.iloc[:, 0] > 6).astype("int64")})
    table = lab.put(identified(X))
    for model in (
        MultiOutputClassifier(LogisticRegression(max_iter=1000)).fit(X, both),
        RandomForestClassifier(5, random_state=0).fit(X, both),
    ):
        name = lab.upload(model, X, y=both)
        _, rows = lab.score(table, name, outputs="predict,predict_proba")
        np.testing.assert_array_equal(rows[["species", "long"]], model.predict(X))
        species, long = model.predict_proba(as_read(lab, table, X))
        found = rows[[f"probability_species_{i}" for i in range(3)]]
        np.testing.assert_array_equal(found, species)
        np.testing.assert_array_equal(rows[[f"probability_long_{i}" for i in range(2)]], long)


def test_clusters_and_outliers_are_written_as_integers(lab: Lab) -> None:
    X, _ = iris()
    table = lab.put(identified(X))
    for model in (
        make_pipeline(StandardScaler(), KMeans(3, n_init=1, random_state=0)).fit(X),
        IsolationForest(n_estimators=20, random_state=0).fit(X),
    ):
        params = lab.params(table, lab.upload(model, X))
        lab.here(params).done()
        assert lab.schema(params["output_table"])["prediction"] == "INT64"
        rows = lab.rows(params["output_table"])
        np.testing.assert_array_equal(rows["prediction"], model.predict(X))


def test_a_grid_search_predicts_with_its_best_model(lab: Lab) -> None:
    X, y = iris()
    model = GridSearchCV(DecisionTreeClassifier(random_state=0), {"max_depth": [1, 3]}, cv=3)
    model.fit(X, y)
    table = lab.put(identified(X))
    _, rows = lab.score(table, lab.upload(model, X), outputs="predict,predict_proba")
    np.testing.assert_array_equal(rows["prediction"], model.predict(X))
    np.testing.assert_array_equal(
        rows[[f"probability_{i}" for i in range(3)]], model.predict_proba(X)
    )


def test_a_model_trained_on_categories_gets_the_same_categories(lab: Lab) -> None:
    train = bq_get(f"SELECT * FROM `{lab.project}.titanic.train`")
    for word in ("Sex", "Embarked"):
        train[word] = train[word].astype("category")
    model = HistGradientBoostingClassifier(max_iter=20, categorical_features="from_dtype")
    model.fit(train[FEATURES], train["Survived"])
    name = lab.upload(model, train[FEATURES], id_columns=["PassengerId"])
    test = bq_get(f"SELECT * FROM `{lab.project}.titanic.test` ORDER BY PassengerId")
    for word in ("Sex", "Embarked"):
        test[word] = pd.Categorical(test[word], categories=train[word].cat.categories)
    _, rows = lab.score(
        f"{lab.project}.titanic.test", name, by="PassengerId", outputs="predict,predict_proba"
    )
    np.testing.assert_array_equal(rows["prediction"], model.predict(test[FEATURES]))
    np.testing.assert_array_equal(
        rows[["probability_0", "probability_1"]], model.predict_proba(test[FEATURES])
    )


def test_columns_are_matched_by_name_in_any_order_and_case(lab: Lab) -> None:
    X, y = iris()
    model = DecisionTreeClassifier(random_state=0).fit(X, y)
    mixed = identified(X).assign(spare="x")[["spare", "d", "b", "id", "c", "a"]]
    mixed = mixed.rename(columns={"c": "C", "a": "A"})
    _, rows = lab.score(lab.put(mixed), lab.upload(model, X))
    assert list(rows.columns) == ["id", "prediction", *STAMPS]
    np.testing.assert_array_equal(rows["prediction"], model.predict(X))


def test_a_feature_can_be_an_id_column_whatever_its_case(lab: Lab) -> None:
    X, y = iris()
    model = DecisionTreeClassifier(random_state=0).fit(X, y)
    table = lab.put(identified(X).rename(columns={"a": "A"}))
    _, rows = lab.score(table, lab.upload(model, X), id_columns="id,a")
    assert list(rows.columns) == ["id", "A", "prediction", *STAMPS]
    np.testing.assert_array_equal(rows["A"], X["a"])
    np.testing.assert_array_equal(rows["prediction"], model.predict(X))


def test_a_model_trained_on_an_array_takes_the_columns_in_their_order(lab: Lab) -> None:
    X, y = iris()
    X.columns = ["d", "c", "b", "a"]
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X.to_numpy(), y)
    table = lab.put(identified(X))
    result, rows = lab.score(table, lab.upload(model, X.to_numpy()))
    np.testing.assert_array_equal(rows["prediction"], model.predict(X.to_numpy()))
    assert "in their order: d, c, b, a" in result["warnings"][0]


def test_a_bare_pickle_of_a_model_trained_on_an_array_is_scored_if_the_count_fits(
    lab: Lab,
) -> None:
    X, y = iris()
    X.columns = ["d", "c", "b", "a"]
    model = DecisionTreeClassifier(random_state=0).fit(X.to_numpy(), y)
    name = lab.put_pickle(model)
    table = lab.put(identified(X))
    result, rows = lab.score(table, name, id_columns="id")
    np.testing.assert_array_equal(rows["prediction"], model.predict(X.to_numpy()))
    assert "in their order: d, c, b, a" in result["warnings"][0]
    lab.here(lab.params(table, name)).problem(
        422, "schema-mismatch", "needs 4 columns", "has 5", "id_columns", "upload_model"
    )


def test_a_bare_pickle_of_a_model_trained_on_a_frame_is_matched_by_name(lab: Lab) -> None:
    X, y = iris()
    model = DecisionTreeClassifier(random_state=0).fit(X, y)
    name = lab.put_pickle(model)
    result, rows = lab.score(lab.put(identified(X)[["d", "c", "id", "b", "a"]]), name)
    assert list(rows.columns) == ["id", "prediction", *STAMPS]
    np.testing.assert_array_equal(rows["prediction"], model.predict(X))
    assert "no signature" in result["warnings"][0]
    body = lab.here(lab.params(lab.put(identified(X).drop(columns="c")), name)).problem(
        422, "schema-mismatch"
    )
    assert [c["name"] for c in body["columns"]] == ["c"]


@pytest.mark.slow
def test_metadata_of_another_model_is_left_out_with_a_warning(lab: Lab) -> None:
    X, y = iris()
    name = lab.upload(DecisionTreeClassifier(max_depth=1).fit(X, y), X)
    model = DecisionTreeClassifier(random_state=0).fit(X, y)
    lab.put_pickle(model, name)
    result, rows = lab.score(lab.put(identified(X)), name)
    assert "another model.pkl" in result["warnings"][0]
    np.testing.assert_array_equal(rows["prediction"], model.predict(X))
    gcs_put("{broken", lab.settings.models_bucket("dev"), f"{name}/v1/metadata.json")
    result, _ = lab.score(lab.put(identified(X)), name)
    assert "is not JSON" in result["warnings"][0]


def test_a_teams_own_model_class_is_scored(lab: Lab) -> None:
    X = pd.DataFrame({"a": [1.0, 2.0, 3.0]})
    params = lab.params(lab.put(identified(X)), lab.upload(Doubling().fit(X), X))
    lab.here(params).done()
    assert lab.schema(params["output_table"])["prediction"] == "FLOAT64"
    assert lab.rows(params["output_table"])["prediction"].tolist() == [2.0, 4.0, 6.0]


def test_a_teams_own_model_class_is_named_if_the_settings_do_not_trust_it(
    lab: Lab,
) -> None:
    X = pd.DataFrame({"a": [1.0, 2.0, 3.0]})
    params = lab.params(lab.put(identified(X)), lab.upload(Doubling().fit(X), X))
    body = lab.http(params).problem(422, "model-unusable", "team_models.Doubling")
    assert "to MLSYS_TRUSTED_GLOBALS" in body["detail"]


def test_a_model_that_is_too_large_is_not_downloaded(lab: Lab) -> None:
    X, y = iris()
    name = lab.upload(DecisionTreeClassifier(random_state=0).fit(X, y), X)
    small = clients_for(dataclasses.replace(lab.settings, max_model_bytes=1000))
    request = lab.request(lab.params(lab.put(identified(X)), name))
    pin = find_model(small, request)
    assert pin.size is not None and pin.size > 1000
    with pytest.raises(ModelUnusable, match="more than the limit of 1,000"):
        load_pinned(small, dataclasses.replace(pin, generation=1))  # a missing generation
    with closing(load_pinned(lab.clients, pin)) as model:
        assert model.describe(ModelMetadata()).kind == "DecisionTreeClassifier"


def test_predictions_may_be_null(lab: Lab) -> None:
    X = pd.DataFrame({"a": [1.0, 2.0, 3.0, 4.0]})
    y = np.array([0.0, 1.0, np.nan, 2.0])
    model = DecisionTreeRegressor().fit(X.iloc[[0, 1, 3]], y[[0, 1, 3]])
    model.tree_.value[:] = np.where(model.tree_.value == 1.0, np.nan, model.tree_.value)
    _, rows = lab.score(lab.put(identified(X)), lab.upload(model, X))
    np.testing.assert_array_equal(rows["prediction"], model.predict(X))
    assert rows["prediction"].isna().sum() == np.isnan(model.predict(X)).sum()


def test_a_table_of_several_streams_is_scored_whole_over_http(lab: Lab) -> None:
    data = ramp(600_000)
    model = ramp_model()
    table = lab.put(data)
    params = lab.params(table, lab.upload(model, data[["a", "b", "c"]]))
    result = lab.http(params).done()
    assert result["rows"] == len(data)
    assert result["shards"] > 1
    rows = lab.rows(params["output_table"])
    assert rows["id"].tolist() == data["id"].tolist()
    np.testing.assert_array_equal(rows["prediction"], model.predict(data[["a", "b", "c"]]))


@pytest.mark.slow
def test_the_process_pool_gives_the_same_rows_as_one_process(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = ramp(120_000)
    name = lab.upload(ramp_model(), data[["a", "b", "c"]])
    table = lab.put(data)
    monkeypatch.setattr(STREAMS, lambda _: (4, 4))
    inline, one_by_one = lab.score(table, name)
    used: list[int] = []
    in_processes = pool._in_processes

    def seen(*args: Any) -> None:
        used.append(args[2])
        in_processes(*args)

    monkeypatch.setattr(pool, "_in_processes", seen)
    monkeypatch.setattr(pool, "INLINE_ROWS", 0)
    pooled, in_pool = lab.score(table, name)
    assert inline["shards"] == pooled["shards"] > 1
    assert used
    columns = ["id", "prediction"]
    pd.testing.assert_frame_equal(in_pool[columns], one_by_one[columns])
    assert in_pool["id"].tolist() == data["id"].tolist()


def test_a_failure_in_a_pool_process_is_reported_as_one_inline(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = ramp(60_000)
    model = LinearRegression().fit(data[["a", "c"]], data["b"])
    name = lab.upload(model, data[["a", "c"]])
    data.loc[59_000, "c"] = None
    table = lab.put(data)
    monkeypatch.setattr(STREAMS, lambda _: (4, 4))
    monkeypatch.setattr(pool, "INLINE_ROWS", 0)
    params = lab.params(table, name)
    lab.here(params).problem(422, "prediction-failed", "Columns with NULLs: c")
    assert not lab.exists(params["output_table"])


def test_an_empty_table_makes_an_empty_output_table(lab: Lab) -> None:
    X, y = iris()
    model = DecisionTreeClassifier(random_state=0).fit(X, y)
    table = lab.create({"id": "INT64"} | dict.fromkeys(X.columns, "FLOAT64"))
    params = lab.params(table, lab.upload(model, X), outputs="predict,predict_proba")
    result = lab.http(params).done()
    assert result["rows"] == 0
    assert lab.count(params["output_table"]) == 0
    probabilities = {f"probability_{i}": "FLOAT64" for i in range(3)}
    assert lab.schema(params["output_table"]) == {
        "id": "INT64",
        "prediction": "INT64",
        **probabilities,
        **STAMPS,
    }


def test_a_duplicate_row_is_scored_twice(lab: Lab) -> None:
    X, y = iris()
    twice = pd.concat([identified(X)] * 2)
    name = lab.upload(DecisionTreeClassifier(random_state=0).fit(X, y), X)
    _, rows = lab.score(lab.put(twice), name)
    assert Counter(rows["id"]) == dict.fromkeys(range(len(X)), 2)


@pytest.mark.slow
def test_a_parallel_forest_gives_the_same_bytes_each_time(lab: Lab) -> None:
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    model = RandomForestRegressor(30, random_state=0, n_jobs=2).fit(X, y)
    name = lab.upload(make_pipeline(StandardScaler(), model).fit(X, y), X)
    table = lab.put(identified(X))
    _, first = lab.score(table, name)
    _, second = lab.score(table, name)
    assert first["prediction"].to_numpy().tobytes() == second["prediction"].to_numpy().tobytes()


def test_predict_proba_of_a_model_without_it_is_refused(lab: Lab) -> None:
    X, y = iris()
    table = lab.put(identified(X))
    params = lab.params(table, lab.upload(Ridge().fit(X, y), X), outputs="predict_proba")
    body = lab.here(params).problem(400, "invalid-request", "Ridge has no predict_proba")
    assert [p["name"] for p in body["parameters"]] == ["outputs"]
    assert not lab.exists(params["output_table"])


def test_output_tables_have_exactly_the_planned_arrow_types(lab: Lab) -> None:
    X, y = iris()
    name = lab.upload(DecisionTreeClassifier(random_state=0).fit(X, y), X)
    params = lab.params(lab.put(identified(X)), name)
    lab.here(params).done()
    assert lab.arrow(params["output_table"]).schema.types == [
        pa.int64(),
        pa.int64(),
        pa.timestamp("us", tz="UTC"),
        pa.string(),
        pa.string(),
        pa.string(),
    ]
