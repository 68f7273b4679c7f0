"""Registering a model loads it apart and replays its golden rows: the registry has the verdict."""

import json
import os
import pickle
import time
from collections.abc import Iterator
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from registry_cases import ModelCase, model_case
from scoring_cases import Lab
from sklearn.linear_model import LinearRegression

from mlsys.gcs import gcs_get, gcs_put, pickled
from mlsys.local.stack import LocalStack
from mlsys.metadata import build
from mlsys.models import upload_model
from workers import verification
from workers.verification import Verifier

pytestmark = pytest.mark.usefixtures("environment")

X = pd.DataFrame({"a": np.linspace(0, 1, 30), "b": np.linspace(3, -2, 30)})
MODEL = LinearRegression().fit(X, X["a"])
OTHER = LinearRegression().fit(X, X["b"] * 7)


@pytest.fixture
def case(stack: LocalStack) -> Iterator[ModelCase]:
    with model_case(stack, "verified") as fresh:
        yield fresh


@pytest.fixture(scope="module")
def verifier() -> Iterator[Verifier]:
    made = Verifier(seconds=5.0)
    yield made
    made.close()


def document(model: Any = MODEL) -> dict[str, Any]:
    return build(model, X=X, y=None, artifact=pickled(model))


class Hostile:
    """Ends the process that unpickles it, if its code is run."""

    def __reduce__(self) -> Any:
        return os._exit, (3,)


class Slow(LinearRegression):
    """Takes its time to predict."""

    def predict(self, X: Any) -> Any:
        time.sleep(60)


# The verdict


def test_a_model_that_answers_as_it_did_is_ready(verifier: Verifier) -> None:
    verdict = verifier.verdict("good", pickled(MODEL), document(), ())
    assert (verdict.status, verdict.reason) == ("ready", None)


def test_a_model_that_answers_otherwise_is_rejected(verifier: Verifier) -> None:
    verdict = verifier.verdict("other", pickled(OTHER), document(), ())
    assert verdict.status == "rejected"
    assert "where it answered" in str(verdict.reason)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"no pickle at all", "is no pickled model"),
        (pickle.dumps({"a": 1}), "has no predict"),
        (pickle.dumps(Hostile()), "_exit"),
        (pickle.dumps(np.zeros(3)), "has no predict"),
    ],
)
def test_what_is_no_model_is_rejected(verifier: Verifier, content: bytes, words: str) -> None:
    verdict = verifier.verdict(content, content, {}, ())
    assert verdict.status == "rejected"
    assert words in str(verdict.reason)


def test_a_model_that_takes_too_long_is_rejected_and_the_next_one_is_not(
    verifier: Verifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow().fit(X, X["a"])
    trusted = (f"{Slow.__module__}.{Slow.__qualname__}",)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([os.path.dirname(__file__), *os.sys.path]))
    fresh = Verifier(seconds=3.0)
    try:
        verdict = fresh.verdict("slow", pickled(slow), document(), trusted)
        assert verdict.status == "rejected"
        assert "took over 3 s" in str(verdict.reason)
        assert fresh.verdict("good", pickled(MODEL), document(), ()).status == "ready"
    finally:
        fresh.close()


def test_a_model_that_needs_too_much_memory_is_rejected() -> None:
    large = LinearRegression().fit(X, X["a"])
    large.ballast_ = np.zeros(60_000_000)
    small = Verifier(memory=700 * 2**20)
    try:
        verdict = small.verdict("large", joblib_bytes(large), {}, ())
        assert verdict.status == "rejected"
        assert "memory" in str(verdict.reason)
        assert small.verdict("good", pickled(MODEL), document(), ()).status == "ready"
    finally:
        small.close()


def joblib_bytes(model: Any) -> bytes:
    import io

    buffer = io.BytesIO()
    joblib.dump(model, buffer, compress=3)
    return buffer.getvalue()


def test_a_verdict_is_given_once_for_the_same_files(
    verifier: Verifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = verifier.verdict("same", pickled(MODEL), document(), ())
    monkeypatch.setattr(verifier, "_ask", lambda *_: pytest.fail("asked again"))
    assert verifier.verdict("same", pickled(MODEL), document(), ()) == first


def test_a_process_that_died_is_followed_by_another(verifier: Verifier) -> None:
    verifier.verdict("before", pickled(MODEL), document(), ())
    verifier._process.kill()
    verifier._process.join(10)
    assert verifier.verdict("after", pickled(MODEL), document(), ()).status == "ready"


def test_a_process_that_nobody_needs_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "IDLE_SECONDS", 0.2)
    idle = Verifier()
    try:
        idle.verdict("one", pickled(MODEL), document(), ())
        idle._process.join(30)
        assert not idle._process.is_alive()
        assert idle.verdict("two", pickled(MODEL), document(), ()).status == "ready"
    finally:
        idle.close()


