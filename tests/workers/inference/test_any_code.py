"""`MLSYS_MODELS=any`: a model of any installed code, loaded by Python's unpickler in a sandbox."""

import bz2
import os
import pickle
import re
import socket
import subprocess  # noqa: F401  these tests start processes
import sys
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import sklearn
from scipy.special import expit
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from mlsys.artifact.metadata import ModelMetadata
from mlsys.columns.features import Feature
from mlsys.errors import ModelUnusable
from workers.inference.any_code import load_any
from workers.inference.predictor import PredictionSpec
from workers.inference.verdict import Verdict
from workers.sandbox import nursery, walls
from workers.sandbox.client import ModelFile, SandboxedModel
from workers.sandbox.died import SandboxDied

X = pd.DataFrame({"a": np.linspace(0, 1, 20), "b": np.linspace(3, -2, 20)})
FEATURES = (Feature("a", "FLOAT64", "float64"), Feature("b", "FLOAT64", "float64"))
SPEC = PredictionSpec(FEATURES, {"predict": ("predict",)}, {"predict": "FLOAT64"}, "plain: own")
# Classes of a notebook: no module has them, so they are pickled as code.
CELL = """
class Ratio:
    def predict(self, X):
        print("a line that nobody reads")
        return X["a"].to_numpy() / (1 + X["b"].to_numpy() ** 2)

class Threads:
    def __init__(self, inner):
        self.inner = inner

    def predict(self, X):
        return [self.inner.n_jobs] * len(X)

class Importing:
    def predict(self, X):
        import not_in_the_image
        return X

class Raising:
    def __setstate__(self, state):
        raise LookupError("no such cell")

    def __reduce__(self):
        return type(self), (), {"state": 1}
"""
NOTEBOOK: dict[str, Any] = {"__name__": "__main__"}
exec(CELL, NOTEBOOK)
Ratio, Threads, Importing, Raising = (
    NOTEBOOK[name] for name in ("Ratio", "Threads", "Importing", "Raising")
)


@pytest.fixture(scope="module", autouse=True)
def no_nursery_stays() -> Iterator[None]:
    yield
    nursery.close()


def load(content: bytes, loader: str = "any", max_bytes: int = 1 << 26) -> SandboxedModel:
    return SandboxedModel(ModelFile(content, "m/v1/model.pkl", (), max_bytes, loader), 30.0)


def refused(content: bytes, loader: str = "any", **more: Any) -> str:
    """Return why a model is refused."""
    with pytest.raises(ModelUnusable) as caught:
        load(content, loader, **more).close()
    return str(caught.value)


def predict(model: SandboxedModel, rows: pd.DataFrame = X) -> list[Any]:
    return model.predictor(SPEC).predict(pa.Table.from_pandas(rows))["predict"].to_pylist()


def test_any_code_is_loaded_in_a_sandbox_alone(tmp_path: Path) -> None:
    class Touch:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "ran",)

    with pytest.raises(RuntimeError, match="this process has no walls"):
        load_any(pickle.dumps(Touch()), "model.pkl", 1 << 20)
    assert walls.standing() is None and not (tmp_path / "ran").exists()


def test_a_class_of_a_notebook_is_judged_and_predicts() -> None:
    with load(cloudpickle.dumps(Ratio())) as model:
        assert model.judge(ModelMetadata()) == Verdict("ready")
        described = model.describe(ModelMetadata(outputs=1))
        assert (described.kind, described.methods) == ("Ratio", ("predict",))
        assert predict(model) == list(Ratio().predict(X))


def test_a_lambda_predicts_and_the_release_is_noted() -> None:
    own = make_pipeline(FunctionTransformer(lambda frame: frame * 2), LinearRegression())
    own.fit(X, X["a"])
    with load(zlib.compress(cloudpickle.dumps(own))) as model:
        assert (model.sklearn_version, model.version_mismatch) == (sklearn.__version__, None)
        assert model.judge(ModelMetadata()).status == "ready"
        np.testing.assert_array_equal(predict(model), own.predict(X))


def test_a_ufunc_is_found_that_pickle_took_for_the_notebooks_own() -> None:
    model = make_pipeline(FunctionTransformer(expit), LinearRegression()).fit(X, X["a"])
    content = pickle.dumps(model, protocol=2)
    lost = re.sub(rb"cscipy\.special\.\w+\nexpit\n", b"c__mp_main__\nexpit\n", content)
    assert b"c__mp_main__\nexpit\n" in lost
    with load(lost) as loaded:
        np.testing.assert_array_equal(predict(loaded), model.predict(X))


