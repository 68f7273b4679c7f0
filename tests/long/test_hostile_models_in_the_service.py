"""The service refuses hostile models in `/predict`, dry runs and the registry, and stays up."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from hostile_models import hostile
from mlsys.gcs import gcs_put
from mlsys.local.stack import LocalStack
from registry_cases import model_case
from scoring_cases import Lab

X = pd.DataFrame(np.random.RandomState(0).rand(30, 4), columns=list("abcd"))
CASES = dict(hostile())
REASONS = {
    "stacking calls tofile": "where an estimator belongs",
    "a frozen estimator of itself": "contains itself",
    "names from a range": "holds a range in a form that no library writes",
    "a tree of more columns": "over 9 columns in an estimator over 4",
    "keys of keys": "it was not loaded",
}

pytestmark = [pytest.mark.usefixtures("environment"), pytest.mark.slow]


def content(name: str, canary: Path) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return CASES[name](str(canary))


def test_scoring_refuses_some_hostile_models(stack: LocalStack, tmp_path: Path) -> None:
    lab = Lab(stack)
    model = lab.upload(LinearRegression().fit(X, X["a"]), X)
    params = lab.params(lab.put(X.assign(id=range(30))), model) | {"allow_rejected": "true"}
    bucket = lab.settings.models_bucket("dev")
    for name, reason in REASONS.items():
        gcs_put(content(name, tmp_path / "canary"), bucket, f"{model}/v1/model.pkl")
        lab.here(params).problem(422, "model-unusable", reason)
        answer = lab.here(params | {"dry_run": "true"})
        assert answer.status == 422 or not answer.json["ok"], name
    assert not list(tmp_path.iterdir())


def test_the_registry_rejects_some_hostile_models(stack: LocalStack, tmp_path: Path) -> None:
    with model_case(stack, "hostile") as case:
        for number, name in enumerate(REASONS, 1):
            gcs_put(content(name, tmp_path / "canary"), case.bucket, case.ref(f"v{number}").path)
        case.settle()
        rows = case.rows()
        assert [row["status"] for row in rows] == ["rejected"] * len(REASONS)
        reasons = {row["model_version"]: row["status_reason"] for row in rows}
        for number, name in enumerate(REASONS, 1):
            assert REASONS[name] in reasons[f"v{number}"]
    assert not list(tmp_path.iterdir())


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_every_hostile_model_is_refused_by_scoring_a_dry_run_and_the_registry(
    stack: LocalStack, tmp_path: Path
) -> None:
    lab = Lab(stack)
    model = lab.upload(LinearRegression().fit(X, X["a"]), X)
    params = lab.params(lab.put(X.assign(id=range(30))), model) | {"allow_rejected": "true"}
    bucket = lab.settings.models_bucket("dev")
    with model_case(stack, "hostile") as case:
        for number, name in enumerate(CASES, 1):
            path = tmp_path / "canary"
            gcs_put(content(name, path), case.bucket, case.ref(f"v{number}").path)
            gcs_put(content(name, path), bucket, f"{model}/v1/model.pkl")
            lab.here(params).problem(422, "model-unusable")
            answer = lab.here(params | {"dry_run": "true"})
            assert answer.status == 422 or not answer.json["ok"], name
        case.settle()
        rows = case.rows()
        assert [row["status"] for row in rows] == ["rejected"] * len(CASES)
    assert not list(tmp_path.iterdir())