# In the registry


def test_an_uploaded_model_is_ready(case: ModelCase) -> None:
    upload_model(MODEL, case.name, "v1", X=X)
    row = case.row()
    assert (row["status"], row["status_reason"]) == ("ready", None)


def test_a_model_that_its_golden_rows_do_not_fit_is_rejected_in_the_registry(
    case: ModelCase,
) -> None:
    content = pickled(OTHER)
    metadata = document() | {"artifact": document(OTHER)["artifact"]}
    case.put(json.dumps(metadata), "v1/metadata.json")
    gcs_put(content, case.bucket, case.ref().path)
    row = case.row()
    assert row["status"] == "rejected"
    assert "where it answered" in row["status_reason"]


def test_a_hostile_file_is_rejected_in_the_registry_and_the_service_lives_on(
    case: ModelCase,
) -> None:
    gcs_put(pickle.dumps(Hostile()), case.bucket, case.ref().path)
    gcs_put(b"garbage", case.bucket, case.ref("v2").path)
    case.upload(version="v3")
    case.settle()
    rows = {row["model_version"]: row for row in case.rows()}
    assert {v: row["status"] for v, row in rows.items()} == {
        "v1": "rejected",
        "v2": "rejected",
        "v3": "ready",
    }
    assert "_exit" in rows["v1"]["status_reason"]


# In scoring


@pytest.fixture(scope="module")
def lab(stack: LocalStack) -> Lab:
    return Lab(stack)


@pytest.fixture
def rejected(lab: Lab) -> dict[str, str]:
    """A request for a model whose golden rows are another model's."""
    name = lab.upload(MODEL, X)
    bucket, path = lab.settings.models_bucket("dev"), f"{name}/v1/metadata.json"
    metadata = json.loads(gcs_get(bucket, path))
    metadata["golden"]["predictions"] = [p + 1 for p in metadata["golden"]["predictions"]]
    gcs_put(json.dumps(metadata), bucket, path)
    return lab.params(lab.put(X.assign(id=range(30))), name)


def test_a_rejected_model_is_not_used_unless_the_caller_says_so(
    lab: Lab, rejected: dict[str, str]
) -> None:
    lab.here(rejected).problem(422, "model-unusable", "where it answered", "allow_rejected=true")
    assert not lab.here(rejected | {"dry_run": "true"}).json["ok"]
    result = lab.here(rejected | {"allow_rejected": "true"}).done()
    assert result["rows"] == 30
    assert "where it answered" in result["warnings"][0]


def test_a_model_of_another_scikit_learn_is_not_used_unless_the_caller_says_so(lab: Lab) -> None:
    model = LinearRegression().fit(X, X["a"])
    content = pickled(model).replace(b"1.9.1", b"1.2.1")
    assert b"1.2.1" in content
    name = lab.upload(MODEL, X)
    gcs_put(content, lab.settings.models_bucket("dev"), f"{name}/v1/model.pkl")
    params = lab.params(lab.put(X.assign(id=range(30))), name, id_columns="id")
    words = ("scikit-learn 1.2.1", "allow_version_mismatch=true")
    lab.here(params).problem(422, "model-unusable", *words)
    result = lab.here(params | {"allow_version_mismatch": "true"}).done()
    assert any("1.2.1" in warning for warning in result["warnings"])


def test_what_a_caller_puts_up_with_is_no_part_of_the_runs_identity(
    lab: Lab, rejected: dict[str, str]
) -> None:
    first = lab.here(rejected | {"allow_rejected": "true"}).done()
    again = lab.here(rejected | {"allow_rejected": "true", "allow_version_mismatch": "true"}).done()
    assert again == first | {"reused": True}


def test_a_model_that_cannot_be_loaded_is_refused_by_scoring_too(lab: Lab) -> None:
    name = lab.upload(MODEL, X)
    gcs_put(pickle.dumps(Hostile()), lab.settings.models_bucket("dev"), f"{name}/v1/model.pkl")
    params = lab.params(lab.put(X.assign(id=range(30))), name)
    lab.here(params | {"allow_rejected": "true"}).problem(422, "model-unusable", "_exit")
