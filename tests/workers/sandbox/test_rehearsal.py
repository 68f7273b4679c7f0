"""A sandbox that has rehearsed: no model stays in it, and the first one answers as in any other."""

import pickle
import subprocess  # noqa: F401  these tests start processes
import time
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from mlsys.artifact.metadata import ModelMetadata
from mlsys.columns.features import Feature
from mlsys.errors import ModelUnusable
from workers.inference.host import Host
from workers.inference.predictor import PredictionSpec
from workers.sandbox import nursery, start
from workers.sandbox.client import ModelFile, SandboxedModel
from workers.sandbox.spare import Spare

FEATURES = (Feature("city", "STRING", "object"), Feature("x", "FLOAT64", "float64"))
ROWS = pa.table({"city": ["a", "b", None, "c"] * 50, "x": np.linspace(-1, 1, 200)})


@pytest.fixture(autouse=True)
def spare(monkeypatch: pytest.MonkeyPatch) -> Iterator[Spare]:
    kept = Spare(start._rehearsed, pause=60)
    monkeypatch.setattr(start, "_spare", kept)
    yield kept
    kept.end()
    nursery.close()


def model_file() -> ModelFile:
    X = pd.DataFrame({"city": ["a", "b"] * 20, "x": np.linspace(-2, 2, 40)})
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["city"]), remainder="passthrough"
    )
    model = make_pipeline(columns, LogisticRegression()).fit(X, (X["x"] > 0).astype(int))
    return ModelFile(pickle.dumps(model), "model.pkl", (), 2**24)


def predictions(file: ModelFile) -> tuple[int, bytes]:
    """Return the PID of the model's sandbox, and its probabilities' bytes."""
    methods = ("predict_proba",)
    with SandboxedModel(file) as model:
        path = model.choose_route(FEATURES, methods, ModelMetadata.from_document({}), False)
        types = {"p0": "FLOAT64", "p1": "FLOAT64"}
        spec = PredictionSpec(FEATURES, {"predict_proba": tuple(types)}, types, path)
        columns = model.predictor(spec).predict(ROWS)
        return model.sandbox.pid, b"".join(np.asarray(c).tobytes() for c in columns.values())


def test_the_first_model_answers_as_in_a_sandbox_that_has_not_rehearsed(spare: Spare) -> None:
    file = model_file()
    _, expected = predictions(file)
    spare.keep()
    end = time.monotonic() + 60
    while spare._sandbox is None:
        assert time.monotonic() < end
        time.sleep(0.01)
    ahead = spare._sandbox.pid
    with pytest.raises(ModelUnusable, match="AssertionError"):  # it has no model
        spare._sandbox.call("describe", {"predictions": 1, "types": []}, seconds=60)
    assert predictions(file) == (ahead, expected)
    assert predictions(file)[0] != ahead


def test_a_rehearsal_takes_the_path_of_most_models(monkeypatch: pytest.MonkeyPatch) -> None:
    paths: list[str] = []
    route = Host.route

    def noted(self: Host, body: dict[str, object], content: object) -> object:
        answer = route(self, body, content)
        paths.append(answer[0]["path"])
        return answer

    monkeypatch.setattr(Host, "route", noted)
    assert Host().rehearse({}, None) == ({}, None)
    assert paths == ["arrow"]
