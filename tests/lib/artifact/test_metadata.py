"""metadata.json: `build` describes a model, and `parse` reads any document."""

import base64
import datetime as dt
import json
import re
import time
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import google_crc32c
import numpy as np
import pandas as pd
import pytest
import sklearn
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import AdaBoostClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from mlsys.artifact.describe import build
from mlsys.artifact.documents import MAX_BYTES
from mlsys.artifact.metadata import ModelMetadata, json_value, model_class
from mlsys.artifact.profile import figures
from mlsys.artifact.signatures import Signature
from mlsys.errors import InvalidRequest, MetadataInvalid
from workers.registry import rows
from workers.scoring.planning import model_pin as scoring_model
from workers.verification.version import read_metadata

PASSENGERS = pd.DataFrame(
    {
        "Sex": ["female", "male", None, "male", "female", "male"],
        "Age": [22.0, None, 26.0, 35.0, 54.0, 2.0],
        "Pclass": [1, 3, 3, 1, 2, 3],
    }
)
SURVIVED = pd.Series([1, 0, 1, 0, 1, 0], name="Survived")


@pytest.fixture(scope="module")
def classifier() -> Any:
    """Return a typical pipeline, fitted on a DataFrame."""
    columns = ColumnTransformer(
        [("sex", OneHotEncoder(), ["Sex"]), ("rest", SimpleImputer(), ["Age", "Pclass"])]
    )
    return make_pipeline(columns, LogisticRegression()).fit(PASSENGERS, SURVIVED)


def test_a_classifier_is_described_with_signature_profile_and_golden_rows(classifier: Any) -> None:
    document = build(
        classifier,
        X=PASSENGERS,
        y=SURVIVED,
        id_columns=["PassengerId"],
        metrics={"auc": np.float64(0.87), "confusion": np.eye(2, dtype=int), "f1": np.nan},
        description="Who lived",
        artifact=b"the pickle",
    )
    assert document["model_class"] == "Pipeline(ColumnTransformer, LogisticRegression)"
    assert Signature.from_dict(document["signature"]) == Signature.from_data(PASSENGERS)
    assert document["target"] == "Survived"
    assert document["id_columns"] == ["PassengerId"]
    assert document["metrics"] == {"auc": 0.87, "confusion": [[1, 0], [0, 1]], "f1": None}
    assert document["description"] == "Who lived"
    assert document["versions"]["scikit-learn"] == sklearn.__version__
    assert document["versions"]["python"].startswith("3.")
    assert document["artifact"] == {
        "crc32c": base64.b64encode(google_crc32c.Checksum(b"the pickle").digest()).decode(),
        "size_bytes": 10,
    }
    assert figures(document) == {
        "rows": 6,
        "columns": {
            "Sex": {"nulls": 1, "distinct": 2, "top": {"male": 3, "female": 2}},
            "Age": {"nulls": 1, "min": 2, "max": 54, "mean": 27.8},
            "Pclass": {"nulls": 0, "distinct": 3, "top": {"1": 2, "2": 1, "3": 3}, "mean": 2.16667},
        },
    }
    golden = document["golden"]
    assert golden["rows"][:3] == [["female", 22.0, 1], ["male", None, 3], [None, 26.0, 3]]
    assert len(golden["rows"]) == 5
    seen = pd.DataFrame(golden["rows"], columns=list(PASSENGERS.columns)).astype(PASSENGERS.dtypes)
    assert golden["predictions"] == classifier.predict(seen).tolist()
    assert dt.datetime.fromisoformat(document["created_at"]).tzinfo is not None


def test_a_built_document_is_json_and_parses_to_the_same_metadata(classifier: Any) -> None:
    document = build(classifier, X=PASSENGERS, y=SURVIVED, id_columns="PassengerId", artifact=b"a")
    metadata = ModelMetadata.parse(json.dumps(document, allow_nan=False).encode())
    assert metadata.document == document
    assert metadata.signature == Signature.from_data(PASSENGERS)
    assert metadata.feature_names == ("Sex", "Age", "Pclass")
    assert metadata.target == ("Survived",)
    assert metadata.id_columns == ("PassengerId",)
    assert metadata.sklearn_version == sklearn.__version__
    assert metadata.describes(document["artifact"]["crc32c"])
    assert not metadata.describes("AAAAAA==")


