"""Cloud Storage for notebooks: bytes and pickled models in and out of buckets.

>>> from mlsys.gcs import gcs_put_pickle                                    # doctest: +SKIP
>>> from mlsys.settings import GCS_BUCKET_MODELS_DEV                        # doctest: +SKIP
>>> gcs_put_pickle(model, GCS_BUCKET_MODELS_DEV, "titanic-survival/v1/model.pkl")  # doctest: +SKIP
"""

from __future__ import annotations

import io
import json
import pickle
import warnings
from typing import TYPE_CHECKING, Any

from mlsys.clients import TIMEOUT, default_clients
from mlsys.errors import InvalidRequest, ObjectNotFound
from mlsys.settings import ENVS

if TYPE_CHECKING:
    from google.cloud.storage import Blob

# The custom metadata key under which a pickled model's class and versions travel with the object,
# so that the registry can show them without loading the pickle.
DESCRIPTION_KEY = "mlsys"
PROMOTION_KEY = "mlsys-promotion"  # and that of where a promoted model came from, and by whom


def gcs_get(bucket_name: str, blob_path: str) -> bytes:
    """Return the object's bytes, checked against the checksum that Cloud Storage keeps.

    Raises:
        ObjectNotFound: there is no such bucket or object.
    """
    from google.api_core.exceptions import NotFound

    try:
        return _blob(bucket_name, blob_path).download_as_bytes(timeout=TIMEOUT)
    except NotFound as exc:
        raise ObjectNotFound(f"There is no object gs://{bucket_name}/{blob_path}") from exc


def gcs_put(content: bytes | str, bucket_name: str, blob_path: str) -> None:
    """Write `content` as one object, replacing what was there.

    Raises:
        ObjectNotFound: there is no such bucket.
    """
    _upload(_blob(bucket_name, blob_path), content)


def gcs_get_pickle(bucket_name: str, blob_path: str) -> Any:
    """Return the object that `gcs_put_pickle` (or joblib, or pickle) wrote.

    A pickle can run any code as it is loaded: only load what you or your team wrote. The service's
    list of names does not apply here, because a notebook reads its own files, of any class, with
    the rights of whoever runs it.

    Raises:
        ObjectNotFound: there is no such bucket or object.
    """
    import joblib

    return joblib.load(io.BytesIO(gcs_get(bucket_name, blob_path)))


def gcs_put_pickle(obj: Any, bucket_name: str, blob_path: str) -> None:
    """Write `obj` in joblib's format, replacing what was there.

    At `{model-name}/v{N}/model.pkl` of a models bucket the upload itself registers the model.
    Its class and library versions travel along as custom metadata of the object, under the key
    `mlsys`. Plain pickle reads the result too where `obj` holds no NumPy array.

    Raises:
        InvalidRequest: `obj` is an estimator's class, or holds something that cannot be pickled.
        ObjectNotFound: there is no such bucket.
    """
    blob = _blob(bucket_name, blob_path)
    content = pickled(obj)
    _warn_of_a_path_that_is_not_registered(bucket_name, blob_path)
    blob.metadata = {DESCRIPTION_KEY: json.dumps(describe(obj))}
    _upload(blob, content, "application/octet-stream")


def _warn_of_a_path_that_is_not_registered(bucket_name: str, blob_path: str) -> None:
    from mlsys.refs import ModelRef

    settings = default_clients().settings
    if bucket_name not in (settings.models_bucket(env) for env in ENVS):
        return
    try:
        ModelRef.of_object(blob_path)
    except InvalidRequest as exc:
        warnings.warn(f"This upload registers no model: {exc}", stacklevel=3)


def gcs_list_blobs(bucket_name: str) -> list[str]:
    """Return the paths of all objects in the bucket, in alphabetical order.

    Raises:
        ObjectNotFound: there is no such bucket.
    """
    from google.api_core.exceptions import NotFound

    client = default_clients().storage
    try:
        blobs = client.list_blobs(bucket_name, fields="items(name),nextPageToken", timeout=TIMEOUT)
        return [blob.name for blob in blobs]
    except NotFound as exc:
        raise ObjectNotFound(f"There is no bucket gs://{bucket_name}") from exc


def pickled(obj: Any) -> bytes:
    """Return `obj` in joblib's format.

    Raises:
        InvalidRequest: it is an estimator's class, or holds something that cannot be pickled.
    """
    import joblib

    if isinstance(obj, type) and any(hasattr(obj, m) for m in ("fit", "predict", "transform")):
        raise InvalidRequest(
            ("model", f"is the class {obj.__name__}, not a fitted model: pass the fitted object")
        )
    buffer = io.BytesIO()
    try:
        joblib.dump(obj, buffer)
    except (pickle.PicklingError, AttributeError, TypeError) as exc:
        raise InvalidRequest(
            (
                "model",
                f"cannot be pickled ({exc}): a lambda or a function of the notebook does not "
                "travel; put a named function into a package",
            )
        ) from exc
    return buffer.getvalue()


def describe(obj: Any) -> dict[str, Any]:
    """Return what can be said of a fitted model without its data: class, features, versions.

    `feature_names` is left out where the model knows none, or where they are too many for an
    object's custom metadata (8 KiB in all).
    """
    from mlsys.metadata import library_versions, model_class

    out: dict[str, Any] = {"model_class": model_class(obj)}
    versions = library_versions()
    out |= {"python_version": versions["python"], "sklearn_version": versions["scikit-learn"]}
    names = getattr(obj, "feature_names_in_", None)
    if names is not None and len(json.dumps(list(names))) < 6000:
        out["feature_names"] = list(names)
    return out


def _blob(bucket_name: str, blob_path: str) -> Blob:
    if not bucket_name or not blob_path:
        raise InvalidRequest(("bucket_name, blob_path", "are empty: pass both"))
    return default_clients().storage.bucket(bucket_name).blob(blob_path)


def _upload(blob: Blob, content: bytes | str, content_type: str | None = None) -> None:
    from google.api_core.exceptions import NotFound

    if content_type is None:
        content_type = "application/json" if blob.name.endswith(".json") else "text/plain"
        if isinstance(content, bytes) and not blob.name.endswith(".json"):
            content_type = "application/octet-stream"
    try:
        blob.upload_from_string(content, content_type=content_type, timeout=TIMEOUT)
    except NotFound as exc:
        raise ObjectNotFound(f"There is no bucket gs://{blob.bucket.name}") from exc
