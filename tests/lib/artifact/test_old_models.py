"""Models that older scikit-learn releases saved: the same answers, or a refusal with the reason."""

import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn
from sklearn import ensemble, linear_model, pipeline, preprocessing
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer

from mlsys.artifact.loading import load_model
from mlsys.artifact.metadata import ModelMetadata
from mlsys.artifact.other_release import release, unusable
from mlsys.errors import ModelUnusable
from mlsys.gcs import gcs_put
from mlsys.local.stack import LocalStack
from old_models_compare import differences
from old_models_dump import read_rows, rows, write_rows
from registry_cases import model_case
from scoring_cases import Lab
from workers.inference.verdict import judge

FOLDER = Path(__file__).parent / "old_models"
HERE = sklearn.__version__
ROWS = {kind: read_rows(write_rows(data)) for kind, data in rows().items()}
NOTHING = ModelMetadata.parse(b"{}")
AS_BEFORE = {
    "1.3.2/NeighborhoodComponentsAnalysis-numbers": "numbers",
    "1.3.2/lr-three": "three",
    "1.5.2/PLSRegression-numbers": "numbers",
    "1.5.2/tfidf": "text",
    "1.7.2/tree-pruned": "three",
    "1.8.0/pipeline-lr": "gaps",
}
# scikit-learn itself loads these, and they answer differently without a warning.
WRONG = {
    "1.3.2/AdaBoostClassifier-numbers": "fitted with algorithm='SAMME.R', which was removed",
    "1.5.2/AdaBoostClassifier-numbers": "fitted with algorithm='SAMME.R', which was removed",
    "1.3.2/PLSRegression-numbers": "coefficients of columns that are not scaled now",
    "1.3.2/lr-multinomial-two": "fitted with multi_class='multinomial', which was removed",
    "1.3.2/lr-three-ovr": "fitted with multi_class='ovr', which was removed",
    "1.5.2/lr-three-ovr": "fitted with multi_class='ovr', which was removed",
    "1.7.2/lr-three-ovr": "fitted with multi_class='ovr', which was removed",
    "1.3.2/text-lr": "TfidfTransformer would leave out the inverse document frequencies",
    "1.3.2/tree-pruned": "holds counts, which would be read as shares",
}
RAISES = {
    "1.3.2/pipeline-lr": "'SimpleImputer' object has no attribute '_fill_dtype'",
    "1.5.2/pipeline-lr": "'SimpleImputer' object has no attribute '_fill_dtype'",
    "1.7.2/pipeline-lr": "'SimpleImputer' object has no attribute '_fill_dtype'",
    "1.3.2/remainder-pass": "the word 'passthrough' in place of an estimator",
    "1.5.2/NMF-numbers": "n_components='warn', which was removed",
    "1.5.2/chain": "'ClassifierChain' object has no attribute 'estimator'",
    "1.7.2/MaxAbsScaler-numbers": "raises in transform: 'MaxAbsScaler' object has no attribute",
    "1.7.2/RidgeClassifier-numbers": "'RidgeClassifier' object has no attribute 'classes_'",
    "1.7.2/SelectFromModel-numbers": "unsupported operand type(s) for -: 'NoneType' and 'float'",
}


def content_of(name: str) -> bytes:
    return (FOLDER / f"{name}.pickle").read_bytes()


def test_each_model_has_an_expected_outcome() -> None:
    there = {str(p.relative_to(FOLDER).with_suffix("")) for p in FOLDER.glob("*/*.pickle")}
    not_loaded = {"1.3.2/SelfTrainingClassifier-numbers", "1.8.0/splines"}
    assert there == {*AS_BEFORE, *WRONG, *RAISES, *not_loaded}


@pytest.mark.parametrize(("name", "kind"), AS_BEFORE.items())
def test_a_model_answers_as_it_did_in_its_release(name: str, kind: str) -> None:
    with np.load(FOLDER / f"{name}.npz") as held:
        then = {method: held[method] for method in held.files}
    loaded = load_model(content_of(name))
    assert then and differences(loaded.model, ROWS[kind], then) == {}
    verdict = judge(loaded, NOTHING)
    assert verdict.status == "ready"
    assert verdict.reason == (
        f"the model was saved with scikit-learn {name.partition('/')[0]}, and the service has "
        f"{HERE}: no golden rows show whether its answers are the same"
    )