def test_a_regressor_of_several_outputs_has_several_targets() -> None:
    X = pd.DataFrame({"a": [1.0, 2.0, 4.0]})
    y = pd.DataFrame({"low": [1.0, 2.0, 4.0], "high": [2.0, 4.0, 8.0]})
    document = build(LinearRegression().fit(X, y), X=X, y=y)
    assert document["target"] == ["low", "high"]
    assert np.shape(document["golden"]["predictions"]) == (3, 2)


@pytest.mark.parametrize(
    ("y", "target", "expected"),
    [
        pytest.param(pd.Series([1.0, 2.0], name="price"), None, "price", id="the Series' name"),
        pytest.param(pd.Series([1.0, 2.0], name="price"), "cost", "cost", id="the argument"),
        pytest.param(np.array([1.0, 2.0]), None, None, id="an array without a name"),
        pytest.param(None, ["cost"], "cost", id="a list of one"),
        pytest.param(pd.DataFrame({"a": [1.0, 2.0]}), None, "a", id="a frame of one column"),
    ],
)
def test_the_source_of_the_targets_name(y: Any, target: Any, expected: Any) -> None:
    X = pd.DataFrame({"a": [1.0, 2.0]})
    document = build(LinearRegression().fit(X, [1, 2]), X=X, y=y, target=target)
    assert document.get("target") == expected


def test_a_list_names_the_targets_of_a_model_of_several_outputs() -> None:
    X = pd.DataFrame({"a": [1.0, 2.0]})
    model = LinearRegression().fit(X, [[1, 2], [3, 4]])
    assert build(model, X=X, target=["low", "high"])["target"] == ["low", "high"]


def test_an_array_is_described_by_position() -> None:
    X = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 7.0]])
    document = build(LinearRegression().fit(X, [1, 2, 3]), X=X)
    assert document["signature"]["positional"] is True
    assert list(figures(document)["columns"]) == ["x0", "x1"]
    assert document["golden"]["rows"] == X.tolist()


class Answer(BaseEstimator):
    """A model that always answers 1."""

    def predict(self, X: Any) -> np.ndarray:
        return np.ones(len(X))


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(pd.Series([1, None, 3], dtype="Int64"), id="NA"),
        pytest.param(pd.Series(pd.to_datetime(["2026-01-01", None])), id="NaT"),
        pytest.param(pd.Series(pd.to_datetime(["2026-01-01"], utc=True)), id="timestamps"),
        pytest.param(pd.Series(["a", None], dtype="category"), id="categories"),
        pytest.param(pd.Series([3, 1], dtype="category"), id="number categories"),
        pytest.param(pd.Series([Decimal("1.5"), None]), id="decimals"),
        pytest.param(pd.Series([dt.date(2026, 1, 1), None]), id="dates"),
        pytest.param(pd.Series([dt.time(1), None]), id="times"),
        pytest.param(pd.Series([b"\xff", None]), id="bytes"),
        pytest.param(pd.Series([True, None], dtype="boolean"), id="nullable booleans"),
        pytest.param(pd.Series([np.inf, np.nan]), id="infinity"),
        pytest.param(pd.Series([None, None], dtype=object), id="NULLs alone"),
        pytest.param(pd.Series([None, None], dtype="float64"), id="NaN alone"),
        pytest.param(pd.Series([2**62], dtype="uint64"), id="large numbers"),
    ],
)
def test_the_document_is_json_for_any_column_values(values: pd.Series) -> None:
    document = build(Answer(), X=pd.DataFrame({"a": values}))
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert figures(document)["columns"]["a"]["nulls"] == values.isna().sum()
    assert [row == [None] for row in document["golden"]["rows"]] == [
        bool(pd.isna(v)) or v == np.inf for v in values
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(np.float32(0.5), 0.5, id="a NumPy number"),
        pytest.param(np.bool_(True), True, id="a NumPy boolean"),
        pytest.param(float("inf"), None, id="infinity"),
        pytest.param(float("nan"), None, id="NaN"),
        pytest.param(Decimal("NaN"), None, id="a NaN of decimals"),
        pytest.param(pd.NA, None, id="NA"),
        pytest.param(pd.NaT, None, id="NaT"),
        pytest.param(np.datetime64("NaT", "ns"), None, id="NumPy's NaT"),
        pytest.param("NaT", "NaT", id="text stays text"),
        pytest.param({1: (1, {2})}, {"1": [1, [2]]}, id="nested"),
        pytest.param(pd.Series({"a": 1.0, "b": np.nan}), {"a": 1.0, "b": None}, id="a Series"),
        pytest.param(
            pd.DataFrame({"p": [0.5]}, index=["x"]), {"p": {"x": 0.5}}, id="a classification report"
        ),
        pytest.param(pd.Timestamp("2026-01-02T03:04:05"), "2026-01-02T03:04:05", id="a moment"),
        pytest.param(Decimal("1.50"), "1.50", id="a decimal"),
        pytest.param(LogisticRegression, str(LogisticRegression), id="anything else, as text"),
    ],
)
def test_a_metric_becomes_a_json_value(value: Any, expected: Any) -> None:
    assert json_value(value) == expected
    json.dumps(json_value(value), allow_nan=False)


