"""Cloud Storage for notebooks: bytes and pickled models in and out of buckets.

>>> from mlsys.gcs import gcs_put_pickle                                    # doctest: +SKIP
>>> from mlsys.settings import GCS_BUCKET_MODELS_DEV                        # doctest: +SKIP
>>> gcs_put_pickle(model, GCS_BUCKET_MODELS_DEV, "titanic-survival/v1/model.pkl")  # doctest: +SKIP
"""

from __future__ import annotations

import io
import json
import warnings
from typing import TYPE_CHECKING, Any

from mlsys.arguments import check_bucket, check_path, content_bytes
from mlsys.artifact.pickling import about, pickled
from mlsys.artifact.refs import DESCRIPTION_KEY, ModelRef
from mlsys.cloud.clients import TIMEOUT, default_clients
from mlsys.cloud.credentials import words
from mlsys.cloud.errors import cloud_errors
from mlsys.cloud.messages import Use
from mlsys.cloud.progress import progress
from mlsys.cloud.uploads import upload
from mlsys.errors import InvalidRequest, MlsysError, ObjectNotFound
from mlsys.settings import ENVS

if TYPE_CHECKING:
    from google.cloud.storage import Blob

__all__ = ["gcs_get", "gcs_get_pickle", "gcs_list_blobs", "gcs_put", "gcs_put_pickle"]


def gcs_get(bucket_name: str, blob_path: str) -> bytes:
    """Return the object's bytes, verified against Cloud Storage's checksum.

    Raises:
        InvalidRequest: the bucket's name or the path is not valid.
        ObjectNotFound: the bucket or the object does not exist.
        CredentialsMissing, PermissionMissing, CloudUnavailable: see `mlsys.errors`.
    """
    from google.api_core.exceptions import NotFound

    bucket_name, blob_path = _checked(bucket_name, blob_path)
    with cloud_errors(_use(f"gs://{bucket_name}/{blob_path}", "storage.objects.get")):
        try:
            with progress(f"Downloading gs://{bucket_name}/{blob_path}"):
                return _blob(bucket_name, blob_path).download_as_bytes(timeout=TIMEOUT)
        except NotFound as exc:
            raise ObjectNotFound(
                f"The object gs://{bucket_name}/{blob_path} does not exist: check the bucket and "
                "the path"
            ) from exc


def gcs_put(content: bytes | str, bucket_name: str, blob_path: str) -> None:
    """Write `content` as one object, replacing an existing one. Text is written as UTF-8.

    Raises:
        InvalidRequest: `content` is neither bytes nor text, or the bucket's name or the path is not
            valid.
        ObjectNotFound: the bucket does not exist.
        CredentialsMissing, PermissionMissing, CloudUnavailable: see `mlsys.errors`.
    """
    content = content_bytes(content)
    bucket_name, blob_path = _checked(bucket_name, blob_path)
    with cloud_errors(_use(f"gs://{bucket_name}/{blob_path}", *_WRITE)):
        _upload(_blob(bucket_name, blob_path), content)


def gcs_get_pickle(bucket_name: str, blob_path: str) -> Any:
    """Return the object that `gcs_put_pickle` (or joblib, or pickle) wrote.

    A pickle can run any code when it is loaded: only load what you or your team wrote. The
    service's allow-list does not apply here, because a notebook reads its own files, of any class,
    with its user's permissions.

    Raises:
        InvalidRequest: the object is not a pickle, or needs a package that is not installed here.
        ObjectNotFound: the bucket or the object does not exist.
        CredentialsMissing, PermissionMissing, CloudUnavailable: see `mlsys.errors`.
    """
    import joblib

    content = gcs_get(bucket_name, blob_path)
    try:
        return joblib.load(io.BytesIO(content))
    except MemoryError:
        raise
    except Exception as exc:  # bytes that are not a pickle can raise any exception
        raise InvalidRequest(("blob_path", _unloadable(bucket_name, blob_path, exc))) from exc


