"""gcs_get, gcs_put, gcs_get_pickle, gcs_put_pickle, gcs_list_blobs on the local Cloud Storage."""

import json
import pickle
import platform
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn
from google.cloud.storage import Blob
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mlsys.cloud.clients import Clients, default_clients
from mlsys.errors import InvalidRequest, ObjectNotFound
from mlsys.gcs import gcs_get, gcs_get_pickle, gcs_list_blobs, gcs_put, gcs_put_pickle
from registry_cases import X, fitted


@pytest.fixture
def bucket(clients: Clients, environment: dict[str, str]) -> Iterator[str]:
    """Yield a bucket of the test's own, without notifications."""
    found = clients.storage.create_bucket(f"gcs-{uuid.uuid4().hex[:8]}", timeout=10)
    yield found.name
    for blob in list(clients.storage.list_blobs(found.name, timeout=10)):
        blob.delete(timeout=10)
    found.delete(timeout=10)


def stored(clients: Clients, bucket: str, path: str) -> Blob:
    blob = clients.storage.bucket(bucket).get_blob(path, timeout=10)
    assert blob is not None
    return blob


@pytest.mark.parametrize(
    ("content", "path", "kind"),
    [
        (b"\x00\xff bytes", "a/b.bin", "application/octet-stream"),
        (b"", "empty", "application/octet-stream"),
        ("ä😀", "text", "text/plain"),
        ('{"a": 1}', "a.json", "application/json"),
        (b'{"a": 1}', "b.json", "application/json"),
        (b"x" * 10_000_000, "large", "application/octet-stream"),
        (b"x", "with space/ä😀/50%+?#&.txt", "application/octet-stream"),
    ],
)
def test_gcs_get_returns_what_gcs_put_stored(
    clients: Clients, bucket: str, content: bytes | str, path: str, kind: str
) -> None:
    gcs_put(content, bucket, path)
    expected = content.encode() if isinstance(content, str) else content
    assert gcs_get(bucket, path) == expected
    assert stored(clients, bucket, path).content_type == kind
    assert gcs_list_blobs(bucket) == [path]


def test_a_second_put_replaces_the_object(bucket: str) -> None:
    gcs_put(b"first", bucket, "a")
    gcs_put(b"second", bucket, "a")
    assert gcs_get(bucket, "a") == b"second"
    assert gcs_list_blobs(bucket) == ["a"]


def test_objects_are_listed_in_alphabetical_order(bucket: str) -> None:
    assert gcs_list_blobs(bucket) == []
    for path in ("b/v2/model.pkl", "b/v10/model.pkl", "a", "b/v1/model.pkl"):
        gcs_put(b"", bucket, path)
    assert gcs_list_blobs(bucket) == ["a", "b/v1/model.pkl", "b/v10/model.pkl", "b/v2/model.pkl"]


def test_a_downloaded_model_predicts_the_same(bucket: str) -> None:
    model = make_pipeline(StandardScaler(), LinearRegression()).fit(X, [1, 2, 3, 4])
    gcs_put_pickle(model, bucket, "m/v1/model.pkl")
    back = gcs_get_pickle(bucket, "m/v1/model.pkl")
    assert np.array_equal(back.predict(X), model.predict(X))


@pytest.mark.parametrize(
    "value", [None, {"a": [1, (2, "x")]}, "text", 1.5, pd.DataFrame({"a": [1, None]})], ids=str
)
def test_any_object_survives_the_round_trip(bucket: str, value: Any) -> None:
    gcs_put_pickle(value, bucket, "o.pkl")
    back = gcs_get_pickle(bucket, "o.pkl")
    assert back.equals(value) if isinstance(value, pd.DataFrame) else back == value


def test_plain_pickle_and_mlsys_read_each_others_files_without_arrays(bucket: str) -> None:
    value = {"threshold": 0.5, "names": ["a", "b"], "when": {1: (2, 3)}}
    gcs_put_pickle(value, bucket, "o.pkl")
    assert pickle.loads(gcs_get(bucket, "o.pkl")) == value
    model = fitted()
    gcs_put(pickle.dumps(model), bucket, "m.pkl")
    assert np.array_equal(gcs_get_pickle(bucket, "m.pkl").predict(X), model.predict(X))