def test_a_model_that_cannot_predict_on_x_is_refused(classifier: Any) -> None:
    with pytest.raises(InvalidRequest, match="^model: cannot predict on rows of X: .*Age"):
        build(classifier, X=PASSENGERS.drop(columns="Age"))


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        pytest.param(RandomForestClassifier(), "RandomForestClassifier", id="a forest"),
        pytest.param(
            make_pipeline(SimpleImputer(), make_pipeline(Ridge())),
            "Pipeline(SimpleImputer, Pipeline(Ridge))",
            id="pipelines",
        ),
        pytest.param(GridSearchCV(Ridge(), {}), "GridSearchCV(Ridge)", id="a search"),
        pytest.param(
            GridSearchCV(make_pipeline(SimpleImputer(), RandomForestClassifier()), {}),
            "GridSearchCV(Pipeline(SimpleImputer, RandomForestClassifier))",
            id="a search over a pipeline",
        ),
        pytest.param(
            GridSearchCV(RandomForestClassifier(), {}),
            "GridSearchCV(RandomForestClassifier)",
            id="a search over a forest that is not fitted",
        ),
        pytest.param(
            TransformedTargetRegressor(Ridge()), "TransformedTargetRegressor(Ridge)", id="target"
        ),
        pytest.param(TransformedTargetRegressor(), "TransformedTargetRegressor", id="no inner"),
        pytest.param(AdaBoostClassifier(), "AdaBoostClassifier", id="the default inner"),
        pytest.param({"a": 1}, "dict", id="no model at all"),
    ],
)
def test_a_models_description_names_its_class_and_its_steps(model: Any, expected: str) -> None:
    assert model_class(model) == expected


def test_a_handwritten_document_may_have_any_parts_and_keeps_unknown_ones() -> None:
    assert ModelMetadata.parse(b"{}") == ModelMetadata()
    document = {
        "feature_names": ["a", "b"],
        "target": "price",
        "id_columns": ["id"],
        "versions": None,
        "team": {"name": "pricing"},
        "metrics": [1, 2],
    }
    metadata = ModelMetadata.parse(json.dumps(document).encode())
    assert metadata.document == document
    assert metadata.feature_names == ("a", "b")
    assert metadata.target == ("price",)
    assert metadata.id_columns == ("id",)
    assert metadata.signature is metadata.model_class is metadata.sklearn_version is None


def test_the_signatures_names_override_feature_names() -> None:
    text = b'{"feature_names": ["z"], "signature": {"features": [{"name": "a", "type": "INT64"}]}}'
    assert ModelMetadata.parse(text).feature_names == ("a",)


def test_metadata_without_a_checksum_applies_to_any_model_file() -> None:
    assert ModelMetadata.parse(b"{}").describes("AAAAAA==")
    assert ModelMetadata.parse(b'{"artifact": {"crc32c": "AAAAAA=="}}').describes("AAAAAA==")
    assert not ModelMetadata.parse(b'{"artifact": {"crc32c": "AAAAAA=="}}').describes(None)


