"""The service refuses hostile models by `/predict`, a dry run and the registry, and lives on."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hostile_models import hostile
from registry_cases import model_case
from scoring_cases import Lab
from sklearn.linear_model import LinearRegression

from mlsys.gcs import gcs_put
from mlsys.local.stack import LocalStack

X = pd.DataFrame(np.random.RandomState(0).rand(30, 4), columns=list("abcd"))
CASES = dict(hostile())
SOME = (
    "stacking calls tofile",
    "a frozen estimator of itself",
    "names from a range",
    "a tree of more columns",
    "keys of keys",
)

pytestmark = pytest.mark.usefixtures("environment")


def content(name: str, canary: Path) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return CASES[name](str(canary))


def test_scoring_refuses_them(stack: LocalStack, tmp_path: Path) -> None:
    lab = Lab(stack)
    model = lab.upload(LinearRegression().fit(X, X["a"]), X)
    params = lab.params(lab.put(X.assign(id=range(30))), model) | {"allow_rejected": "true"}
    bucket = lab.settings.models_bucket("dev")
    for name in SOME:
        gcs_put(content(name, tmp_path / "canary"), bucket, f"{model}/v1/model.pkl")
        lab.here(params).problem(422, "model-unusable", "it was not loaded")
        answer = lab.here(params | {"dry_run": "true"})
        assert answer.status == 422 or not answer.json["ok"], name
    assert not list(tmp_path.iterdir())


def test_the_registry_rejects_them(stack: LocalStack, tmp_path: Path) -> None:
    with model_case(stack, "hostile") as case:
        for number, name in enumerate(SOME, 1):
            gcs_put(content(name, tmp_path / "canary"), case.bucket, case.ref(f"v{number}").path)
        case.settle()
        rows = case.rows()
        assert [row["status"] for row in rows] == ["rejected"] * len(SOME)
        assert all("it was not loaded" in row["status_reason"] for row in rows)
    assert not list(tmp_path.iterdir())
