"""Columns that a run reads and writes, decided from names and types only."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from google.cloud.bigquery import SchemaField
from sklearn.cluster import KMeans
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import IsolationForest, RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, RidgeClassifier
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier, MultiOutputRegressor, RegressorChain
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeRegressor

from in_process import columns_of_outputs, features_of
from mlsys.artifact.metadata import ModelMetadata
from mlsys.artifact.signatures import Signature
from mlsys.columns.features import UNKNOWN, Feature
from mlsys.errors import InvalidRequest, SchemaMismatch
from workers.inference.shapes import probabilities
from workers.scoring.planning.columns import (
    Column,
    choose_ids,
    columns_of,
)
from workers.scoring.planning.destination import fit_output
from workers.scoring.shards.scorer import arrow_schema

ROWS = np.random.default_rng(0).normal(size=(12, 2))
NAMED = pd.DataFrame(ROWS, columns=["Age", "Fare"])
ONE = ROWS[:, 0]
TWO = np.column_stack([ONE, -ONE])
BINARY = (ONE > 0).astype(int)
FOREST = {"n_estimators": 2, "random_state": 0}

TABLE = [
    Column("PassengerId", "INT64"),
    Column("AGE", "INT64"),
    Column("fare", "FLOAT64"),
    Column("Tags", "ARRAY"),
]
STAMPS = [
    Column("predicted_at", "TIMESTAMP"),
    Column("model_name", "STRING"),
    Column("model_version", "STRING"),
    Column("run_id", "STRING"),
]
on_names = LinearRegression().fit(NAMED, ONE)
on_array = LinearRegression().fit(ROWS, ONE)


def signed(*features: Feature, positional: bool = False, **more: Any) -> ModelMetadata:
    """Return metadata with a signature."""
    return ModelMetadata(signature=Signature(features, positional), **more)


AGE, FARE = Feature("Age", "FLOAT64", "float64"), Feature("Fare", "FLOAT64", "float64")


def named(error: pytest.ExceptionInfo[SchemaMismatch]) -> dict[str, str]:
    """Return the columns that an error names, with their problems."""
    return dict(error.value.columns)


def test_a_schema_becomes_columns_with_standard_types() -> None:
    schema = [
        SchemaField("a", "INTEGER"),
        SchemaField("b", "STRING", mode="REPEATED"),
        SchemaField("c", "RECORD", fields=[SchemaField("x", "FLOAT")]),
        SchemaField("d", "FLOAT", mode="REQUIRED"),
    ]
    assert columns_of(schema) == [
        Column("a", "INT64"),
        Column("b", "ARRAY"),
        Column("c", "STRUCT"),
        Column("d", "FLOAT64"),
    ]


def test_features_follow_the_signature() -> None:
    assert features_of(TABLE, on_array, signed(FARE, AGE), None) == ([FARE, AGE], [])


def test_without_a_signature_features_follow_the_models_feature_names() -> None:
    features, [warning] = features_of(TABLE, on_names, ModelMetadata(), None)
    assert features == [Feature("Age", "INT64", UNKNOWN), Feature("Fare", "FLOAT64", UNKNOWN)]
    assert "types were not checked" in warning


@pytest.mark.parametrize(
    ("metadata", "id_columns"),
    [
        pytest.param(ModelMetadata(), ["passengerid"], id="as the request says"),
        pytest.param(ModelMetadata(id_columns=("PassengerId",)), None, id="as the metadata says"),
        pytest.param(ModelMetadata(id_columns=("fare",)), ["PassengerId"], id="request first"),
    ],
)
def test_without_any_names_features_are_the_columns_other_than_the_ids(
    metadata: ModelMetadata, id_columns: Sequence[str] | None
) -> None:
    features, [warning] = features_of(TABLE[:3], on_array, metadata, id_columns)
    assert features == [Feature("AGE", "INT64", UNKNOWN), Feature("fare", "FLOAT64", UNKNOWN)]
    assert warning.endswith("in their order: AGE, fare")


def test_a_signature_of_positions_takes_the_columns_in_order_and_checks_their_types() -> None:
    x0, x1 = Feature("x0", "FLOAT64", "float64"), Feature("x1", "FLOAT64", "float32")
    metadata = signed(x0, x1, positional=True, id_columns=("PassengerId",))
    features, warnings = features_of(TABLE[:3], on_array, metadata, None)
    assert [(f.name, f.type, f.dtype) for f in features] == [
        ("AGE", "FLOAT64", "float64"),
        ("fare", "FLOAT64", "float32"),
    ]
    assert len(warnings) == 1
    text = [Column("id", "INT64"), Column("a", "FLOAT64"), Column("b", "STRING")]
    with pytest.raises(SchemaMismatch) as caught:
        features_of(text, on_array, metadata, ["id"])
    assert named(caught) == {"b": "is STRING, and was FLOAT64 in training"}


def test_every_column_that_does_not_fit_is_named_at_once() -> None:
    metadata = signed(
        AGE,
        Feature("Sex", "STRING", "str"),
        Feature("PassengerId", "STRING", "str"),
        Feature("tags", "STRING", "str"),
    )
    with pytest.raises(SchemaMismatch) as caught:
        features_of(TABLE, on_names, metadata, None)
    assert named(caught) == {
        "Sex": "is missing, the model needs it as STRING",
        "PassengerId": "is INT64, and was STRING in training",
        "tags": "is ARRAY, which cannot be passed to a model",
    }
    assert str(caught.value).startswith("The input table does not fit the model. ")


def test_a_feature_name_that_the_table_lacks_is_named() -> None:
    with pytest.raises(SchemaMismatch) as caught:
        features_of(TABLE[:2], on_names, ModelMetadata(), None)
    assert list(named(caught)) == ["Fare"]


@pytest.mark.parametrize(
    ("model", "needs"),
    [
        pytest.param(on_array, "needs 2 columns; the table has 3", id="another number"),
        pytest.param(object(), "an unknown number of columns; the table has 3", id="unknown"),
    ],
)
def test_columns_are_not_guessed_if_their_number_differs(model: Any, needs: str) -> None:
    with pytest.raises(SchemaMismatch, match=needs) as caught:
        features_of(TABLE[:3], model, ModelMetadata(), None)
    assert "Pass id_columns" in str(caught.value)


@pytest.mark.parametrize(
    ("metadata", "id_columns", "expected"),
    [
        pytest.param(
            ModelMetadata(), ["FARE", "passengerid"], ["fare", "PassengerId"], id="requested"
        ),
        pytest.param(ModelMetadata(id_columns=("AGE",)), None, ["AGE"], id="metadata"),
        pytest.param(
            ModelMetadata(id_columns=("AGE",)),
            ["fare"],
            ["fare"],
            id="the request overrides the metadata",
        ),
        pytest.param(ModelMetadata(), None, ["PassengerId"], id="all columns other than features"),
    ],
)
def test_id_columns_are_selected(
    metadata: ModelMetadata, id_columns: Sequence[str] | None, expected: list[str]
) -> None:
    ids = choose_ids(TABLE[:3], [AGE, FARE], metadata, id_columns)
    assert [c.name for c in ids] == expected
    assert all(c in TABLE for c in ids)


def test_missing_id_columns_are_all_named() -> None:
    with pytest.raises(SchemaMismatch) as caught:
        choose_ids(TABLE, [AGE], ModelMetadata(), ["id", "fare", "key"])
    assert named(caught) == {"id": "is not in the input table", "key": "is not in the input table"}


def test_an_array_column_is_not_an_id_by_default() -> None:
    with pytest.raises(SchemaMismatch, match="pass id_columns without them") as caught:
        choose_ids(TABLE, [AGE, FARE], ModelMetadata(), None)
    assert named(caught) == {"Tags": "is ARRAY"}


@pytest.mark.parametrize(
    ("model", "targets", "expected"),
    [
        pytest.param(
            LogisticRegression().fit(ROWS, BINARY), (), {"prediction": "INT64"}, id="binary"
        ),
        pytest.param(
            LogisticRegression().fit(ROWS, BINARY), ("y",), {"y": "INT64"}, id="named binary"
        ),
        pytest.param(
            KNeighborsClassifier(1).fit(ROWS, np.arange(12) % 3),
            (),
            {"prediction": "INT64"},
            id="three classes",
        ),
        pytest.param(
            LogisticRegression().fit(ROWS, np.where(BINARY, "yes", "no")),
            (),
            {"prediction": "STRING"},
            id="text classes",
        ),
        pytest.param(
            LogisticRegression().fit(ROWS, np.where(BINARY, "yes", "no").astype(object)),
            (),
            {"prediction": "STRING"},
            id="object classes",
        ),
        pytest.param(
            LogisticRegression().fit(ROWS, BINARY.astype(bool)),
            (),
            {"prediction": "BOOL"},
            id="boolean classes",
        ),
        pytest.param(
            LogisticRegression().fit(ROWS, BINARY.astype(float)),
            (),
            {"prediction": "FLOAT64"},
            id="float classes",
        ),
        pytest.param(
            make_pipeline(StandardScaler(), LogisticRegression()).fit(ROWS, BINARY),
            (),
            {"prediction": "INT64"},
            id="a pipeline",
        ),
        pytest.param(
            RandomForestClassifier(**FOREST).fit(ROWS, np.column_stack([BINARY, 1 - BINARY])),
            (),
            {"prediction_0": "INT64", "prediction_1": "INT64"},
            id="a forest of two classifications",
        ),
        pytest.param(
            MultiOutputClassifier(LogisticRegression()).fit(
                ROWS, np.column_stack([BINARY, BINARY]).astype(str)
            ),
            ("lived", "paid"),
            {"lived": "STRING", "paid": "STRING"},
            id="two classifications",
        ),
        pytest.param(
            OneVsRestClassifier(LogisticRegression()).fit(
                ROWS, np.column_stack([BINARY, 1 - BINARY])
            ),
            ("lived", "paid"),
            {"lived": "INT64", "paid": "INT64"},
            id="two labels",
        ),
        pytest.param(on_array, (), {"prediction": "FLOAT64"}, id="a regression"),
        pytest.param(on_array, ("price",), {"price": "FLOAT64"}, id="a named regression"),
        pytest.param(
            LinearRegression().fit(ROWS, ONE.reshape(-1, 1)),
            (),
            {"prediction": "FLOAT64"},
            id="a regression on a column",
        ),
        pytest.param(
            LinearRegression().fit(ROWS, TWO),
            (),
            {"prediction_0": "FLOAT64", "prediction_1": "FLOAT64"},
            id="two regressions",
        ),
        pytest.param(
            RandomForestRegressor(**FOREST).fit(ROWS, TWO),
            (),
            {"prediction_0": "FLOAT64", "prediction_1": "FLOAT64"},
            id="a forest of two regressions",
        ),
        pytest.param(
            MultiOutputRegressor(Ridge()).fit(ROWS, TWO),
            ("low", "high"),
            {"low": "FLOAT64", "high": "FLOAT64"},
            id="MultiOutputRegressor",
        ),
        pytest.param(
            RegressorChain(Ridge()).fit(ROWS, TWO),
            (),
            {"prediction_0": "FLOAT64", "prediction_1": "FLOAT64"},
            id="RegressorChain",
        ),
        pytest.param(
            make_pipeline(StandardScaler(), GridSearchCV(Ridge(), {"alpha": [1.0]}, cv=2)).fit(
                ROWS, TWO
            ),
            (),
            {"prediction_0": "FLOAT64", "prediction_1": "FLOAT64"},
            id="a search in a pipeline",
        ),
        pytest.param(
            TransformedTargetRegressor(
                make_pipeline(StandardScaler(), DecisionTreeRegressor())
            ).fit(ROWS, TWO),
            (),
            {"prediction_0": "FLOAT64", "prediction_1": "FLOAT64"},
            id="a pipeline in a transformed target",
        ),
        pytest.param(
            KNeighborsRegressor(1).fit(ROWS, TWO),
            ("low", "high"),
            {"low": "FLOAT64", "high": "FLOAT64"},
            id="a model that does not tell, but its author does",
        ),
        pytest.param(
            KMeans(2, n_init=1, random_state=0).fit(ROWS),
            (),
            {"prediction": "INT64"},
            id="clusters",
        ),
        pytest.param(
            IsolationForest(**FOREST).fit(ROWS), (), {"prediction": "INT64"}, id="outliers"
        ),
        pytest.param(
            GaussianMixture(2, random_state=0).fit(ROWS), (), {"prediction": "INT64"}, id="mixture"
        ),
        pytest.param(
            LinearRegression().fit(ROWS, TWO),
            ("only",),
            {"prediction_0": "FLOAT64", "prediction_1": "FLOAT64"},
            id="fewer names than outputs",
        ),
    ],
)
def test_predictions_have_the_models_type_and_the_targets_name(
    model: Any, targets: Sequence[str], expected: dict[str, str]
) -> None:
    columns, names = columns_of_outputs(TABLE[:1], model, targets, ["predict"])
    assert names == {"predict": tuple(expected)}
    assert columns == [TABLE[0], *(Column(n, t) for n, t in expected.items()), *STAMPS]
    predicted = np.asarray(model.predict(ROWS)).reshape(12, -1)
    assert predicted.shape[1] == len(expected)


@pytest.mark.parametrize(
    ("model", "predictions", "expected"),
    [
        pytest.param(
            LogisticRegression().fit(ROWS, BINARY),
            ["lived"],
            ["probability_0", "probability_1"],
            id="numbers",
        ),
        pytest.param(
            LogisticRegression().fit(ROWS, BINARY * 2 - 1),
            ["lived"],
            ["probability__1", "probability_1"],
            id="a negative number",
        ),
        pytest.param(
            LogisticRegression().fit(ROWS, BINARY > 0),
            ["lived"],
            ["probability_False", "probability_True"],
            id="booleans",
        ),
        pytest.param(
            LogisticRegression().fit(ROWS, np.where(BINARY, "very good!", "não")),
            ["lived"],
            ["probability_não", "probability_very_good_"],
            id="text",
        ),
        pytest.param(
            MultiOutputClassifier(LogisticRegression()).fit(
                ROWS, np.column_stack([BINARY, BINARY + 1])
            ),
            ["lived", "paid"],
            [
                "probability_lived_0",
                "probability_lived_1",
                "probability_paid_1",
                "probability_paid_2",
            ],
            id="several outputs",
        ),
        pytest.param(
            GaussianMixture(2, random_state=0).fit(ROWS),
            ["prediction"],
            ["probability_0", "probability_1"],
            id="components",
        ),
    ],
)
def test_each_class_has_a_probability_column(
    model: Any, predictions: list[str], expected: list[str]
) -> None:
    labels = [value.label for value in probabilities(model, predictions)]
    columns, _ = columns_of_outputs([], model, predictions, ["predict", "predict_proba"])
    assert [c for c in columns if c.name.startswith("probability")] == [
        Column(n, "FLOAT64") for n in expected
    ]
    assert [c.label for c in columns if c.name.startswith("probability")] == labels


@pytest.mark.parametrize(
    ("model", "words"),
    [
        pytest.param(on_array, "predict_proba: pass outputs=predict", id="a regressor"),
        pytest.param(
            RidgeClassifier().fit(ROWS, BINARY),
            "predict_proba: pass outputs=predict,decision_function",
            id="a classifier without them",
        ),
        pytest.param(
            Ridge().fit(ROWS, ONE), "predict_proba: pass outputs=predict", id="another regressor"
        ),
    ],
)
def test_probabilities_of_a_model_without_them_are_refused(model: Any, words: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        columns_of_outputs([], model, (), ["predict", "predict_proba"])
    [(parameter, problem)] = caught.value.problems
    assert parameter == "outputs"
    assert problem == f"{type(model).__name__} has no {words}"


@pytest.mark.parametrize(
    ("ids", "targets", "doubled"),
    [
        pytest.param(["Prediction"], (), {"Prediction", "prediction"}, id="an id"),
        pytest.param(["run_id"], (), {"run_id"}, id="a stamp"),
        pytest.param([], ("model_name",), {"model_name"}, id="a target and a stamp"),
        pytest.param(["Price"], ("price",), {"Price", "price"}, id="an id and the target"),
        pytest.param(["a", "a"], (), {"a"}, id="an id twice"),
        pytest.param(["probability_1"], (), {"probability_1"}, id="an id and a class"),
    ],
)
def test_two_columns_with_one_name_are_refused_by_name(
    ids: list[str], targets: Sequence[str], doubled: set[str]
) -> None:
    model = LogisticRegression().fit(ROWS, BINARY)
    columns = [Column(n, "INT64") for n in ids]
    with pytest.raises(SchemaMismatch, match="two columns of the same name") as caught:
        columns_of_outputs(columns, model, targets, ["predict", "predict_proba"])
    assert set(named(caught)) == doubled


WRITTEN = [Column("id", "INT64"), Column("prediction", "FLOAT64"), *STAMPS]
THERE = [
    SchemaField("run_id", "STRING"),
    SchemaField("note", "STRING"),
    SchemaField("model_name", "STRING"),
    SchemaField("model_version", "STRING", mode="REQUIRED"),
    SchemaField("Prediction", "FLOAT"),
    SchemaField("ID", "INTEGER"),
    SchemaField("predicted_at", "TIMESTAMP"),
    SchemaField("tags", "STRING", mode="REPEATED"),
    SchemaField("extra", "JSON"),
]


def test_the_output_follows_the_order_and_spelling_of_its_table() -> None:
    """Nullable columns that the run does not write are filled with NULLs, or left out."""
    assert fit_output(WRITTEN, THERE, "p.d.t") == [
        Column("run_id", "STRING"),
        Column("note", "STRING"),
        Column("model_name", "STRING"),
        Column("model_version", "STRING"),
        Column("Prediction", "FLOAT64"),
        Column("ID", "INT64"),
        Column("predicted_at", "TIMESTAMP"),
    ]


def test_every_column_that_does_not_fit_the_output_table_is_named_at_once() -> None:
    there = [
        SchemaField("id", "STRING"),
        SchemaField("prediction", "FLOAT", mode="REPEATED"),
        SchemaField("predicted_at", "TIMESTAMP"),
        SchemaField("model_name", "STRING"),
        SchemaField("model_version", "STRING"),
        SchemaField("batch", "INTEGER", mode="REQUIRED"),
    ]
    with pytest.raises(SchemaMismatch, match=r"does not fit the table p\.d\.t") as caught:
        fit_output(WRITTEN, there, "p.d.t")
    assert named(caught) == {
        "id": "is INT64, and STRING in the table",
        "prediction": "is FLOAT64, and ARRAY in the table",
        "run_id": "is not in the output table",
        "batch": "is required in the table, and the run does not write it",
    }
    assert "pass another output_table" in str(caught.value)


def test_parts_hold_the_columns_in_arrow_types() -> None:
    assert arrow_schema([Column("a", "INT64"), Column("b", "TIMESTAMP")]) == pa.schema(
        [pa.field("a", pa.int64()), pa.field("b", pa.timestamp("us", tz="UTC"))]
    )


@pytest.mark.parametrize("bare", [False, True], ids=["uploaded", "a bare pickle"])
def test_unnamed_columns_that_do_not_fit_are_refused_with_how_to_name_them(bare: bool) -> None:
    X = np.arange(12.0).reshape(6, 2)
    signature = {"signature": Signature.from_data(X).to_dict()}
    metadata = ModelMetadata() if bare else ModelMetadata.parse(json.dumps(signature).encode())
    table = [Column(name, "FLOAT64") for name in ("a", "b", "c")]
    with pytest.raises(SchemaMismatch, match=r"needs 2 columns.*Pass id_columns.* a DataFrame"):
        features_of(table, LinearRegression().fit(X, X[:, 0]), metadata, None)