def test_a_listed_service_refuses_the_same_models_and_names_the_setting() -> None:
    for model in (Ratio(), FunctionTransformer(lambda frame: frame)):
        said = refused(cloudpickle.dumps(model), "listed")
        assert "stored a lambda, or a function or class of a notebook, as code" in said
        assert "MLSYS_MODELS=any" in said


def test_threads_of_a_wrapped_estimator_are_set_to_one() -> None:
    forest = RandomForestRegressor(n_estimators=2, n_jobs=4).fit(X, X["a"])
    with load(cloudpickle.dumps(Threads(forest))) as model:
        assert set(predict(model)) == {1}


def test_another_release_of_scikit_learn_is_told() -> None:
    content = pickle.dumps(LinearRegression().fit(X, X["a"]), protocol=2)
    here = f"X{chr(len(sklearn.__version__))}\0\0\0{sklearn.__version__}".encode()
    assert here in content
    with load(content.replace(here, b"X\5\0\0\0" + b"1.5.2")) as model:
        assert "saved with scikit-learn 1.5.2" in str(model.version_mismatch)
        assert model.sklearn_version == "1.5.2"


def test_a_warning_of_the_models_code_is_told() -> None:
    class Warning_:
        def __reduce__(self) -> Any:
            return warnings.warn, ("fitted on nine rows",)

    with load(cloudpickle.dumps(_with(Warning_()))) as model:
        assert model.warnings == ("fitted on nine rows",)


def _with(part: Any) -> Any:
    model = LinearRegression().fit(X, X["a"])
    model.note_ = part
    return model


def test_a_model_that_is_not_fitted_is_rejected() -> None:
    with (
        load(pickle.dumps(LinearRegression())) as model,
        pytest.raises(ModelUnusable, match="is not fitted"),
    ):
        model.judge(ModelMetadata())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"cnot_in_the_image.part\nX\n.", "needs the module 'not_in_the_image', which the service"),
        (b"clightgbm\nX\n.", "needs the package 'lightgbm', which the service has not installed"),
        (b"c__main__\nFoo\n.", "needs `__main__.Foo`, which the pickle does not contain"),
        (b"\x80\4\x8c\x08__main__\x8c\3Foo\x93.", "needs `__main__.Foo`, which the pickle"),
        (b"csklearn.linear_model\nNoSuch\n.", "NoSuch"),
        (cloudpickle.dumps(Raising()), "raised LookupError: no such cell, while it was loaded"),
        (pickle.dumps({"a": 1}), "holds a dict, which has no predict"),
        (b"no pickle at all", "is not a pickled model"),
        (b"", "is not a pickled model (EOFError)"),
        (cloudpickle.dumps(Ratio())[:-20], "is not a pickled model"),
        (zlib.compress(bz2.compress(cloudpickle.dumps(Ratio()))), "is not a pickled model"),
        (zlib.compress(bytes(1 << 20)), "unpacks to more than 100,000 bytes"),
    ],
)
def test_what_is_missing_or_raises_is_named(content: bytes, words: str) -> None:
    said = refused(content, max_bytes=100_000)
    assert words in said and ": " in said


def test_a_package_that_only_predict_needs_is_named() -> None:
    with (
        load(cloudpickle.dumps(Importing())) as model,
        pytest.raises(ModelUnusable, match="needs the module 'not_in_the_image'"),
    ):
        model.choose_route(FEATURES, ["predict"], ModelMetadata(), series=False)


class Calling:
    """Calls a function as it is loaded."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def test_hostile_code_reaches_nothing(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        tries = [
            Calling(os.system, f"touch {canary}"),
            Calling(os.posix_spawn, sys.executable, [sys.executable, "-c", "1"], {}),
            Calling(open, str(canary), "w"),
            Calling(os.mkdir, str(canary)),
            Calling(socket.create_connection, server.getsockname(), 1.0),
            Calling(os.kill, os.getpid(), 15),
            Calling(exec, "raise SystemExit(3)"),
        ]
        for attempt in tries:
            said = refused(pickle.dumps(attempt))
            words = (
                "that a model may not do",
                "reads installed packages",
                "SystemExit",
                "no predict",
            )
            assert any(word in said for word in words), said
        with pytest.raises(SandboxDied, match="exited with 3"):
            load(pickle.dumps(Calling(os._exit, 3)))
        with pytest.raises(TimeoutError):
            server.accept()
    assert not canary.exists()
    with load(pickle.dumps(_with(Calling(os.system, f"touch {canary}")))) as model:
        assert model.judge(ModelMetadata()).status == "ready"  # its answers are its own affair
        assert len(predict(model)) == len(X)
    assert not canary.exists()
