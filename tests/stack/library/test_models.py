"""upload_model: one call from a fitted model to a registered version."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from mlsys.errors import InvalidRequest, ModelExists, NotRegistered, ObjectNotFound
from mlsys.gcs import gcs_get_pickle
from mlsys.local.stack import LocalStack
from mlsys.models import ModelRef, upload_model
from registry_cases import ModelCase, X, fitted, model_case, notifications_lost
from workers.registry.sync import rescan

Y = pd.Series([1.0, 2.0, 4.0, 7.0], name="age")


@pytest.fixture
def case(stack: LocalStack, environment: dict[str, str]) -> Iterator[ModelCase]:
    with model_case(stack, "models") as fresh:
        yield fresh


def objects(case: ModelCase) -> list[str]:
    blobs = case.clients.storage.list_blobs(case.bucket, prefix=f"{case.name}/", timeout=10)
    return [blob.name.removeprefix(f"{case.name}/") for blob in blobs]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"metrics": {"text": "x" * 1_000_000}}, "metadata.json: .* the limit is 1,000,000"),
        ({"metrics": {"n": 10**400}}, "metrics: holds a number that FLOAT64 cannot hold"),
        ({"description": "\ud800"}, "description: holds half of a surrogate pair"),
        ({"id_columns": [1]}, "id_columns: holds an int: pass the names of columns"),
        ({"metrics": {"1": 1, 1: 2}}, None),
    ],
)
def test_metadata_that_the_service_would_leave_out_is_refused_before_the_upload(
    case: ModelCase, more: dict[str, Any], reason: str | None
) -> None:
    if reason is None:  # the last one counts, as in a dictionary
        assert upload_model(fitted(), case.name, X=X, y=Y, wait=False, **more).version == "v1"
        return
    with pytest.raises(InvalidRequest, match=f"^{reason}"):
        upload_model(fitted(), case.name, X=X, y=Y, **more)
    assert objects(case) == []


def test_an_upload_is_in_the_registry_when_the_call_returns(case: ModelCase) -> None:
    ref = upload_model(
        fitted(),
        case.name,
        X=X,
        y=Y,
        id_columns=["id"],
        metrics={"r2": np.float64(0.5), "nan": float("nan")},
        description="How tall",
    )
    rows = case.rows()  # without waiting
    assert (ref, str(ref)) == (ModelRef(case.name, "v1"), f"{case.name}/v1")
    assert len(rows) == 1
    row = case.row()
    blob, metadata = case.blob(), case.blob(file="metadata.json")
    assert blob is not None and metadata is not None
    assert (row["generation"], row["metadata_generation"]) == (blob.generation, metadata.generation)
    assert (row["status"], row["status_reason"]) == ("ready", None)
    assert (row["feature_names"], row["target"]) == (["height", "weight"], ["age"])
    assert row["metrics"] == {"r2": 0.5, "nan": None}
    assert row["metadata"] == json.loads(metadata.download_as_bytes(timeout=10))
    assert row["metadata"]["description"] == "How tall"
    assert row["metadata"]["id_columns"] == ["id"]
    assert row["metadata"]["artifact"] == {"crc32c": blob.crc32c, "size_bytes": blob.size}
    model = gcs_get_pickle(case.bucket, ref.path)
    assert np.array_equal(model.predict(X), fitted().predict(X))


@pytest.mark.slow
def test_the_metadata_is_written_before_the_model(case: ModelCase) -> None:
    upload_model(fitted(), case.name, X=X)
    blob, metadata = case.blob(), case.blob(file="metadata.json")
    assert blob is not None and metadata is not None
    assert metadata.time_created < blob.time_created
    case.settle()
    announced = [m.attributes["objectId"].split("/")[-1] for m in case.events()]
    assert announced == ["metadata.json", "contract.json", "model.pkl"]


def test_without_a_version_the_highest_plus_one_is_used(case: ModelCase) -> None:
    taken = [upload_model(fitted(), case.name, X=X, wait=False).version for _ in range(2)]
    assert taken == ["v1", "v2"]
    upload_model(fitted(), case.name, "v10", X=X, wait=False)
    assert upload_model(fitted(), case.name, X=X, wait=False).version == "v11"
    case.delete("v1/model.pkl")  # a gap is not filled
    assert upload_model(fitted(), case.name, X=X, wait=False).version == "v12"
    case.put("notes", "v99x/notes.txt")  # not a version
    assert upload_model(fitted(), case.name, X=X, wait=False).version == "v13"


@pytest.mark.slow
def test_a_model_whose_name_has_the_same_prefix_is_ignored(case: ModelCase) -> None:
    longer = f"{case.name}-2"
    try:
        upload_model(fitted(), longer, "v7", X=X, wait=False)
        assert upload_model(fitted(), case.name, X=X, wait=False).version == "v1"
    finally:
        ref = ModelRef(longer, "v7")
        for path in (ref.path, ref.metadata_path, ref.contract_path):
            case.clients.storage.bucket(case.bucket).blob(path).delete(timeout=10)
        case.settle()


@pytest.mark.slow
def test_a_version_with_only_metadata_is_skipped_but_can_be_uploaded(case: ModelCase) -> None:
    """An interrupted upload leaves such metadata: its number is never chosen again."""
    case.put("{}", "v3/metadata.json")
    assert upload_model(fitted(), case.name, X=X, wait=False).version == "v4"
    assert upload_model(fitted(), case.name, "v3", X=X).version == "v3"
    case.settle()
    assert case.registered() == case.stored()
    assert [row["status_reason"] for row in case.rows()] == [None, None]


def test_an_existing_version_is_refused_and_unchanged(case: ModelCase) -> None:
    upload_model(fitted(1.0), case.name, "v1", X=X)
    case.settle()
    before = case.stored()
    with pytest.raises(ModelExists, match=r"/v1 exists in dev: pass overwrite=True or another"):
        upload_model(fitted(2.0), case.name, "v1", X=X)
    with pytest.raises(FileExistsError):  # ModelExists is also a FileExistsError
        upload_model(fitted(2.0), case.name, "v1", X=X)
    assert case.stored() == before


@pytest.mark.slow
def test_overwrite_replaces_the_model_and_its_metadata(case: ModelCase) -> None:
    upload_model(fitted(1.0), case.name, "v1", X=X, metrics={"r2": 1})
    [before] = case.stored()
    upload_model(fitted(2.0), case.name, "v1", X=X, metrics={"r2": 2}, overwrite=True)
    [after] = case.stored()
    assert before[1] != after[1] and before[2] != after[2]
    row = case.row()
    assert (row["metrics"], row["status_reason"]) == ({"r2": 2}, None)
    assert case.registered() == case.stored()
    upload_model(fitted(3.0), case.name, "v2", X=X, overwrite=True)  # nothing to replace is fine


@pytest.mark.slow
def test_of_concurrent_uploads_of_one_version_one_succeeds(case: ModelCase) -> None:
    def upload(slope: int) -> bool:
        try:
            upload_model(fitted(slope), case.name, "v1", X=X, metrics={"n": slope}, wait=False)
        except ModelExists:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        taken = list(pool.map(upload, range(1, 5)))
    assert taken.count(True) == 1
    slope = taken.index(True) + 1
    model = gcs_get_pickle(case.bucket, case.ref().path)
    assert np.allclose(model.coef_, fitted(slope).coef_)
    row = case.row()
    assert case.registered() == case.stored()
    # Two objects cannot be written as one: foreign metadata must never count.
    foreign = "metadata.json is about another model.pkl: its checksum differs"
    assert (row["metrics"], row["status_reason"]) in (({"n": slope}, None), (None, foreign))


@pytest.mark.slow
def test_an_upload_not_registered_in_time_is_reported_and_kept(
    case: ModelCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tenacity

    patient = tenacity.stop_after_delay
    monkeypatch.setattr("tenacity.stop_after_delay", lambda _: patient(1.0))
    raises = pytest.raises(NotRegistered, match=r"GET /model-registry\?env=dev")
    with notifications_lost(case.stack), raises:
        upload_model(fitted(), case.name, X=X)
    assert case.rows() == []
    assert objects(case) == ["v1/contract.json", "v1/metadata.json", "v1/model.pkl"]
    rescan(case.clients, "dev")
    assert case.registered() == case.stored() != []


def test_without_wait_the_call_returns_before_the_model_is_registered(case: ModelCase) -> None:
    with notifications_lost(case.stack):
        ref = upload_model(fitted(), case.name, X=X, wait=False)
    assert (str(ref), case.rows()) == (f"{case.name}/v1", [])


def test_an_environment_without_a_registry_is_reported_at_once(case: ModelCase) -> None:
    bucket = case.clients.storage.create_bucket("mlsys-models-staging", timeout=10)
    try:
        with pytest.raises(NotRegistered, match=r"no registry mlsys-local\.mlsys_staging"):
            upload_model(fitted(), case.name, X=X, env="staging")
    finally:
        for blob in list(case.clients.storage.list_blobs(bucket.name, timeout=10)):
            blob.delete(timeout=10)
        bucket.delete(timeout=10)


def test_an_environment_without_a_bucket_is_named(case: ModelCase) -> None:
    with pytest.raises(ObjectNotFound, match="gs://mlsys-models-prod does not exist: set up prod"):
        upload_model(fitted(), case.name, X=X, env="prod")


class Untrained:
    """Can be pickled, and cannot predict."""

    def predict(self, X: Any) -> Any:
        raise RuntimeError("call fit first")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"model": Untrained()}, "model: cannot predict on rows of X: call fit first"),
        ({"X": X.rename(columns={"height": "size"})}, "model: cannot predict on rows of X"),
        ({"X": X[["height"]]}, "model: cannot predict on rows of X"),
        ({"X": X["height"]}, "X: "),
        ({"X": X.assign(weight=[1, "a", 2, 3])}, "X: column 'weight'"),
        ({"name": "Bad_Name"}, "model_name: "),
        ({"name": "a" * 64}, "model_name: "),
        ({"name": "-a"}, "model_name: "),
        ({"name": "../a"}, "model_name: "),
        ({"name": "a\n"}, "model_name: "),
        ({"name": ""}, "model_name: "),
        ({"version": "1"}, "model_version: "),
        ({"version": "v0"}, "model_version: "),
        ({"version": "v01"}, "model_version: "),
        ({"version": "latest"}, "model_version: "),
        ({"version": "v1234567890"}, "model_version: "),
        ({"name": "Bad", "version": "bad"}, "model_name: .*; model_version: "),
        ({"env": "qa"}, "env: 'qa': pass dev, staging or prod"),
    ],
)
def test_an_unusable_model_is_refused_before_any_upload(
    case: ModelCase, change: dict[str, Any], problem: str
) -> None:
    before = list(case.clients.storage.list_blobs(case.bucket, timeout=10))
    arguments = {"model": fitted(), "name": case.name, "X": X} | change
    with pytest.raises(InvalidRequest, match=f"^{problem}"):
        upload_model(**arguments)
    after = list(case.clients.storage.list_blobs(case.bucket, timeout=10))
    assert [blob.name for blob in after] == [blob.name for blob in before]


def shout(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame: a function that the service does not trust."""
    return frame


@pytest.mark.slow
def test_an_upload_that_the_service_rejects_raises_at_once(case: ModelCase) -> None:
    model = make_pipeline(FunctionTransformer(shout), fitted()).fit(X, X["height"])
    with pytest.warns(UserWarning, match=r"/v1 is rejected in dev: .*test_models\.shout"):
        upload_model(model, case.name, X=X)
    assert case.row()["status"] == "rejected"
