"""Models of one column: a pipeline of a text vectorizer gets a column, not a table."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier, StackingClassifier, VotingClassifier
from sklearn.feature_extraction import DictVectorizer, FeatureHasher
from sklearn.feature_extraction.text import (
    CountVectorizer,
    HashingVectorizer,
    TfidfTransformer,
    TfidfVectorizer,
)
from sklearn.frozen import FrozenEstimator
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import FeatureUnion, make_pipeline, make_union
from sklearn.preprocessing import (
    FunctionTransformer,
    LabelBinarizer,
    LabelEncoder,
    MultiLabelBinarizer,
    Normalizer,
    StandardScaler,
)

from in_process import features_of
from mlsys.artifact.describe import build
from mlsys.artifact.estimators.fitted import not_fitted
from mlsys.artifact.estimators.inputs import ANY, TEXT, one_column
from mlsys.artifact.estimators.randomness import ANSWERS_VARY
from mlsys.artifact.golden import replay, takes_series
from mlsys.artifact.loading import LoadedModel
from mlsys.artifact.metadata import ModelMetadata
from mlsys.errors import InvalidRequest, ModelUnusable, SchemaMismatch
from mlsys.local.stack import LocalStack
from scoring_cases import Lab
from workers.inference.fast_path.choose import ask
from workers.inference.verdict import judge
from workers.scoring.planning.columns import Column

WORDS = ["good film", "bad plot", "good cast", "bad text"]
DOCS = pd.Series([WORDS[i % 4] for i in range(40)], name="text")
Y = np.array([1, 0, 1, 0] * 10)
FRAME = pd.DataFrame({"a": np.linspace(0, 1, 40), "b": np.linspace(5, 2, 40) ** 2})


def texts() -> Any:
    return make_pipeline(TfidfVectorizer(), LogisticRegression())


TEXT_MODELS = {
    "tfidf": texts(),
    "counts": make_pipeline(CountVectorizer(), TfidfTransformer(), LogisticRegression()),
    "hashing": make_pipeline(HashingVectorizer(n_features=64), LogisticRegression()),
    "search": GridSearchCV(texts(), {"logisticregression__C": [1.0]}, cv=2),
    "inner search": make_pipeline(
        TfidfVectorizer(), GridSearchCV(LogisticRegression(), {"C": [1.0]}, cv=2)
    ),
    "calibrated": CalibratedClassifierCV(texts(), cv=2),
    "voting": VotingClassifier([("a", texts()), ("b", texts())]),
    "stacking": StackingClassifier([("a", texts())], LogisticRegression(), cv=2),
    "one against the rest": OneVsRestClassifier(texts()),
    "frozen": FrozenEstimator(texts().fit(DOCS, Y)),
    "threshold": FixedThresholdClassifier(texts(), threshold=0.4),
    "union": make_pipeline(make_union(TfidfVectorizer(), CountVectorizer()), LogisticRegression()),
    "nested": make_pipeline(
        "passthrough", make_pipeline(TfidfVectorizer(), TruncatedSVD(2)), PCA(1)
    ),
    "a function first": make_pipeline(FunctionTransformer(), TfidfVectorizer(), Normalizer()),
    "a vectorizer alone": TfidfVectorizer(),
    "its vocabulary given": CountVectorizer(vocabulary=["good", "bad"]),
}


def read(document: dict[str, Any]) -> ModelMetadata:
    return ModelMetadata.parse(json.dumps(document).encode())


@pytest.mark.parametrize("name", TEXT_MODELS)
def test_a_text_model_is_recognized_and_scored_with_its_column(name: str) -> None:
    model = TEXT_MODELS[name].fit(DOCS, Y)
    method = "predict" if hasattr(model, "predict") else "transform"
    metadata = read(build(model, X=DOCS, y=Y))
    assert metadata.signature is not None
    assert metadata.signature.series
    assert replay(model, metadata) is None
    for known in (metadata, ModelMetadata()):
        assert takes_series(model, known.signature)
        table = [Column("id", "INT64"), Column("text", "STRING")]
        features, _ = features_of(table, model, known, ["id"])
        assert [f.name for f in features] == ["text"]
        rows = pa.table({"text": DOCS.tolist()})
        given = ask(model, features, rows, [method], series=True)[method]
        want = getattr(model, method)(DOCS)
        if hasattr(want, "toarray"):
            given, want = given.toarray(), want.toarray()
        assert np.array_equal(given, want)


@pytest.mark.parametrize("X", [DOCS.to_frame(), pd.DataFrame({"t": DOCS, "u": DOCS})])
def test_a_table_is_refused_for_a_text_model(X: pd.DataFrame) -> None:
    with pytest.raises(InvalidRequest, match=r"one column of text as a Series: .* X=df\['text'\]"):
        build(texts().fit(DOCS, Y), X=X, y=Y)


def test_a_signature_with_one_text_column_selects_that_column() -> None:
    model = texts().fit(DOCS, Y)
    by_hand = {"signature": {"features": [{"name": "text", "type": "STRING"}]}}
    assert takes_series(model, read(by_hand).signature)


@pytest.mark.parametrize(
    ("table", "ids", "expected"),
    [
        ({"text": "STRING"}, None, "text"),
        ({"id": "INT64", "body": "STRING", "n": "FLOAT64"}, None, "body"),
        ({"id": "STRING", "body": "STRING"}, ["id"], "body"),
    ],
)
def test_the_only_text_column_is_used(
    table: dict[str, str], ids: list[str] | None, expected: str
) -> None:
    columns = [Column(*item) for item in table.items()]
    features, _ = features_of(columns, texts().fit(DOCS, Y), ModelMetadata(), ids)
    assert [f.name for f in features] == [expected]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"id": "STRING", "body": "STRING"}, r"2 such columns \(id, body\)"),
        ({"id": "INT64", "n": "FLOAT64"}, "no such column"),
        ({"n": "INT64"}, "no such column"),
    ],
)
def test_one_of_several_text_columns_is_not_guessed(table: dict[str, str], words: str) -> None:
    columns = [Column(*item) for item in table.items()]
    with pytest.raises(SchemaMismatch, match=rf"one column of text .*{words}.*X=df\['text'\]"):
        features_of(columns, texts().fit(DOCS, Y), ModelMetadata(), None)


@pytest.mark.parametrize(
    ("model", "data", "kind"),
    [
        (LabelEncoder().fit(DOCS), DOCS, ANY),
        (LabelBinarizer().fit(DOCS), DOCS, ANY),
        (IsotonicRegression().fit(FRAME["a"], Y), FRAME["a"], ANY),
        (texts().fit(DOCS, Y), DOCS, TEXT),
        (LogisticRegression().fit(FRAME, Y), FRAME, None),
    ],
)
def test_models_of_one_column_of_any_type_are_recognized(model: Any, data: Any, kind: Any) -> None:
    assert one_column(model) == kind
    metadata = read(build(model, X=data))
    assert metadata.signature is not None
    assert metadata.signature.series == (kind is not None)
    assert replay(model, metadata) is None


@pytest.mark.parametrize(
    "model",
    [
        DictVectorizer().fit([{"a": 1}]),
        make_pipeline(DictVectorizer(), LogisticRegression()).fit([{"a": 1}, {"a": 2}], [0, 1]),
        make_pipeline(FeatureHasher(8), LogisticRegression()).fit([{"a": 1}, {"a": 2}], [0, 1]),
        MultiLabelBinarizer().fit([["a"]]),
    ],
)
def test_training_rows_that_no_table_can_hold_are_refused(model: Any) -> None:
    with pytest.raises(ModelUnusable, match="a column of a table cannot hold one"):
        judge(LoadedModel(model), ModelMetadata())
    with pytest.raises(InvalidRequest, match="a column of a table cannot hold one"):
        build(model, X=FRAME)


class ByColumn:
    """Answers once for each column of a frame, as any function that iterates over a frame does."""

    fitted_ = True

    def fit(self, X: Any, y: Any = None) -> "ByColumn":
        return self

    def predict(self, X: Any) -> np.ndarray:
        return np.zeros(len(list(X)))


@pytest.mark.parametrize("columns", [2, 5, 6])
def test_an_answer_for_each_column_is_not_mistaken_for_one_for_each_row(columns: int) -> None:
    X = pd.DataFrame({f"c{i}": np.arange(40.0) for i in range(columns)})
    with pytest.raises(InvalidRequest, match="answers to"):
        build(ByColumn(), X=X)


UNFITTED = [
    (LogisticRegression(), "LogisticRegression"),
    (make_pipeline(StandardScaler(), LogisticRegression()), "StandardScaler"),
    (make_pipeline(StandardScaler().fit(FRAME), LogisticRegression()), "LogisticRegression"),
    (make_pipeline(StandardScaler(), LogisticRegression().fit(FRAME, Y)), "StandardScaler"),
    (make_pipeline(Normalizer(), LogisticRegression()), "LogisticRegression"),
    (GridSearchCV(LogisticRegression(), {"C": [1]}), "GridSearchCV"),
    (TfidfVectorizer(), "TfidfVectorizer"),
    (FeatureUnion([("a", CountVectorizer())]), "FeatureUnion"),
    (RandomForestClassifier(), "RandomForestClassifier"),
]


@pytest.mark.parametrize(("model", "part"), UNFITTED)
def test_an_unfitted_model_is_named(model: Any, part: str) -> None:
    assert not_fitted(model) == part
    with pytest.raises(ModelUnusable, match="is not fitted"):
        judge(LoadedModel(model), ModelMetadata())
    with pytest.raises(InvalidRequest, match="is not fitted: call fit"):
        build(model, X=FRAME, y=Y)


@pytest.mark.parametrize(
    "model",
    [
        HashingVectorizer(),
        FunctionTransformer(),
        Normalizer(),
        make_pipeline(HashingVectorizer(), Normalizer()),
        CountVectorizer(vocabulary=["a"]),
        make_pipeline("passthrough", LogisticRegression().fit(FRAME, Y)),
        ByColumn(),
    ],
)
def test_a_model_that_needs_no_fit_counts_as_fitted(model: Any) -> None:
    assert not_fitted(model) is None


@pytest.mark.parametrize("strategy", ["uniform", "stratified"])
def test_a_random_model_is_refused_with_advice_to_set_random_state(strategy: str) -> None:
    model = make_pipeline(StandardScaler(), DummyClassifier(strategy=strategy)).fit(FRAME, Y)
    for metadata in (ModelMetadata(), read(build(model, X=FRAME, y=Y))):
        verdict = judge(LoadedModel(model), metadata)
        assert (verdict.status, verdict.reason) == ("rejected", ANSWERS_VARY)
    assert "random_state" in ANSWERS_VARY
    fixed = DummyClassifier(strategy=strategy, random_state=0).fit(FRAME, Y)
    assert judge(LoadedModel(fixed), read(build(fixed, X=FRAME, y=Y))).status == "ready"


class Drawn(ByColumn):
    def __init__(self) -> None:
        self.random = np.random.RandomState(0)

    def predict(self, X: Any) -> np.ndarray:
        return self.random.rand(len(X))


def test_a_model_whose_answers_vary_is_refused() -> None:
    model = Drawn()
    assert judge(LoadedModel(model), read(build(model, X=FRAME))).reason == ANSWERS_VARY


@pytest.mark.parametrize(
    "model", [PCA(1), StandardScaler(), make_pipeline(StandardScaler(), PCA(2))]
)
def test_a_model_that_only_transforms_has_golden_rows(model: Any) -> None:
    document = build(model.fit(FRAME), X=FRAME)
    assert document["golden"]["method"] == "transform"
    assert replay(model, read(document)) is None
    assert read(document).outputs is None
    other = make_pipeline(StandardScaler(), PCA(2)).fit(FRAME**2 + 1)
    assert replay(other, read(document)) is not None


# On the local stack


@pytest.fixture
def lab(stack: LocalStack, environment: dict[str, str]) -> Lab:
    return Lab(stack)


def test_texts_are_scored_from_a_table(lab: Lab) -> None:
    model = texts().fit(DOCS, Y)
    docs = pd.DataFrame({"id": range(40), "text": DOCS, "n": 1.0})
    table, one = lab.put(docs), lab.put(docs.head(1))
    want = model.predict_proba(DOCS)[:, 1].tolist()
    for name in (lab.upload(model, DOCS), lab.put_pickle(model)):
        for source, rows in ((table, 40), (one, 1)):
            result, got = lab.score(
                source, name, outputs="predict,predict_proba", id_columns="id,n"
            )
            assert result["rows"] == rows
            assert got["prediction"].tolist() == Y[:rows].tolist()
            assert got["probability_1"].tolist() == pytest.approx(want[:rows])
    more = lab.put(docs.assign(more="x"))
    body = lab.here(lab.params(more, name)).problem(422, "schema-mismatch")
    assert "2 such columns (text, more)" in body["detail"]


def test_a_random_model_and_an_unfitted_one_are_refused(lab: Lab) -> None:
    table = lab.put(FRAME.assign(id=range(40)))
    drawn = DummyClassifier(strategy="uniform").fit(FRAME, Y)
    with pytest.warns(UserWarning, match="is rejected in dev: .* random_state"):
        name = lab.upload(drawn, FRAME, wait=True)
    body = lab.here(lab.params(table, name)).problem(422, "model-unusable", "random_state")
    assert "from where it was trained" not in body["detail"]
    name = lab.put_pickle(make_pipeline(StandardScaler(), LogisticRegression()))
    lab.here(lab.params(table, name)).problem(422, "model-unusable", "is not fitted")
    dry = lab.here(lab.params(table, name, dry_run="true")).json
    assert not dry["ok"]
    assert "is not fitted" in dry["problems"][0]["detail"]


def test_a_model_that_only_transforms_is_uploaded_and_scored(lab: Lab) -> None:
    model = make_pipeline(StandardScaler(), PCA(2)).fit(FRAME)
    table = lab.put(FRAME.assign(id=range(40)))
    _, rows = lab.score(table, lab.upload(model, FRAME), id_columns="id")
    got = rows[["transform_pca0", "transform_pca1"]]
    np.testing.assert_allclose(got, model.transform(FRAME), atol=1e-12)


def test_label_encoders_are_scored_with_their_column(lab: Lab) -> None:
    table = lab.put(pd.DataFrame({"id": range(40), "text": DOCS}))
    for model in (LabelEncoder(), LabelBinarizer()):
        want = model.fit(DOCS).transform(DOCS).reshape(40, -1)
        _, rows = lab.score(table, lab.put_pickle(model), id_columns="id")
        got = rows[[c for c in rows.columns if c.startswith("transform")]]
        assert got.to_numpy().tolist() == want.tolist()