def test_a_models_class_and_versions_are_in_the_objects_metadata(
    clients: Clients, bucket: str
) -> None:
    model = make_pipeline(StandardScaler(), LinearRegression()).fit(X, [1, 2, 3, 4])
    gcs_put_pickle(model, bucket, "m/v1/model.pkl")
    blob = stored(clients, bucket, "m/v1/model.pkl")
    assert blob.content_type == "application/octet-stream"
    assert json.loads(blob.metadata["mlsys"]) == {
        "model_class": "Pipeline(StandardScaler, LinearRegression)",
        "python_version": platform.python_version(),
        "sklearn_version": sklearn.__version__,
        "feature_names": ["height", "weight"],
    }


def test_a_models_description_fits_into_an_objects_custom_metadata(
    clients: Clients, bucket: str
) -> None:
    """The limit is 8 KiB: https://cloud.google.com/storage/quotas#objects."""
    many = pd.DataFrame(np.eye(3, 1000)).rename(columns="feature number {}".format)
    gcs_put_pickle(LinearRegression().fit(many, [1, 2, 3]), bucket, "m/v1/model.pkl")
    text = stored(clients, bucket, "m/v1/model.pkl").metadata["mlsys"]
    assert "feature_names" not in json.loads(text)
    assert len(text) < 8192
    unnamed = LinearRegression().fit(np.eye(3), [1, 2, 3])
    gcs_put_pickle(unnamed, bucket, "m/v2/model.pkl")
    text = stored(clients, bucket, "m/v2/model.pkl").metadata["mlsys"]
    assert "feature_names" not in json.loads(text)


def test_a_missing_object_or_bucket_is_named(bucket: str) -> None:
    for get in (gcs_get, gcs_get_pickle):
        with pytest.raises(ObjectNotFound, match=f"The object gs://{bucket}/nope does not exist"):
            get(bucket, "nope")
        with pytest.raises(ObjectNotFound, match="gs://no-such-bucket/a"):
            get("no-such-bucket", "a")
    with pytest.raises(ObjectNotFound, match="The bucket gs://no-such-bucket does not exist"):
        gcs_put(b"", "no-such-bucket", "a")
    with pytest.raises(ObjectNotFound, match="The bucket gs://no-such-bucket does not exist"):
        gcs_put_pickle({}, "no-such-bucket", "a.pkl")
    with pytest.raises(ObjectNotFound, match="The bucket gs://no-such-bucket does not exist"):
        gcs_list_blobs("no-such-bucket")
    with pytest.raises(FileNotFoundError):  # ObjectNotFound is also a FileNotFoundError
        gcs_get(bucket, "nope")


@pytest.mark.parametrize(("bucket_name", "path"), [("", "a"), ("bbb", ""), ("", "")])
def test_empty_names_are_refused(environment: dict[str, str], bucket_name: str, path: str) -> None:
    for call in (gcs_get, gcs_get_pickle):
        with pytest.raises(InvalidRequest, match="is empty: pass the"):
            call(bucket_name, path)
    with pytest.raises(InvalidRequest, match="is empty: pass the"):
        gcs_put(b"", bucket_name, path)


def test_a_path_that_registers_no_model_gives_a_warning(environment: dict[str, str]) -> None:
    with pytest.warns(UserWarning, match="does not register a model: model_name: 'Titanic'"):
        gcs_put_pickle({}, "mlsys-models-dev", "Titanic/1/model.pkl")
    default_clients().storage.bucket("mlsys-models-dev").blob("Titanic/1/model.pkl").delete()


def test_an_object_that_cannot_be_pickled_is_explained(environment: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest, match="cannot be pickled .*lock.* leave out"):
        gcs_put_pickle(threading.Lock(), "mlsys-models-dev", "lock/v1/model.pkl")


def test_a_function_of_the_notebook_survives_the_round_trip(bucket: str) -> None:
    with pytest.warns(UserWarning, match="obj: a lambda is stored in the file as code"):
        gcs_put_pickle(lambda x: x + 1, bucket, "lambda.pkl")
    assert gcs_get_pickle(bucket, "lambda.pkl")(1) == 2
