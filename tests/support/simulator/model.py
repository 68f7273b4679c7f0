"""A model at the sandbox's door: a fixed function of the rows, described as scikit-learn's is."""

from __future__ import annotations

import functools
from typing import Any

import pandas as pd
import pyarrow as pa
from sklearn.linear_model import LinearRegression

from in_process import described
from mlsys.artifact.describe import build
from mlsys.errors import PredictionFailed
from workers.inference.description import output_values
from workers.inference.trial import valid_rows
from workers.inference.verdict import Verdict

BAD = -999.0  # a value that the model raises on
CONTENTS = {"v1": b"the model", "v2": b"the challenger"}
FACTORS = {"v1": 2.0, "v2": 3.0}


def answer(x: float | None, version: str = "v1") -> float:
    """Return the prediction of a version for a value."""
    return 0.5 if x is None else FACTORS[version] * x + 1.0


@functools.cache
def fitted() -> LinearRegression:
    """Return the model that is described."""
    X = pd.DataFrame({"x": [float(n) for n in range(40)]})
    return LinearRegression().fit(X, 2 * X["x"] + 1)


@functools.cache
def metadata(version: str) -> dict[str, Any]:
    """Return the metadata.json of a version."""
    X = pd.DataFrame({"x": [float(n) for n in range(40)]})
    y = (2 * X["x"] + 1).rename("y")
    return build(fitted(), X=X, y=y, metrics={}, artifact=CONTENTS[version]) | {
        "created_at": "2026-01-01T00:00:00+00:00"
    }


@functools.cache
def _description(predictions: int) -> Any:
    return described(fitted(), predictions)


@functools.cache
def _values(methods: tuple[str, ...], names: tuple[str, ...]) -> Any:
    return output_values(fitted(), methods, names)


class Model:
    """What `SandboxedModel` offers, in the place of one that has been loaded."""

    alive = True
    warnings = ()
    version_mismatch = sklearn_version = None

    def __init__(self, file: Any) -> None:
        self.sandbox = self
        self.pid = -1
        [self.version] = [v for v, content in CONTENTS.items() if content == file.content]

    def judge(self, metadata: Any) -> Verdict:
        return Verdict("ready")

    def describe(self, metadata: Any) -> Any:
        return _description(metadata.outputs or len(metadata.target))

    def output_values(self, methods: Any, names: Any) -> Any:
        return _values(tuple(methods), tuple(names))

    def valid_rows(self, features: Any) -> Any:
        return valid_rows(fitted(), features)

    def choose_route(self, *_: Any) -> str:
        return "simulated"

    def predictor(self, spec: Any) -> Predictor:
        return Predictor(self.version)

    def close(self) -> None:
        pass


class Predictor:
    """What `SandboxedPredictor` offers."""

    path = "simulated"
    rows_at_once = 3

    def __init__(self, version: str) -> None:
        self._version = version

    def put(self, rows: Any) -> None:
        return None

    def predict(self, rows: Any, slot: Any = None) -> dict[str, Any]:
        values = rows.column("x").to_pylist()
        if BAD in values:
            raise PredictionFailed("a value that the model does not take")
        return {"y": pa.array([answer(x, self._version) for x in values], pa.float64())}
