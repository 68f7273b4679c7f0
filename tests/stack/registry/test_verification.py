"""Registering a model loads it in another process and replays its golden rows for a verdict."""

import json
import os
import pickle
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from mlsys.artifact.describe import build
from mlsys.artifact.loading import LoadedModel, load_model
from mlsys.artifact.metadata import ModelMetadata
from mlsys.artifact.pickling import pickled
from mlsys.cloud.clients import clients_for
from mlsys.errors import MetadataInvalid, ModelUnusable, TryAgain
from mlsys.gcs import gcs_get, gcs_put, gcs_put_pickle
from mlsys.local.stack import LocalStack
from mlsys.models import upload_model
from registry_cases import ModelCase, model_case, notifications_lost
from scoring_cases import Lab
from team_models import Slow
from workers import machine
from workers.inference.verdict import judge
from workers.registry.sync import converge
from workers.sandbox.process import Answer, Sandbox
from workers.scoring.planning.find_run import prepare
from workers.verification.verifier import Verifier

pytestmark = pytest.mark.usefixtures("environment")

X = pd.DataFrame({"a": np.linspace(0, 1, 30), "b": np.linspace(3, -2, 30)})
MODEL = LinearRegression().fit(X, X["a"])
OTHER = LinearRegression().fit(X, X["b"] * 7)


@pytest.fixture
def case(stack: LocalStack) -> Iterator[ModelCase]:
    with model_case(stack, "verified") as fresh:
        yield fresh


@pytest.fixture(scope="module")
def verifier() -> Verifier:
    return Verifier(seconds=10.0)


def document(model: Any = MODEL) -> dict[str, Any]:
    return build(model, X=X, y=None, artifact=pickled(model))


def of(content: bytes) -> Callable[[], bytes]:
    return lambda: content


class Hostile:
    """Ends the process that unpickles it, if its code runs."""

    def __reduce__(self) -> Any:
        return os._exit, (3,)


def test_a_model_that_reproduces_its_golden_rows_is_ready(verifier: Verifier) -> None:
    verdict = verifier.verdict("good", of(pickled(MODEL)), document(), ())
    assert (verdict.status, verdict.reason) == ("ready", None)
    assert verdict.golden_rows == len(document()["golden"]["rows"]) > 0


def test_a_model_with_different_answers_is_rejected(verifier: Verifier) -> None:
    verdict = verifier.verdict("other", of(pickled(OTHER)), document(), ())
    assert verdict.status == "rejected"
    assert "and predicted" in str(verdict.reason)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"no pickle at all", "is not a pickled model"),
        (pickle.dumps({"a": 1}), "has no predict"),
        (pickle.dumps(Hostile()), "_exit"),
        (pickle.dumps(np.zeros(3)), "has no predict"),
    ],
)
def test_a_file_that_is_not_a_model_is_rejected(
    verifier: Verifier, content: bytes, words: str
) -> None:
    verdict = verifier.verdict(content, of(content), {}, ())
    assert verdict.status == "rejected"
    assert words in str(verdict.reason)


def test_a_model_that_takes_too_long_is_rejected_and_the_next_one_is_not() -> None:
    slow = Slow().fit(X, X["a"])
    trusted = (f"{Slow.__module__}.{Slow.__qualname__}",)
    hasty = Verifier(seconds=3.0)
    verdict = hasty.verdict("slow", of(pickled(slow)), document(), trusted)
    assert (verdict.status, verdict.crashed) == ("rejected", "over time (3 s)")
    assert "over time (3 s)" in str(verdict.reason)
    assert hasty.verdict("good", of(pickled(MODEL)), document(), ()).status == "ready"


@pytest.mark.slow
def test_a_model_that_needs_too_much_memory_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    large = LinearRegression().fit(X, X["a"])
    large.ballast_ = np.zeros(60_000_000)
    monkeypatch.setattr(machine, "memory", lambda: 1400 * 2**20)
    small = Verifier()
    verdict = small.verdict("large", of(joblib_bytes(large)), {}, ())
    assert verdict.status == "rejected"
    assert "memory" in str(verdict.reason)
    assert small.verdict("good", of(pickled(MODEL)), document(), ()).status == "ready"


def joblib_bytes(model: Any) -> bytes:
    import io

    buffer = io.BytesIO()
    joblib.dump(model, buffer, compress=3)
    return buffer.getvalue()


