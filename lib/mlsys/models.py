"""Upload a fitted model together with its metadata."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlsys.arguments import check_choice, kind_of
from mlsys.artifact.refs import VERSION, ModelRef
from mlsys.clients import TIMEOUT, Clients, default_clients
from mlsys.cloud.errors import Use, cloud_errors
from mlsys.errors import InvalidRequest, MetadataInvalid, ModelExists, ModelNotFound, ObjectNotFound
from mlsys.progress import progress
from mlsys.registry import wait_until_registered
from mlsys.safe_pickle.saved_with import names_of_the_notebook
from mlsys.settings import ENVS

if TYPE_CHECKING:
    from google.cloud.storage import Bucket

__all__ = ["ModelRef", "sign_model", "upload_model"]


def upload_model(
    model: Any,
    name: str,
    version: str | None = None,
    *,
    X: Any,
    y: Any = None,
    target: str | Sequence[str] | None = None,
    id_columns: str | Sequence[str] = (),
    metrics: Mapping[str, Any] | None = None,
    description: str | None = None,
    env: str = "dev",
    overwrite: bool = False,
    wait: bool = True,
    signing_key: str | Path | None = None,
) -> ModelRef:
    """Upload a fitted model with its metadata, and return its name and version.

    X is the training data the model was fitted on (rows x features, without target and ids; for a
    text pipeline the Series of its texts), y the target. Its names and types become the signature
    that every table is checked against. Before anything is uploaded, a few rows of X are read back
    as scoring will read them from a table, and the model must answer them as before.

    Without `version` the next free one is taken; a version that exists is refused unless
    `overwrite`. With `wait` the call returns once the registry shows the upload (four minutes
    at the most), and warns if the service rejects the model. `signing_key` is the file of a private
    key, for a service that asks for signatures (`mlsys sign new-key`).

    `metadata.json` is written first and `model.pkl` last, so that a reader who sees the model
    finds its metadata; the metadata carries the model's checksum and counts for that model alone.

    Raises:
        InvalidRequest: a malformed name or version, data that cannot be described, metadata that
            the service would leave out, or no key.
        ModelExists: the version is taken.
        ObjectNotFound: the environment's bucket is not there.
        NotRegistered: the model is in the bucket, and the registry did not show it in time.
        CredentialsMissing, PermissionMissing, CloudUnavailable: see `mlsys.errors`.
    """
    from mlsys import gcs
    from mlsys.artifact import describe, metadata, signing, training

    ModelRef(name, "v1" if version is None else version)  # before any work is done
    check_choice(env, ENVS, "env")
    if signing_key is not None:
        signing.public_key(
            signing_key
        )  # a key that cannot sign is found before anything is written
    training.check_model(model)
    content = gcs.pickled(model)
    if b"__main__" in content and (names := names_of_the_notebook(model)):
        raise InvalidRequest(
            (
                "model",
                f"uses {', '.join(names)}, defined in this notebook, which does not travel with "
                "the pickle: move it to a package that is installed in the service, import it "
                "from there and train again",
            )
        )
    document = describe.build(
        model,
        X=X,
        y=y,
        target=target,
        id_columns=id_columns,
        metrics=metrics,
        description=description,
        artifact=content,
    )
    described = json.dumps(document, indent=1)
    try:  # as the registry and scoring will read it
        metadata.ModelMetadata.parse(described.encode())
    except MetadataInvalid as exc:
        raise InvalidRequest(("metadata.json", f"would be left out by the service: {exc}")) from exc
    about = json.dumps(gcs.describe(model))
    clients = default_clients()
    bucket = clients.settings.models_bucket(env)
    doing = progress(f"Uploading {name} ({len(content):,} bytes) to gs://{bucket}")
    with cloud_errors(_use(f"gs://{bucket}/{name}", *_WRITE)), doing:
        ref, generation = _write(
            clients, env, name, version, overwrite, content, described, about, signing_key
        )
    if wait:
        row = wait_until_registered(clients, env, ref, generation)
        if row.status != "ready" or row.status_reason:
            warnings.warn(f"{ref} is {row.status} in {env}: {row.status_reason}", stacklevel=2)
    return ref


def sign_model(ref: ModelRef, env: str, key: str | Path) -> str:
    """Sign the model that is in the bucket now, and return where the signature lies.

    Raises:
        InvalidRequest: no private key is in the file.
        ModelNotFound: there is no such model.
        CredentialsMissing, PermissionMissing, CloudUnavailable: see `mlsys.errors`.
    """
    from google.api_core.exceptions import NotFound

    from mlsys.artifact import signing

    _check_ref(ref)
    check_choice(env, ENVS, "env")
    clients = default_clients()
    name = clients.settings.models_bucket(env)
    with cloud_errors(_use(f"gs://{name}/{ref}", "storage.objects.get", *_WRITE)):
        bucket = clients.storage.bucket(name)
        try:
            content = bucket.blob(ref.path).download_as_bytes(checksum="crc32c", timeout=TIMEOUT)
        except NotFound as exc:
            raise ModelNotFound(f"There is no model gs://{bucket.name}/{ref.path}") from exc
        _replace(bucket, ref.signature_path, signing.sign(ref, content, key), "text/plain")
    return f"gs://{name}/{ref.signature_path}"


def _check_ref(ref: Any) -> None:
    if not isinstance(ref, ModelRef):
        text = f"is {kind_of(ref)}: pass ModelRef('titanic-survival', 'v1')"
        raise InvalidRequest(("ref", text))


# Looking for the next version, and writing over what is there
_WRITE = ("storage.objects.list", "storage.objects.create", "storage.objects.delete")


def _use(resource: str, *permissions: str) -> Use:
    return Use("Cloud Storage", resource, permissions)


def _write(
    clients: Clients,
    env: str,
    name: str,
    version: str | None,
    overwrite: bool,
    content: bytes,
    described: str,
    about: str,
    signing_key: str | Path | None,
) -> tuple[ModelRef, int]:
    """Write a version's objects, `model.pkl` last; return the version and the model's generation.

    Raises:
        ModelExists: the version is taken.
        ObjectNotFound: the environment's bucket is not there.
    """
    from google.api_core.exceptions import NotFound, PreconditionFailed

    from mlsys import gcs
    from mlsys.artifact import signing

    bucket = clients.storage.bucket(clients.settings.models_bucket(env))
    ref = ModelRef(name, version or "v1")
    try:
        if version is None:
            ref = ModelRef(name, _next_version(bucket, name))
        there = bucket.get_blob(ref.path, timeout=TIMEOUT)
        if there is not None and not overwrite:
            raise ModelExists(f"{ref} exists in {env}: pass overwrite=True or another version")
        # Two uploads at the same time mostly part here already. Where they cross, the checksum in
        # the metadata keeps one's metadata from counting for the other's model.
        _replace(bucket, ref.metadata_path, described, "application/json")
        if signing_key is not None:
            signature = signing.sign(ref, content, signing_key)
            _replace(bucket, ref.signature_path, signature, "text/plain")
        blob = bucket.blob(ref.path)
        blob.metadata = {gcs.DESCRIPTION_KEY: about}
        blob.upload_from_string(
            content,
            content_type="application/octet-stream",
            if_generation_match=there.generation if there is not None else 0,
            timeout=TIMEOUT,
        )
    except PreconditionFailed as exc:
        raise ModelExists(f"{ref} was uploaded by somebody else just now: try again") from exc
    except NotFound as exc:
        raise ObjectNotFound(
            f"The bucket gs://{bucket.name} is not there: is {env} set up in "
            f"{clients.settings.project}?"
        ) from exc
    return ref, int(blob.generation)


def _replace(bucket: Bucket, path: str, content: str | bytes, content_type: str) -> None:
    """Write an object over what is there now, and over nothing else."""
    there = bucket.get_blob(path, timeout=TIMEOUT)
    bucket.blob(path).upload_from_string(
        content,
        content_type=content_type,
        if_generation_match=there.generation if there is not None else 0,
        timeout=TIMEOUT,
    )


def _next_version(bucket: Bucket, name: str) -> str:
    """The version after the highest one that has any object, a lone metadata.json included."""
    found = 0
    for blob in bucket.list_blobs(prefix=f"{name}/", timeout=TIMEOUT):
        version = blob.name.split("/")[1]
        if VERSION.fullmatch(version):
            found = max(found, int(version[1:]))
    return f"v{found + 1}"