@pytest.mark.parametrize(("name", "what"), [*WRONG.items(), *RAISES.items()])
def test_a_model_that_this_release_cannot_use_is_refused_with_both_releases(
    name: str, what: str
) -> None:
    with pytest.raises(ModelUnusable) as caught:
        judge(load_model(content_of(name)), NOTHING)
    said, then = str(caught.value), name.partition("/")[0]
    start = f"The model was saved with scikit-learn {then}, and the service has {HERE}, with which "
    assert said.startswith(f"{start}its ") and what in said
    assert said.endswith(f". Train and upload it with scikit-learn {HERE}")
    assert ("its answers would be wrong" in said) == (name in WRONG)
    assert "allow_version_mismatch" not in said and "package" not in said


@pytest.mark.parametrize(
    ("name", "what"),
    [
        (
            "1.3.2/SelfTrainingClassifier-numbers",
            ", in which its SelfTrainingClassifier cannot predict",
        ),
        ("1.8.0/splines", ", which cannot load it (it holds a spline in a form that the service's "
         "libraries do not write)"),
    ],
)  # fmt: skip
def test_the_refusal_of_a_model_that_does_not_load_names_both_releases(
    name: str, what: str
) -> None:
    with pytest.raises(ModelUnusable) as caught:
        load_model(content_of(name))
    assert str(caught.value) == (
        f"model.pkl was saved with scikit-learn {name.partition('/')[0]}, and the service has "
        f"{HERE}{what}. Train and upload it with scikit-learn {HERE}"
    )


def honest() -> list[Any]:
    numbers, text = ROWS["numbers"], ROWS["text"]
    two = (numbers[:, 0] > 0.5).astype(int)
    three = (numbers[:, 0] * 3).astype(int)
    return [
        ensemble.RandomForestClassifier(3).fit(numbers, three),
        ensemble.AdaBoostClassifier(n_estimators=3).fit(numbers, two),
        ensemble.StackingClassifier([("a", SimpleTwo())]).fit(numbers, two),
        linear_model.LogisticRegression().fit(numbers, three),
        linear_model.RidgeClassifier().fit(numbers, three),
        pipeline.make_pipeline(TfidfVectorizer(), linear_model.Ridge()).fit(text, two),
        pipeline.make_pipeline(
            preprocessing.OneHotEncoder(), SimpleImputer(), linear_model.Ridge()
        ).fit(ROWS["words"], two),
    ]


def SimpleTwo() -> Any:
    return pipeline.make_pipeline(SimpleImputer(), linear_model.LogisticRegression())


@pytest.mark.parametrize("model", honest(), ids=lambda m: type(m).__name__)
def test_models_of_this_release_are_accepted(model: Any) -> None:
    assert unusable(model, "1.3.2") is None  # as if it only claimed to be older
    loaded = load_model(pickle.dumps(model))
    assert loaded.version_mismatch is None
    assert judge(loaded, NOTHING).reason is None


def test_an_arbitrary_state_raises_no_error_of_the_check() -> None:
    model = linear_model.LogisticRegression()
    model.classes_ = 5
    model.multi_class = "ovr"
    model.n_features_in_ = "many"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        judged = unusable(model, "before 0.18, 1.x")
    assert judged is None or "LogisticRegression" in judged
    assert [release(t) for t in ("1.10.0", "1.9", "before 0.18", "")] == [
        (1, 10, 0), (1, 9), (0,), (0,)
    ]  # fmt: skip
    assert release("1.9.dev0") < release("1.10")


@pytest.fixture
def lab(stack: LocalStack) -> Lab:
    return Lab(stack)


@pytest.mark.usefixtures("environment")
def test_prediction_dry_run_and_registry_give_the_same_refusal(lab: Lab, stack: LocalStack) -> None:
    """allow_version_mismatch does not help here, and the refusal does not advise it."""
    table = lab.put(ROWS["mixed"].head(20).assign(id=range(20)))
    said = ("saved with scikit-learn 1.5.2", HERE, RAISES["1.5.2/pipeline-lr"])
    with model_case(stack, "old") as case:
        gcs_put(content_of("1.5.2/pipeline-lr"), case.bucket, case.ref().path)
        params = lab.params(table, case.name, id_columns="id", max_rejects="100%")
        for allow in ("false", "true"):
            asked = params | {"allow_version_mismatch": allow}
            body = lab.here(asked).problem(422, "model-unusable", *said)
            assert "allow_version_mismatch" not in body["detail"]
            report = lab.here(asked | {"dry_run": "true"})
            assert not report.json["ok"] and all(words in report.text for words in said)
        row = case.row()
        assert row["status"] == "rejected" and row["sklearn_version"] == "1.5.2"
        assert all(words in row["status_reason"] for words in said)
