"""Loading: a pickle that predicts becomes a model; anything else is refused in one sentence."""

import io
import pickle
import sys
import types
import warnings
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn.base
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mlsys.artifact.estimators.inputs import model_input
from mlsys.artifact.loading import load_model
from mlsys.errors import ModelUnusable

X = pd.DataFrame({"a": [0.0, 1.0, 2.0, 3.0] * 3, "b": [1.0, 0.0, 1.0, 0.0] * 3})
Y = [0, 0, 1, 1] * 3


def dumped(obj: Any, **options: Any) -> bytes:
    """Return the bytes that joblib writes."""
    buffer = io.BytesIO()
    joblib.dump(obj, buffer, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(dumped, id="joblib"),
        pytest.param(lambda model: dumped(model, compress=3), id="joblib, compressed"),
        pytest.param(pickle.dumps, id="pickle"),
        pytest.param(lambda model: pickle.dumps(model, protocol=2), id="pickle, old protocol"),
    ],
)
def test_a_model_predicts_the_same_after_loading(write: Any) -> None:
    model = LinearRegression().fit(X, Y)
    loaded = load_model(write(model))
    assert loaded.warnings == ()
    np.testing.assert_array_equal(loaded.model.predict(X), model.predict(X))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"a,b\n1,2\n", id="text"),
        pytest.param(b"PK\x03\x04" + b"\x00" * 50, id="a zip"),
        pytest.param(dumped(LinearRegression().fit(X, Y))[:-20], id="cut off"),
        pytest.param(pickle.dumps(LinearRegression().fit(X, Y))[:50], id="a start alone"),
    ],
)
def test_a_file_that_is_not_a_pickle_is_refused_with_what_to_upload(content: bytes) -> None:
    with pytest.raises(
        ModelUnusable, match=r"gs://b/m/v1/model\.pkl is not a pickled model"
    ) as info:
        load_model(content, "gs://b/m/v1/model.pkl")
    assert "gcs_put_pickle, upload_model or joblib.dump" in str(info.value)


def _of_module(name: str, **attributes: Any) -> bytes:
    """Return a pickle of an object whose class is in a module that no longer exists."""
    module = types.ModuleType(name)
    kind = type("Model", (), {"__module__": name, "predict": lambda self, X: X, **attributes})
    module.Model = kind
    sys.modules[name] = module
    try:
        return pickle.dumps(kind())
    finally:
        del sys.modules[name]


def test_a_missing_module_is_named() -> None:
    with pytest.raises(ModelUnusable, match="needs the module 'gradientmagic', which is not"):
        load_model(_of_module("gradientmagic"))


def test_a_class_defined_in_the_notebook_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    main = sys.modules["__main__"]
    kind = type("MyModel", (), {"__module__": "__main__", "predict": lambda self, X: X})
    monkeypatch.setattr(main, "MyModel", kind, raising=False)
    content = pickle.dumps(kind())
    monkeypatch.delattr(main, "MyModel")
    with pytest.raises(ModelUnusable, match="MyModel.*pickle does not contain"):
        load_model(content)


@pytest.mark.parametrize(
    ("obj", "name"),
    [
        pytest.param({"model": 1}, "dict", id="a dictionary"),
        pytest.param(pd.Index(["a", "b"]), "Index", id="an index"),
        pytest.param(KFold(), "KFold", id="a splitter"),
        pytest.param(None, "NoneType", id="None"),
    ],
)
def test_an_object_that_does_not_predict_is_refused_by_its_class(obj: Any, name: str) -> None:
    with pytest.raises(
        ModelUnusable, match=f"holds a {name}, which has no predict and no transform"
    ):
        load_model(dumped(obj))


def test_a_name_off_the_allow_list_is_refused_with_advice() -> None:
    with pytest.raises(ModelUnusable, match=r"needs `pandas\.DataFrame`, .*MLSYS_TRUSTED_GLOBALS"):
        load_model(dumped(X))


