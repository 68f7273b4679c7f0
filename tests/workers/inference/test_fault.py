"""If no row can be scored, a broken model is named, and bad rows are still distinguished."""

import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.decomposition import PCA
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    OneHotEncoder,
    PolynomialFeatures,
    PowerTransformer,
    StandardScaler,
)

from mlsys.artifact.estimators.set_output import restore_output
from mlsys.artifact.loading import load_model
from mlsys.artifact.metadata import ModelMetadata
from mlsys.artifact.pickling import pickled
from mlsys.artifact.signatures import Signature
from mlsys.errors import ModelUnusable
from mlsys.local.stack import LocalStack
from samples import sampled
from scoring_cases import Lab, unique
from team_models import Broken, Picky
from workers.inference.trial import check_answers, valid_rows

R = np.random.RandomState(0)
N = 60
X = pd.DataFrame({"a": R.rand(N), "b": R.rand(N) + 1})
Y = np.asarray(X["a"] > 0.5)
TEXT = X.assign(kind=["red", "blue", "green"] * (N // 3))


def by_name(*names: str) -> ColumnTransformer:
    return ColumnTransformer([("p", PolynomialFeatures(2), list(names))], remainder="passthrough")


FRAMES = {
    "a scaler": make_pipeline(StandardScaler(), by_name("a"), LogisticRegression()),
    "an imputer and a function": make_pipeline(
        SimpleImputer(), FunctionTransformer(np.log1p), by_name("a"), LogisticRegression()
    ),
    "after a ColumnTransformer": make_pipeline(
        by_name("a"), by_name("remainder__b"), LogisticRegression()
    ),
    "after a union": make_pipeline(
        make_union(StandardScaler(), PCA(1)), by_name("pca__pca0"), LogisticRegression()
    ),
    "a pipeline in a pipeline": make_pipeline(
        make_pipeline(MinMaxScaler(), StandardScaler()), by_name("b"), LogisticRegression()
    ),
    "in a branch": make_pipeline(
        make_column_transformer((make_pipeline(StandardScaler(), by_name("a")), ["a", "b"])),
        LogisticRegression(),
    ),
    "in a search": GridSearchCV(
        make_pipeline(StandardScaler(), by_name("a"), LogisticRegression()),
        {"logisticregression__C": [1.0]},
        cv=2,
    ),
    "calibrated": CalibratedClassifierCV(
        make_pipeline(StandardScaler(), by_name("a"), LogisticRegression()), cv=2
    ),
}


@pytest.mark.parametrize("name", FRAMES)
def test_a_model_fitted_on_inner_frames_gets_frames_again(name: str) -> None:
    with sklearn.config_context(transform_output="pandas"):
        model = FRAMES[name].fit(X, Y)
        want = model.predict_proba(X)
        content = pickled(model)
    with pytest.raises((ValueError, UserWarning)):  # scikit-learn itself no longer knows the names
        pickle.loads(pickle.dumps(model)).predict(X)
    loaded = load_model(content).model
    assert restore_output(loaded)
    got = loaded.predict_proba(X)
    np.testing.assert_allclose(got, want)


def test_a_model_with_default_settings_is_unchanged() -> None:
    model = make_pipeline(StandardScaler(), PCA(1), LogisticRegression()).fit(X, Y)
    loaded = load_model(pickled(model)).model
    assert not restore_output(loaded)
    assert not any(getattr(step, "_sklearn_output_config", None) for _, step in loaded.steps)
    # A classifier that saw other names than those the scaler gives is left as it is, too.
    mixed = make_pipeline(StandardScaler().fit(X), LogisticRegression().fit(X.add_prefix("z"), Y))
    loaded = load_model(pickled(mixed)).model
    assert not restore_output(loaded)
    assert not getattr(loaded.steps[0][1], "_sklearn_output_config", None)


def test_polars_output_becomes_pandas_output_if_polars_is_not_installed() -> None:
    pipeline = make_pipeline(StandardScaler(), by_name("a"), LogisticRegression())
    model = pipeline.set_output(transform="pandas").fit(X, Y)
    want = model.predict(X)
    model.steps[0][1]._sklearn_output_config = {"transform": "polars"}
    assert np.array_equal(load_model(pickled(model)).model.predict(X), want)


class Fussy(Broken):
    """Raises on every row, with a message that does not name the cause."""

    def predict(self, X: Any) -> np.ndarray:
        raise ValueError("could not broadcast")


def test_a_model_that_lacks_a_part_is_refused_in_planning() -> None:
    features = Signature.from_data(X).features
    with pytest.raises(ModelUnusable, match="AttributeError whatever it is given: .*_fill_dtype"):
        check_answers(Broken(), features, ["predict"], ModelMetadata(), False)
    for unclear in (Fussy(), Picky()):  # the cause may be the rows that are made up
        check_answers(unclear, features, ["predict"], ModelMetadata(), False)


@pytest.mark.parametrize(
    "model",
    [
        make_pipeline(
            make_column_transformer((OneHotEncoder(), ["kind"]), (StandardScaler(), ["a", "b"])),
            LogisticRegression(),
        ),
        make_pipeline(
            make_column_transformer(
                (make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder()), ["kind"]),
                (PowerTransformer("box-cox"), ["a", "b"]),
            ),
            LogisticRegression(),
        ),
        make_pipeline(OneHotEncoder(handle_unknown="error"), LogisticRegression()),
    ],
)
def test_sample_rows_are_made_from_the_models_own_values(model: Any) -> None:
    model.fit(TEXT, Y)
    features = Signature.from_data(TEXT).features
    assert len(model.predict(valid_rows(model, features).to_pandas())) == 4


# On the local stack


@pytest.fixture
def lab(stack: LocalStack, environment: dict[str, str]) -> Lab:
    return Lab(stack)


def test_a_model_fitted_under_set_config_is_scored(lab: Lab) -> None:
    with sklearn.config_context(transform_output="pandas"):
        model = FRAMES["a scaler"].fit(X, Y)
        want = model.predict(X)
        uploaded = lab.upload(model, X)
    table = lab.put(X.assign(id=range(N)))
    _, rows = lab.score(table, uploaded, id_columns="id")
    assert rows["prediction"].tolist() == want.tolist()
    # Nothing proves for a bare pickle that it lacks only the inner frames.
    name = lab.put_pickle(model)
    for max_rejects in ("0", "100%"):
        params = lab.params(table, name, id_columns="id", max_rejects=max_rejects)
        lab.here(params).problem(422, "model-unusable", "transform_output", "set_output")
    assert not lab.here(params | {"dry_run": "true"}).json["ok"]
    # A step that also works with arrays is scored unchanged.
    with sklearn.config_context(transform_output="pandas"):
        model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y)
        want = model.predict(X)
    _, rows = lab.score(table, lab.put_pickle(model), id_columns="id")
    assert rows["prediction"].tolist() == want.tolist()