def test_nan_and_infinity_become_null() -> None:
    """Python writes NaN and Infinity into JSON; BigQuery's JSON does not accept them."""
    metadata = ModelMetadata.parse(b'{"metrics": [NaN, Infinity, -Infinity, 1e999, 0.5, 7]}')
    assert metadata.document == {"metrics": [None, None, None, None, 0.5, 7]}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"", "metadata.json is not JSON", id="empty"),
        pytest.param(b"name: x", "metadata.json is not JSON", id="YAML"),
        pytest.param(b'{"a": 1', "metadata.json is not JSON", id="cut off"),
        pytest.param(b"\xff\xfe\x00", "metadata.json is not JSON", id="other bytes"),
        pytest.param(b"[" * 100_000, "metadata.json is not JSON", id="very deep"),
        pytest.param(b"[]", "metadata.json holds a list, not an object", id="a list"),
        pytest.param(b"null", "metadata.json holds a NoneType, not an object", id="null"),
        pytest.param(b'{"model_class": 1}', "model_class must be a string", id="class"),
        pytest.param(b'{"versions": []}', "", id="empty versions"),
        pytest.param(b'{"versions": ["1"]}', "versions must be an object", id="versions"),
        pytest.param(
            b'{"versions": {"scikit-learn": 1.9}}', "scikit-learn must be a string", id="version"
        ),
        pytest.param(b'{"artifact": "x"}', "artifact must be an object", id="artifact"),
        pytest.param(b'{"artifact": {"crc32c": 5}}', "crc32c must be a string", id="crc32c"),
        pytest.param(b'{"target": 1}', "target must be a string or a list of strings", id="target"),
        pytest.param(b'{"target": [1]}', "target must be a string or a list of", id="targets"),
        pytest.param(b'{"id_columns": {"a": 1}}', "id_columns must be a string or a", id="ids"),
        pytest.param(b'{"feature_names": [null]}', "feature_names must be a string", id="names"),
        pytest.param(b'{"signature": []}', "signature: pass", id="signature"),
        pytest.param(b'{"a": 1, "a": 2}', "has 'a' twice in one object", id="a key twice"),
        pytest.param(b'{"a": [{"b": {}, "b": 1}]}', "has 'b' twice", id="a key twice, deeper"),
        pytest.param(b'{"a":' * 101 + b"1" + b"}" * 101, "deeper than 100 levels", id="deep"),
        pytest.param(b'{"a": ' + b"9" * 4000 + b"}", "FLOAT64 cannot hold", id="4,000 digits"),
        pytest.param(b'{"a": ' + b"9" * 5000 + b"}", "is not JSON", id="5,000 digits"),
        pytest.param(b'{"a": "\\ud800"}', "half of a surrogate pair", id="a surrogate"),
        pytest.param(b'{"\\ud800": 1}', "half of a surrogate pair", id="a key of a surrogate"),
        pytest.param(b'{"\\ud800": 1, "\\ud800": 1}', "twice", id="surrogates twice"),
        pytest.param(b'{"a": "' + b"x" * MAX_BYTES + b'"}', "the limit is 1,000,000", id="large"),
        pytest.param(
            json.dumps({"target": [f"t{i}" for i in range(10_001)]}).encode(),
            "target has 10,001 names, and a BigQuery table has at most 10,000",
            id="too many targets",
        ),
        pytest.param(
            json.dumps({"id_columns": ["a"] * 10_001}).encode(), "id_columns has", id="many ids"
        ),
    ],
)
def test_a_part_of_the_wrong_form_is_named(content: bytes, reason: str) -> None:
    if not reason:
        assert ModelMetadata.parse(content).sklearn_version is None
        return
    with pytest.raises(MetadataInvalid, match=reason):
        ModelMetadata.parse(content)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
PARTS = "signature model_class feature_names target id_columns versions artifact".split()


@given(st.dictionaries(st.sampled_from(PARTS) | st.text(), JSON).map(json.dumps) | st.text())
def test_any_document_is_parsed_or_refused(text: str) -> None:
    try:
        metadata = ModelMetadata.parse(text.encode("utf-8", "surrogatepass"))
    except MetadataInvalid as exc:
        assert str(exc)
    else:
        json.dumps(metadata.document, allow_nan=False)


