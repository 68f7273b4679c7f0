"""A notebook's own classes and functions are pickled as code, everything else by its name."""

import io
import json
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from mlsys.artifact.pickling import pickled
from mlsys.errors import InvalidRequest

X = np.arange(12.0).reshape(6, 2)
# A notebook with a module and a package beside it, and what it pickles
HELPERS = "import numpy as np\n\ndef double(X):\n    return np.asarray(X, dtype=float) * FACTOR\n"
NOTEBOOK = """
import json, sys, warnings
import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from mlsys.artifact.pickling import pickled
import beside.deep, helpers

class Ratio(BaseEstimator, RegressorMixin):
    def fit(self, X, y):
        self.offset_ = LIMITS["low"]
        return self

    def predict(self, X):
        return helpers.double(X)[:, 0] + self.offset_

LIMITS = {"low": 7}
X = np.arange(12.0).reshape(6, 2)
y = X[:, 0]
own = FunctionTransformer(helpers.double)
models = {
    "class": Ratio().fit(X, y),
    "lambda": make_pipeline(FunctionTransformer(lambda X: X * 2), LinearRegression()).fit(X, y),
    "function": make_pipeline(own, LinearRegression()).fit(X, y),
    "package": make_pipeline(FunctionTransformer(beside.deep.half), LinearRegression()).fit(X, y),
    "plain": LinearRegression().fit(X, y),
    "word": CountVectorizer(token_pattern=r"\\S+").fit(["__main__ helpers"]),
}
said = {}
for name, model in models.items():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        content = pickled(model)
    said[name] = [str(w.message) for w in caught]
    with open(f"{name}.pkl", "wb") as file:
        file.write(content)
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[str]]]:
    """Return the folder of a notebook that has run, and the warnings of each upload."""
    folder = tmp_path_factory.mktemp("notebook")
    (folder / "helpers.py").write_text(HELPERS + "\nFACTOR = 2\n")
    (folder / "beside").mkdir()
    (folder / "beside" / "__init__.py").write_text("")
    (folder / "beside" / "deep.py").write_text("def half(X):\n    return X / 2\n")
    (folder / "notebook.py").write_text(NOTEBOOK)
    done = subprocess.run(
        [sys.executable, "notebook.py"],
        cwd=folder,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


@pytest.mark.parametrize(
    ("name", "names", "answers"),
    [
        ("class", "Ratio, helpers.double are stored", X[:, 0] * 2 + 7),
        ("lambda", "a lambda is stored", X[:, 0]),
        ("function", "helpers.double is stored", X[:, 0]),
        ("package", "beside.deep.half is stored", X[:, 0]),
    ],
)
def test_code_of_a_notebook_is_stored_and_named(
    notebook: tuple[Path, dict[str, list[str]]], name: str, names: str, answers: Any
) -> None:
    folder, said = notebook
    assert said[name] == [
        f"model: {names} in the file as code. Only a service with MLSYS_MODELS=any accepts that; "
        "for others, move the code to a package that is installed there"
    ]
    assert not {"helpers", "beside"} & sys.modules.keys()
    model = joblib.load(folder / f"{name}.pkl")
    np.testing.assert_allclose(model.predict(X), answers, atol=1e-12)


def test_models_without_own_code_are_written_as_before(
    notebook: tuple[Path, dict[str, list[str]]],
) -> None:
    folder, said = notebook
    assert (said["plain"], said["word"]) == ([], [])
    for name, model in (
        ("plain", LinearRegression().fit(X, X[:, 0])),
        ("word", CountVectorizer(token_pattern=r"\S+").fit(["__main__ helpers"])),
    ):
        buffer = io.BytesIO()
        joblib.dump(model, buffer)
        assert pickled(model) == buffer.getvalue()
        written = (folder / f"{name}.pkl").read_bytes()
        assert len(written) == len(buffer.getvalue()) and b"cloudpickle" not in written


def shout(X: Any) -> Any:
    """Stand for a function of a package: this file does not lie beside a notebook."""
    return X


def test_a_function_of_an_imported_module_is_written_by_its_name() -> None:
    content = pickled(FunctionTransformer(shout))
    assert b"cloudpickle" not in content and b"shout" in content
    assert pickle.loads(content).func is shout


def test_a_class_within_a_function_is_stored_as_code() -> None:
    class Inner:
        def predict(self, X: Any) -> Any:
            return X

    with pytest.warns(UserWarning, match="obj: .*Inner is stored in the file as code"):
        content = pickled(Inner(), "obj")
    assert pickle.loads(content).predict(3) == 3


def test_many_names_are_counted() -> None:
    kinds = [type(f"Kind{i}", (), {"__module__": "__main__"}) for i in range(8)]
    with pytest.warns(UserWarning, match="Kind0, .*Kind4 and 3 more are stored in"):
        pickled([kind() for kind in kinds])


@pytest.mark.parametrize("more", [[], [lambda X: X]], ids=["alone", "beside a lambda"])
def test_what_cannot_be_written_as_code_is_refused(more: list[Any]) -> None:
    with pytest.raises(InvalidRequest, match=r"model: cannot be pickled \(.*lock.*leave out"):
        pickled([threading.Lock(), *more])


def test_a_pipeline_of_a_lambda_keeps_its_answers() -> None:
    model = make_pipeline(FunctionTransformer(lambda X: X**2), LinearRegression())
    model.fit(X, X[:, 1] ** 2)
    with pytest.warns(UserWarning, match="a lambda is stored"):
        content = pickled(model)
    np.testing.assert_array_equal(pickle.loads(content).predict(X), model.predict(X))