def gcs_put_pickle(obj: Any, bucket_name: str, blob_path: str) -> None:
    """Write `obj` in joblib's format, replacing an existing object.

    Classes and functions of the notebook, of modules beside it, and lambdas are stored as code in
    cloudpickle's format, and a warning names them: only a service with MLSYS_MODELS=any loads them.

    Writing `{model-name}/v{N}/model.pkl` in a models bucket registers the model. Its class and
    library versions are stored in the object's custom metadata, under the key `mlsys`. Plain pickle
    can read the result too, unless `obj` holds a NumPy array.

    Raises:
        InvalidRequest: `obj` is an estimator's class, or holds something that cannot be pickled; or
            the bucket's name or the path is not valid.
        ObjectNotFound: the bucket does not exist.
        CredentialsMissing, PermissionMissing, CloudUnavailable: see `mlsys.errors`.
    """
    bucket_name, blob_path = _checked(bucket_name, blob_path)
    content = pickled(obj, "obj")
    with cloud_errors(_use(f"gs://{bucket_name}/{blob_path}", *_WRITE)):
        blob = _blob(bucket_name, blob_path)
        _warn_unless_registered(bucket_name, blob_path)
        blob.metadata = {DESCRIPTION_KEY: json.dumps(about(obj))}
        _upload(blob, content, "application/octet-stream")


def _warn_unless_registered(bucket_name: str, blob_path: str) -> None:
    settings = default_clients().settings
    if bucket_name not in (settings.models_bucket(env) for env in ENVS):
        return
    try:
        ModelRef.of_object(blob_path)
    except InvalidRequest as exc:
        warnings.warn(f"This upload does not register a model: {exc}", stacklevel=3)


def gcs_list_blobs(bucket_name: str) -> list[str]:
    """Return the paths of all objects in the bucket, in alphabetical order.

    Raises:
        InvalidRequest: the bucket's name is not valid.
        ObjectNotFound: the bucket does not exist.
        CredentialsMissing, PermissionMissing, CloudUnavailable: see `mlsys.errors`.
    """
    from google.api_core.exceptions import NotFound

    bucket_name = check_bucket(bucket_name)
    fields = "items(name),nextPageToken"
    with cloud_errors(_use(f"gs://{bucket_name}", "storage.objects.list")):
        try:
            client = default_clients().storage
            blobs = client.list_blobs(bucket_name, fields=fields, timeout=TIMEOUT)
            with progress(f"Listing gs://{bucket_name}"):
                return [blob.name for blob in blobs]
        except NotFound as exc:
            raise _no_bucket(bucket_name) from exc


def _unloadable(bucket_name: str, blob_path: str, exc: Exception) -> str:
    where = f"gs://{bucket_name}/{blob_path}"
    if isinstance(exc, ModuleNotFoundError):
        return f"{where} needs the package {exc.name}, which is not installed here: install it"
    if isinstance(exc, AttributeError | ImportError):
        return (
            f"{where} needs a name that the installed packages do not have ({words(exc)}): install "
            "the versions that it was written with, or import the module that defines it"
        )
    if isinstance(exc, MlsysError):
        return f"{where} cannot be loaded: {exc}"
    return (
        f"{where} is not a pickle that can be loaded here ({type(exc).__name__}: {words(exc)}): "
        "read its bytes with gcs_get"
    )


# Replacing an object needs both: https://cloud.google.com/storage/docs/access-control/iam-json
_WRITE = ("storage.objects.create", "storage.objects.delete")


def _use(resource: str, *permissions: str) -> Use:
    return Use("Cloud Storage", resource, permissions)


def _no_bucket(name: str) -> ObjectNotFound:
    return ObjectNotFound(f"The bucket gs://{name} does not exist: check its name, or create it")


def _checked(bucket_name: Any, blob_path: Any) -> tuple[str, str]:
    return check_bucket(bucket_name), check_path(blob_path)


def _blob(bucket_name: str, blob_path: str) -> Blob:
    return default_clients().storage.bucket(bucket_name).blob(blob_path)


def _upload(blob: Blob, content: bytes | str, content_type: str | None = None) -> None:
    from google.api_core.exceptions import NotFound

    if content_type is None:
        content_type = "application/json" if blob.name.endswith(".json") else "text/plain"
        if isinstance(content, bytes) and not blob.name.endswith(".json"):
            content_type = "application/octet-stream"
    try:
        doing = f"Uploading {len(content):,} bytes to gs://{blob.bucket.name}/{blob.name}"
        with progress(doing, len(content)) as done:
            upload(blob, content, content_type, done)
    except NotFound as exc:
        raise _no_bucket(blob.bucket.name) from exc
