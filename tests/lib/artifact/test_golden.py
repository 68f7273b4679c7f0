"""Golden rows: the model answers them as when it was saved, or the difference is named."""

import datetime as dt
import json
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from mlsys.artifact.describe import build
from mlsys.artifact.golden import golden_frame, replay
from mlsys.artifact.metadata import ModelMetadata
from mlsys.artifact.pickling import pickled
from mlsys.artifact.signatures import Signature
from mlsys.errors import MetadataInvalid

N = 40
X = pd.DataFrame(
    {
        "age": np.linspace(1, 80, N),
        "sex": ["male", "female"] * (N // 2),
        "sibs": np.arange(N) % 4,
    }
)
Y = X["age"] > 30


class Kind(BaseEstimator):
    """Answers with the rows it was given, so that a difference in form becomes visible."""

    def fit(self, X: pd.DataFrame, y: Any = None) -> "Kind":
        self.fitted_ = True
        return self

    def predict(self, X: pd.DataFrame) -> np.ndarray:
        return np.array(
            [" ".join(f"{type(v).__name__}:{v}" for v in row) for row in X.to_numpy(object)]
        )


def saved(model: Any, data: Any = X, y: Any = Y, **changes: Any) -> ModelMetadata:
    document = build(model, X=data, y=y, artifact=pickled(model)) | changes
    return ModelMetadata.parse(json.dumps(document).encode())


def pipeline(final: Any) -> Any:
    encode = make_column_transformer(
        (OneHotEncoder(), ["sex"]), (StandardScaler(), ["age", "sibs"])
    )
    return make_pipeline(encode, final)


@pytest.mark.parametrize(
    ("model", "y"),
    [
        (pipeline(LogisticRegression()), Y),
        (pipeline(LogisticRegression()), Y.map({True: "old", False: "young"})),
        (pipeline(LinearRegression()), X["age"] * 2.5),
        (pipeline(LinearRegression()), np.column_stack([X["age"], X["sibs"]])),
        (pipeline(RandomForestClassifier(5, random_state=0)), Y),
    ],
)
def test_an_unchanged_model_reproduces_its_golden_rows(model: Any, y: Any) -> None:
    assert replay(model.fit(X, y), saved(model, y=y)) is None


def test_a_model_fitted_on_an_array_is_checked_too() -> None:
    model = LinearRegression().fit(X[["age", "sibs"]].to_numpy(), X["age"])
    assert replay(model, saved(model, X[["age", "sibs"]].to_numpy())) is None


@pytest.mark.parametrize(
    "values",
    [
        [dt.date(2026, 1, 2), dt.date(1950, 3, 4)],
        [dt.time(1, 2, 3), dt.time(4, 5, 6)],
        [Decimal("1.500000000"), Decimal("-2.250000000")],
        [b"\x00\xff", b"abc"],
        [True, False],
        [2**60, -1],
        [0.1, -1e300],
        ["text", "Ünïcode"],
        pd.to_datetime(["2026-01-02 03:04:05", "1999-12-31 00:00:00"]),
        pd.to_datetime(["2026-01-02 03:04:05", "1999-12-31 00:00:00"], utc=True),
        pd.Categorical(["a", "b"], categories=["b", "a"]),
    ],
    ids=lambda v: type(v[0]).__name__,
)
def test_golden_values_of_every_type_keep_the_form_of_the_training_data(values: Any) -> None:
    data = pd.DataFrame({"v": values})
    model = Kind().fit(data)
    assert replay(model, saved(model, data, y=None)) is None


def test_another_model_is_detected_by_its_answer() -> None:
    model = pipeline(LinearRegression()).fit(X, X["age"])
    other = pipeline(LinearRegression()).fit(X, -X["age"])
    said = replay(other, saved(model))
    assert said is not None
    assert said.startswith("the model predicts -1.0")
    assert "and predicted 1.0" in said


def test_differences_in_the_last_bits_are_accepted() -> None:
    model = pipeline(LinearRegression()).fit(X, X["age"])
    golden = dict(saved(model).document["golden"])
    golden["predictions"] = [p * (1 + 1e-12) for p in golden["predictions"]]
    assert replay(model, saved(model, golden=golden)) is None
    golden["predictions"] = [p * (1 + 1e-4) for p in golden["predictions"]]
    assert replay(model, saved(model, golden=golden)) is not None


def test_a_model_that_raises_is_reported_with_the_exception() -> None:
    model = pipeline(LogisticRegression()).fit(X, Y)
    said = replay(LinearRegression().fit(X[["age"]], Y), saved(model))
    assert said is not None
    assert said.startswith("the model raises ValueError on its golden rows: ")


def test_rows_that_json_cannot_hold_are_skipped() -> None:
    data = pd.DataFrame({"v": [np.inf, 1.0]})
    model = Kind().fit(data)
    assert replay(model, saved(model, data, y=None)) is None


@pytest.mark.parametrize("golden", [None, {"rows": [], "predictions": []}])
def test_without_golden_rows_nothing_is_compared(golden: Any) -> None:
    model = pipeline(LogisticRegression()).fit(X, Y)
    assert replay(model, saved(model, golden=golden)) is None
    assert replay(model, ModelMetadata()) is None


@pytest.mark.parametrize(
    ("golden", "words"),
    [
        ({"rows": [[1.0, "male", 1]], "predictions": []}, "same length"),
        ({"rows": 3, "predictions": []}, "must be lists"),
        ({"rows": [[1.0]], "predictions": [1]}, "must have 3 values"),
        ({"rows": ["abc"], "predictions": [1]}, "must have 3 values"),
        ({"rows": [["old", "male", 1]], "predictions": [1]}, "age is not FLOAT64"),
        ({"rows": [[1.0, 7, 1]], "predictions": [1]}, "sex is not STRING"),
        ({"rows": [[1.0, "male", {}]], "predictions": [1]}, "sibs is not INT64"),
    ],
)
def test_unreadable_golden_rows_give_no_verdict(golden: Any, words: str) -> None:
    model = pipeline(LogisticRegression()).fit(X, Y)
    with pytest.raises(MetadataInvalid, match=words):
        replay(model, saved(model, golden=golden))


def test_a_frame_of_golden_rows_has_the_training_dtypes() -> None:
    signature = Signature.from_data(X)
    frame = golden_frame(signature, json.loads(json.dumps(X.head(3).to_numpy(object).tolist())))
    pd.testing.assert_frame_equal(frame, X.head(3))