def features(*items: Any) -> bytes:
    return json.dumps({"signature": {"features": list(items)}}).encode()


A = {"name": "a", "type": "INT64"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (features(A, A), "'a' is a duplicate"),
        (features({"type": "INT64"}), "features[0] has no name"),
        (features("a"), "features[0] has no name"),
        (features({"name": 1, "type": "INT64"}), "features[0] has no name"),
        (features({"name": "a"}), "'a' has type None"),
        (features(A | {"type": ["INT64"]}), "'a' has type ['INT64']: pass one of"),
        (features(A | {"type": "x" * 900_000}), "xxx...: pass one of"),
        (features(A | {"name": "n" * 900_000, "type": 1}), "nnn... has type 1"),
        (features(A | {"dtype": 64}), "'a' has dtype 64"),
        (features(A | {"dtype": "int64" * 50}), "pass one of pandas"),
        (features(A | {"nullable": "no"}), "'a' has nullable 'no': pass a bool"),
        (features(A | {"ordered": 1}), "'a' has ordered 1: pass a bool"),
        (features(A | {"dtype": "category"}), "'a' needs a list of categories"),
        (features(A | {"categories": "ab"}), "malformed categories: pass a list"),
        (features(A | {"categories": {"a": 1}}), "malformed categories: pass a list"),
        (features(A | {"categories": [[1], [2]]}), "malformed categories: pass a list"),
        (features(A | {"categories": [None]}), "malformed categories: pass a list"),
        (features(A | {"categories": [1, 1]}), "pass a list of distinct"),
    ],
)
def test_a_feature_of_the_wrong_form_is_named_in_a_short_sentence(
    content: bytes, reason: str
) -> None:
    with pytest.raises(MetadataInvalid, match=re.escape(reason)) as caught:
        ModelMetadata.parse(content)
    assert len(str(caught.value)) < 300


def test_a_signature_of_more_columns_than_a_table_can_have_is_refused() -> None:
    many = [{"name": f"f{i}", "type": "INT64"} for i in range(10_000)]
    assert len(ModelMetadata.parse(features(*many)).feature_names) == 10_000
    began = time.monotonic()
    with pytest.raises(MetadataInvalid, match="there are 10,001 features, and a BigQuery table"):
        ModelMetadata.parse(features(*many, {"name": "one more", "type": "INT64"}))
    with pytest.raises(MetadataInvalid, match="there are 1,000,000 features"):
        Signature.from_dict({"features": [A] * 1_000_000})
    assert time.monotonic() - began < 5


@dataclass
class Stored:
    """An object of Cloud Storage that can only be read."""

    content: bytes
    size: int
    generation: int = 7
    downloads: int = 0

    def download_as_bytes(self, *, if_generation_match: int, timeout: float) -> bytes:
        self.downloads += 1
        assert if_generation_match == self.generation
        return self.content


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"target": "y"}' + b" " * MAX_BYTES, "has 1,000,015 bytes, and the limit is 1,000,000"),
        (b'{"target": "y", "a": ' + b"[" * 101 + b"]" * 101 + b"}", "deeper than 100 levels"),
        (b'{"target": "y", "a": "\\ud800"}', "half of a surrogate pair"),
        (b'{"target": "y", "a": ' + b"9" * 4000 + b"}", "FLOAT64 cannot hold"),
        (b'{"target": "y", "artifact": {"crc32c": "BBBBBB=="}}', "about another model.pkl"),
        (b'{"target": "y"}' + b" " * (MAX_BYTES - 15), None),
    ],
)
def test_registry_and_scoring_leave_out_the_same_metadata(
    content: bytes, reason: str | None
) -> None:
    """Both use this reader; a document that is too large is not even downloaded."""
    blob = Stored(content, len(content))
    metadata, said = read_metadata(blob, "AAAAAA==")  # type: ignore[arg-type]
    assert (said is None) == (reason is None) and (reason or "") in (said or "")
    assert metadata.target == (("y",) if reason is None else ())
    assert blob.downloads == (len(content) <= MAX_BYTES)
    for module in (rows, scoring_model):
        assert read_metadata in vars(module).values()