@pytest.mark.slow
def test_a_deeply_nested_model_loads() -> None:
    model = LinearRegression().fit(X, Y)
    model.deep_ = ()
    content = pickle.dumps(model, protocol=2)
    at = content.index(b"deep_") + len("deep_")
    while content[at : at + 1] != b")":
        at += 1
    content = content[:at] + b"]" * 100_000 + b"a" * 99_999 + content[at + 1 :]
    assert load_model(content).model.coef_.tolist() == model.coef_.tolist()


def jobs_of(value: Any) -> list[Any]:
    """Return every n_jobs of an estimator and its parts."""
    if isinstance(value, list | tuple):
        return [j for v in value for j in jobs_of(v)]
    if isinstance(value, dict):
        return jobs_of(list(value.values()))
    if not hasattr(value, "__dict__") or not hasattr(value, "get_params"):
        return []
    own = [value.n_jobs] if "n_jobs" in vars(value) else []
    return own + jobs_of(list(vars(value).values()))


def test_n_jobs_is_set_to_one_in_every_nested_and_fitted_part() -> None:
    forest = RandomForestClassifier(n_estimators=3, n_jobs=2, random_state=0)
    scaled = ColumnTransformer([("scale", StandardScaler(), ["a", "b"])], n_jobs=2)
    voting = VotingClassifier(
        [("forest", make_pipeline(scaled, forest)), ("line", LogisticRegression())],
        voting="soft",
        n_jobs=2,
    )
    with joblib.parallel_config(backend="threading"):
        model = GridSearchCV(voting, {"line__C": [1.0]}, cv=2, n_jobs=2).fit(X, Y)
        before = model.predict_proba(X)
    assert set(jobs_of(model)) >= {2}

    loaded = load_model(dumped(model)).model

    assert set(jobs_of(loaded)) == {1}
    fitted = loaded.best_estimator_.named_estimators_["forest"][-1]
    assert fitted.n_jobs == 1
    assert loaded.best_estimator_.named_estimators_["forest"][0].n_jobs == 1
    np.testing.assert_allclose(loaded.predict_proba(X), before)


def test_a_step_cannot_write_into_its_input_rows() -> None:
    model = make_pipeline(StandardScaler(copy=False), LogisticRegression())
    model.fit(X.copy(), np.arange(len(X)) % 2)
    loaded = load_model(pickle.dumps(model)).model
    rows = X.copy()
    first = loaded.predict_proba(rows)
    pd.testing.assert_frame_equal(rows, X)
    np.testing.assert_array_equal(loaded.predict_proba(rows), first)


def test_warnings_raised_while_loading_are_kept_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of another scikit-learn release loads, and the answer warns of it."""
    with monkeypatch.context() as patch:
        patch.setattr(sklearn.base, "__version__", "1.5.0")
        content = pickle.dumps(
            make_pipeline(StandardScaler(), StandardScaler(), LinearRegression())
        )
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # so that no warning escapes
        loaded = load_model(content)
    said = str(loaded.version_mismatch)
    assert said.startswith("the model was saved with scikit-learn 1.5.0, and the service has")
    assert loaded.warnings == ()


@pytest.mark.parametrize(
    ("model", "as_array"),
    [
        pytest.param(LinearRegression().fit(X, Y), False, id="fitted on a frame"),
        pytest.param(LinearRegression().fit(X.to_numpy(), Y), True, id="fitted on an array"),
        pytest.param(
            make_pipeline(StandardScaler(), LinearRegression()).fit(X, Y), False, id="pipeline"
        ),
        pytest.param(
            make_pipeline(StandardScaler(), LinearRegression()).fit(X.to_numpy(), Y),
            True,
            id="pipeline fitted on an array",
        ),
        pytest.param(object(), False, id="an object without attributes"),
    ],
)
def test_a_model_gets_the_kind_of_data_it_was_fitted_on(model: Any, as_array: bool) -> None:
    given = model_input(model, X)
    assert isinstance(given, np.ndarray) is as_array
    np.testing.assert_array_equal(np.asarray(given), X.to_numpy())
