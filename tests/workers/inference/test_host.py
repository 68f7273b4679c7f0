"""The host in a sandbox: what it has imported before a model arrives."""

import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from mlsys.artifact.signatures import Signature
from workers.inference.host import Host

X = pd.DataFrame({"a": np.linspace(0, 1, 40), "b": np.linspace(3, 1, 40), "k": ["u", "v"] * 20})
Y = (X["a"] > 0.5).astype(int)

ASK = """
import json, pickle, sys
from workers.inference.host import HANDLERS
models = pickle.load(sys.stdin.buffer)
before = set(sys.modules)
for content, features in models:
    HANDLERS["load"]({"name": "m", "trusted": [], "max_bytes": 10**8}, content)
    HANDLERS["judge"]({"metadata": {}}, None)
    HANDLERS["describe"]({"predictions": 1, "types": []}, None)
    body = {"features": features, "methods": ["predict"], "metadata": {}, "series": False}
    HANDLERS["route"](body, None)
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def test_typical_models_import_nothing_more() -> None:
    columns = make_column_transformer((OneHotEncoder(), ["k"]), (StandardScaler(), ["a", "b"]))
    numbers = X[["a", "b"]]
    models: list[tuple[BaseEstimator, pd.DataFrame]] = [
        (LogisticRegression(), numbers),
        (RandomForestClassifier(5), numbers),
        (HistGradientBoostingClassifier(max_iter=3), numbers),
        (make_pipeline(columns, LogisticRegression()), X),
    ]
    content = pickle.dumps(
        [
            (
                pickle.dumps(model.fit(data, Y)),
                [f.to_dict() for f in Signature.from_data(data).features],
            )
            for model, data in models
        ]
    )
    done = subprocess.run(
        [sys.executable, "-c", ASK], input=content, capture_output=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode().strip() == "[]"


def test_a_document_near_the_limit_is_not_measured_again() -> None:
    """Escaped as ASCII for the sandbox it is three times as long."""
    host = Host()
    model = LogisticRegression().fit(X[["a", "b"]], Y)
    host.load({"name": "m", "trusted": [], "max_bytes": 10**8}, pickle.dumps(model))
    body, _ = host.judge({"metadata": {"description": "é" * 400_000}}, None)
    assert body == {"status": "ready", "reason": None, "golden_rows": 0}
