"""An estimator of one's own without `classes_`: its golden predictions tell the columns' types."""

import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LinearRegression, LogisticRegression

from mlsys.artifact.describe import build
from mlsys.artifact.metadata import ModelMetadata, types_of
from mlsys.artifact.profile import Profile
from mlsys.columns.bins import count, fits
from mlsys.columns.frames import from_frame
from mlsys.errors import InvalidRequest, PredictionFailed
from workers.inference.description import describe, output_values
from workers.inference.predictor import PredictionSpec, Predictor

X = pd.DataFrame({"a": np.linspace(0, 1, 40), "b": np.linspace(3, -2, 40)})


class Own(BaseEstimator):
    """Answers with `make` of the first column."""

    def __init__(self, make: Any) -> None:
        self.make = make

    def fit(self, X: pd.DataFrame) -> "Own":
        self.n_features_in_ = X.shape[1]
        return self

    def predict(self, X: pd.DataFrame) -> Any:
        return self.make(np.asarray(X)[:, 0])

    def predict_proba(self, X: pd.DataFrame) -> Any:
        return X.to_numpy()


class OwnClassifier(ClassifierMixin, Own):
    """The same with scikit-learn's tag of a classifier."""


def level(a: np.ndarray) -> np.ndarray:
    return np.where(a > 0.5, "high", "low")


def listed(a: np.ndarray) -> list[str | None]:
    return [None if x > 0.9 else str(x > 0.5) for x in a]


def predictor(model: Any, metadata: ModelMetadata) -> Predictor:
    """Return the predictor as planning makes it."""
    description = describe(model, metadata.outputs or 0, metadata.output_types)
    columns = [f"y{i}" for i in range(len(description.prediction_types))]
    types = dict(zip(columns, description.prediction_types, strict=True))
    assert metadata.signature is not None
    spec = PredictionSpec(
        metadata.signature.features, {"predict": tuple(columns)}, types, "plain: own"
    )
    return Predictor(model, spec)


@pytest.mark.parametrize(
    ("model", "want"),
    [
        (Own(level), ["STRING"]),
        (Own(listed), ["STRING"]),
        (Own(lambda a: a > 0.5), ["BOOL"]),
        (Own(lambda a: (a > 0.5).astype(int)), ["FLOAT64"]),
        (OwnClassifier(lambda a: (a > 0.5).astype(int)), ["INT64"]),
        (OwnClassifier(level), ["STRING"]),
        (Own(lambda a: a), ["FLOAT64"]),
        (
            Own(lambda a: np.column_stack([level(a).astype(object), a])),
            ["STRING", "FLOAT64"],
        ),
    ],
    ids=["text", "a list", "flags", "whole", "classes", "text classes", "numbers", "two"],
)
def test_its_golden_predictions_tell_the_types(model: Any, want: list[str]) -> None:
    model.fit(X)
    metadata = ModelMetadata.from_document(build(model, X=X))
    scored = predictor(model, metadata)
    assert list(scored.spec.types.values()) == want
    given = scored.predict(from_frame(X))
    answers = np.asarray(model.predict(X), dtype=object).reshape(len(X), -1)
    assert [column.to_pylist() for column in given.values()] == answers.T.tolist()


@pytest.mark.parametrize(
    "make",
    [
        level,
        listed,
        lambda a: a > 0.5,
        lambda a: a,
        lambda a: [Decimal("1.5")] * len(a),
        lambda a: a.astype("M8[s]"),
        lambda a: [dt.date(2026, 1, 1)] * len(a),
        lambda a: np.full(len(a), b"x"),
    ],
    ids=["text", "a list", "flags", "numbers", "decimals", "times", "dates", "bytes"],
)
def test_its_profile_has_bins_of_what_is_written(make: Any) -> None:
    model = Own(make).fit(X)
    document = build(model, X=X)
    profile = Profile.of_document(document)
    assert profile is not None
    [column] = profile.predictions["predict"]
    scored = predictor(model, ModelMetadata.from_document(document))
    [written] = scored.predict(from_frame(X)).values()
    assert fits(column.bins, written.type)
    counts, before = count(column.bins, written), column.counts
    assert (counts.bins, counts.nulls, counts.other) == (before.bins, before.nulls, before.other)


def test_without_golden_rows_the_error_says_what_to_set() -> None:
    model = Own(level).fit(X)
    scored = predictor(model, ModelMetadata.from_document(build(model, X=X, golden=False)))
    with pytest.raises(PredictionFailed, match=r"predicts text \('low'\) .* set self.classes_ in"):
        scored.predict(from_frame(X))


@pytest.mark.parametrize(
    "answers",
    [lambda a: a * 1j, lambda a: a.astype("M8[s]"), lambda a: np.full(len(a), b"x")],
    ids=["complex", "times", "bytes"],
)
def test_answers_of_no_column_are_refused_row_by_row(answers: Any) -> None:
    scored = predictor(
        Own(answers).fit(X), ModelMetadata.from_document(build(Own(lambda a: a).fit(X), X=X))
    )
    with pytest.raises(PredictionFailed, match=r"which do not fit the column 'y0' of type double"):
        scored.predict(from_frame(X))


def test_its_probabilities_need_classes() -> None:
    with pytest.raises(InvalidRequest, match="or set self.classes_ in its fit"):
        output_values(Own(level).fit(X), ["predict_proba"], ["prediction"])


@pytest.mark.parametrize(
    ("golden", "want"),
    [
        ({}, ()),
        ({"predictions": []}, ()),
        ({"predictions": "text"}, ()),
        ({"predictions": [["a"]], "method": "transform"}, ()),
        ({"predictions": ["a", None]}, ("STRING",)),
        ({"predictions": [None]}, (None,)),
        ({"predictions": ["a", 1]}, (None,)),
        ({"predictions": [{"a": 1}]}, (None,)),
        ({"predictions": [["a", 1, True], ["b", 2]]}, ("STRING", "INT64", "BOOL")),
        ({"predictions": [[]]}, (None,)),
        ({"predictions": [["a"], "b", {}]}, (None,)),
    ],
    ids=str,
)
def test_golden_predictions_of_any_form_are_read(golden: Any, want: Any) -> None:
    assert types_of(golden) == want


@pytest.mark.parametrize("model", [LinearRegression(), LogisticRegression()], ids=str)
def test_golden_predictions_do_not_change_scikit_learns_own_types(model: Any) -> None:
    model.fit(X, (X["a"] > 0.5).astype(int))
    [kind] = describe(model, 1).prediction_types
    assert describe(model, 1, ("FLOAT64",)).prediction_types == (kind,)
    assert describe(model, 1, ("INT64",)).prediction_types == (kind,)
    assert describe(model, 3, ("INT64",)).prediction_types[0] == kind


def test_a_dictionary_is_not_an_answer_for_each_row() -> None:
    with pytest.raises(InvalidRequest, match="predict gives a dict and not a value for each row"):
        build(Own(lambda a: {"a": a}).fit(X), X=X)