def test_a_verdict_is_cached_for_the_same_files(
    verifier: Verifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = verifier.verdict("same", of(pickled(MODEL)), document(), ())
    monkeypatch.setattr(verifier, "_judge", lambda *_: pytest.fail("judged again"))
    assert verifier.verdict("same", of(pickled(MODEL)), document(), ()) == first
    with pytest.raises(pytest.fail.Exception, match="judged again"):
        verifier.verdict("same", of(pickled(MODEL)), document(), (), again=True)


def test_a_sandbox_that_cannot_be_started_gives_no_verdict(
    verifier: Verifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise TryAgain("No process starts for the model: no memory. Try again.")

    with monkeypatch.context() as patch:
        patch.setattr("workers.sandbox.nursery.Nursery.fork", refuse)
        with pytest.raises(TryAgain, match="No process starts"):
            verifier.verdict("unstarted", of(pickled(MODEL)), document())
    assert verifier.verdict("unstarted", of(pickled(MODEL)), document()).status == "ready"


@pytest.mark.parametrize(
    "body",
    [
        {"status": "fine", "reason": None, "golden_rows": 0},
        {"status": "ready", "reason": 1, "golden_rows": 0},
        {"status": ["ready"], "reason": None, "golden_rows": 0},
        {"status": "ready", "reason": None, "golden_rows": True},
        {"status": "ready", "reason": None},
        {"reason": None, "golden_rows": 0},
        {},
    ],
)
def test_a_malformed_answer_of_the_sandbox_is_refused(
    body: dict[str, Any], verifier: Verifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = Sandbox.call

    def answer(self: Sandbox, op: str, *args: Any, **options: Any) -> Answer:
        return Answer(body) if op == "judge" else call(self, op, *args, **options)

    monkeypatch.setattr(Sandbox, "call", answer)
    verdict = verifier.verdict(str(body), of(pickled(MODEL)), {})
    assert verdict.status == "rejected"
    assert "malformed answer" in str(verdict.crashed)
    assert "malformed answer" in str(verdict.reason)


@pytest.mark.parametrize(
    ("rows", "predictions"),
    [
        pytest.param([[{"a": 1}, 2.0]], [1.0], id="an object for a number"),
        pytest.param([["x", 2.0]], [1.0], id="a text for a number"),
    ],
)
def test_unreadable_golden_rows_give_a_remark(rows: Any, predictions: Any) -> None:
    golden = document() | {"golden": {"rows": rows, "predictions": predictions}}
    verdict = judge(LoadedModel(MODEL), ModelMetadata.parse(json.dumps(golden).encode()))
    assert verdict.status == "ready"
    assert str(verdict.reason).startswith("the golden rows were not replayed: golden: ")


@pytest.mark.parametrize("part", ["rows", "predictions"])
def test_golden_numbers_too_large_for_a_double_make_the_metadata_invalid(part: str) -> None:
    golden = document()
    golden["golden"][part] = [10**400 for _ in golden["golden"][part]]
    with pytest.raises(MetadataInvalid, match="a number that FLOAT64 cannot hold"):
        ModelMetadata.parse(json.dumps(golden).encode())


def test_a_reason_fits_into_a_registry_row(verifier: Verifier) -> None:
    model = LinearRegression().fit(X, X["a"])
    content = pickled(model).replace(sklearn.__version__.encode(), b"9\n9.9")
    verdict = verifier.verdict("untrusted_function", of(content), {})
    assert "\n" not in str(verdict.reason) and len(str(verdict.reason)) < 2100


@pytest.mark.slow
def test_a_version_mismatch_is_detected_while_other_threads_ignore_warnings() -> None:
    content = pickled(MODEL).replace(sklearn.__version__.encode(), b"1.2.1")
    stop = threading.Event()

    def score() -> None:
        while not stop.is_set():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                MODEL.predict(X)

    with ThreadPoolExecutor(3) as pool:
        busy = [pool.submit(score) for _ in range(2)]
        found = [load_model(content).version_mismatch for _ in range(200)]
        stop.set()
        for one in busy:
            one.result()
    assert set(found) == {
        f"the model was saved with scikit-learn 1.2.1, and the service has {sklearn.__version__}"
    }


# In the registry


@pytest.mark.slow
def test_a_model_is_verified_again_after_the_settings_change(case: ModelCase) -> None:
    model = make_pipeline(FunctionTransformer(untrusted_function), LinearRegression()).fit(
        X, X["a"]
    )
    gcs_put_pickle(model, case.bucket, case.ref().path)
    assert case.row()["status"] == "rejected"
    name = f"{untrusted_function.__module__}.{untrusted_function.__qualname__}"
    more = replace(case.stack.settings, trusted_globals=(name,), signing_keys=())
    clients = clients_for(more)
    assert converge(clients, "dev", case.ref()) == "updated"
    [row] = case.rows()
    assert converge(clients, "dev", case.ref()) == "unchanged"
    assert name not in str(row["status_reason"]) or row["status"] == "ready"
    with notifications_lost(case.stack):
        assert converge(case.clients, "dev", case.ref()) == "updated"
    assert name in case.rows()[0]["status_reason"]


def untrusted_function(frame: Any) -> Any:
    """Return the frame: a function that is not trusted."""
    return frame


def test_an_uploaded_model_is_ready(case: ModelCase) -> None:
    upload_model(MODEL, case.name, "v1", X=X)
    row = case.row()
    assert (row["status"], row["status_reason"]) == ("ready", None)


def test_a_model_that_fails_its_golden_rows_is_rejected_in_the_registry(
    case: ModelCase,
) -> None:
    content = pickled(OTHER)
    metadata = document() | {"artifact": document(OTHER)["artifact"]}
    case.put(json.dumps(metadata), "v1/metadata.json")
    gcs_put(content, case.bucket, case.ref().path)
    row = case.row()
    assert row["status"] == "rejected"
    assert "and predicted" in row["status_reason"]


@pytest.mark.slow
def test_a_hostile_file_is_rejected_in_the_registry_and_the_service_survives(
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
    """Return a request for a model with another model's golden rows."""
    name = lab.upload(MODEL, X)
    bucket, path = lab.settings.models_bucket("dev"), f"{name}/v1/metadata.json"
    metadata = json.loads(gcs_get(bucket, path))
    metadata["golden"]["predictions"] = [p + 1 for p in metadata["golden"]["predictions"]]
    gcs_put(json.dumps(metadata), bucket, path)
    return lab.params(lab.put(X.assign(id=range(30))), name)


def test_a_rejected_model_needs_allow_rejected(lab: Lab, rejected: dict[str, str]) -> None:
    lab.here(rejected).problem(422, "model-unusable", "and predicted", "allow_rejected=true")
    assert not lab.here(rejected | {"dry_run": "true"}).json["ok"]
    result = lab.here(rejected | {"allow_rejected": "true"}).done()
    assert result["rows"] == 30
    assert "and predicted" in result["warnings"][0]


def test_a_model_of_another_scikit_learn_needs_allow_version_mismatch(lab: Lab) -> None:
    model = LinearRegression().fit(X, X["a"])
    content = pickled(model).replace(sklearn.__version__.encode(), b"1.2.1")
    assert b"1.2.1" in content
    name = lab.upload(MODEL, X)
    gcs_put(content, lab.settings.models_bucket("dev"), f"{name}/v1/model.pkl")
    params = lab.params(lab.put(X.assign(id=range(30))), name, id_columns="id")
    words = ("scikit-learn 1.2.1", "allow_version_mismatch=true")
    lab.here(params).problem(422, "model-unusable", *words)
    result = lab.here(params | {"allow_version_mismatch": "true"}).done()
    assert any("1.2.1" in warning for warning in result["warnings"])


def test_a_caller_that_joins_a_run_does_not_inherit_its_planners_allowances(
    lab: Lab, rejected: dict[str, str]
) -> None:
    clients = lab.clients
    generous = lab.request(rejected | {"allow_rejected": "true"})
    planned = prepare(clients, generous)
    assert planned.result is None
    with pytest.raises(ModelUnusable, match="and predicted"):
        prepare(clients, lab.request(rejected))
    assert prepare(clients, generous).plan.run_id == planned.plan.run_id


def test_allowances_are_not_part_of_the_runs_identity(lab: Lab, rejected: dict[str, str]) -> None:
    first = lab.here(rejected | {"allow_rejected": "true"}).done()
    again = lab.here(rejected | {"allow_rejected": "true", "allow_version_mismatch": "true"}).done()
    assert again == first | {"reused": True}


def test_scoring_refuses_a_model_that_cannot_be_loaded(lab: Lab) -> None:
    name = lab.upload(MODEL, X)
    gcs_put(pickle.dumps(Hostile()), lab.settings.models_bucket("dev"), f"{name}/v1/model.pkl")
    params = lab.params(lab.put(X.assign(id=range(30))), name)
    lab.here(params | {"allow_rejected": "true"}).problem(422, "model-unusable", "_exit")