def unusable() -> Any:
    """Return a pipeline whose scaler gives one column less than the classifier was fitted on."""
    return make_pipeline(StandardScaler().fit(X), LogisticRegression().fit(TEXT[["a"]], Y))


def test_a_model_that_scores_no_row_is_refused_whatever_max_rejects_is(lab: Lab) -> None:
    table = lab.put(X.assign(id=range(N)))
    name = lab.put_pickle(unusable())
    for max_rejects in ("0", "100%"):
        params = lab.params(table, name, id_columns="id", max_rejects=max_rejects)
        body = lab.here(params).problem(422, "model-unusable", "the model is at fault", "features")
        assert "Mend" not in body["detail"]
        assert not lab.exists(params["output_table"])


BAD_ROWS = {
    "an unknown word": {"kind": "violet"},
    "a missing number": {"a": np.nan},
    "an endless number": {"b": np.inf},
    "two missing values": {"kind": None, "a": None},
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bare", "change"),
    sampled(
        {
            f"{'a bare pickle' if bare else 'uploaded'}: {name}": (bare, change)
            for bare in (False, True)
            for name, change in BAD_ROWS.items()
        },
        3,
        __file__,
        kind=lambda case: case[0],
    ),
)
def test_a_table_of_only_bad_rows_is_not_mistaken_for_a_broken_model(
    lab: Lab, bare: bool, change: dict[str, Any]
) -> None:
    model = make_pipeline(
        make_column_transformer((OneHotEncoder(), ["kind"]), (StandardScaler(), ["a", "b"])),
        LogisticRegression(),
    ).fit(TEXT, Y)
    name = lab.put_pickle(model) if bare else lab.upload(model, TEXT)
    table = lab.put(TEXT.assign(id=range(N)).assign(**change).astype({"a": float, "kind": str}))
    params = lab.params(table, name, id_columns="id")
    lab.here(params).problem(422, "prediction-failed", "Correct the rows")
    result = lab.here(params | {"max_rejects": "100%", "run_id": unique("all")}).done()
    assert (result["rows"], result["rows_rejected"]) == (0, N)


def test_a_model_that_scores_some_rows_of_the_table_is_not_refused(lab: Lab) -> None:
    rows = X.assign(id=range(N))
    rows.loc[N - 20 :, "a"] = 2000.0
    params = lab.params(lab.put(rows), lab.put_pickle(Picky()), id_columns="id", max_rejects="100%")
    result = lab.here(params).done()
    assert (result["rows"], result["rows_rejected"]) == (20, N - 20)
