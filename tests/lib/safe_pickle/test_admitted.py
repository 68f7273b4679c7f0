"""Which line of the allow-list admits a name, and which names a pickle uses."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mlsys.artifact.loading import load_model
from mlsys.artifact.pickling import pickled
from mlsys.safe_pickle import left_out
from mlsys.safe_pickle.admitted import admitted_by
from mlsys.safe_pickle.unpickler import NAMES


def test_every_listed_name_has_its_line() -> None:
    for key in NAMES | left_out.KEYS:
        line, rule = admitted_by(key)
        assert line != "MLSYS_TRUSTED_GLOBALS" and rule, key


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("sklearn.pipeline.Pipeline", "names.CLASSES['sklearn.pipeline']"),
        ("numpy.log1p", "names.NAMED['numpy']"),
        ("numpy.dtype", "constructors.CONSTRUCTORS['numpy.dtype']"),
        ("pandas.NA", "names.OBJECTS['pandas']"),
        ("numpy.memmap", "names.STAND_INS['numpy']"),
        ("pandas.DataFrame", "left_out.NAMES['pandas']"),
        ("joblib.numpy_pickle.NumpyArrayWrapper", "unpickler.NAMES"),
        ("team_models.Scaler", "MLSYS_TRUSTED_GLOBALS"),
        ("scipy.stats._distn_infrastructure.rv_discrete._cdf", "methods"),
    ],
)
def test_a_name_is_admitted_by_a_line(key: str, line: str) -> None:
    assert admitted_by(key)[0] == line


def test_a_loaded_model_has_the_names_of_its_pickle() -> None:
    X, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0, 0, 1, 1])
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    for content in (pickled(model), pickle.dumps(model)):
        names = load_model(content).names
        assert {"sklearn.pipeline.Pipeline", "sklearn.preprocessing._data.StandardScaler"} < {
            *names
        }
        assert "numpy.dtype" in names and list(names) == sorted(names)
        assert "sklearn.svm._classes.SVC" not in names
