"""Write a model version's files into its environment's bucket, `model.pkl` last.

So a reader who sees the model finds its metadata, contract and signature. An object is replaced
only if it is still the one that was looked at.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlsys.artifact.refs import DESCRIPTION_KEY, VERSION, ModelRef
from mlsys.cloud.clients import TIMEOUT, Clients
from mlsys.cloud.messages import Use
from mlsys.cloud.progress import Done
from mlsys.cloud.uploads import upload
from mlsys.errors import ModelExists, ModelNotFound, ObjectNotFound

if TYPE_CHECKING:
    from google.cloud.storage import Bucket

    from mlsys.artifact.contract import Contract

# To list versions, and to replace objects
WRITE = ("storage.objects.list", "storage.objects.create", "storage.objects.delete")


@dataclass(frozen=True, slots=True)
class VersionFiles:
    """What the files of a version hold; `about` is written beside the model's bytes."""

    model: bytes
    metadata: str
    contract: Contract  # the draft
    about: str
    signing_key: str | Path | None = None


def write_version(
    clients: Clients,
    env: str,
    name: str,
    version: str | None,
    files: VersionFiles,
    *,
    overwrite: bool,
    done: Done,
) -> tuple[ModelRef, int]:
    """Write the files; return the version, the next free one if None, and the model's generation.

    Raises:
        ModelExists: the version exists already.
        ObjectNotFound: the environment's bucket does not exist.
    """
    from google.api_core.exceptions import NotFound, PreconditionFailed

    from mlsys.artifact import signing
    from mlsys.registry.contract_file import write_draft

    bucket = clients.storage.bucket(clients.settings.models_bucket(env))
    ref = ModelRef(name, version or "v1")
    try:
        if version is None:
            ref = ModelRef(name, _next_version(bucket, name))
        existing = bucket.get_blob(ref.path, timeout=TIMEOUT)
        if existing is not None and not overwrite:
            raise ModelExists(f"{ref} exists in {env}: pass overwrite=True or another version")
        # Most concurrent uploads of one version end here. Otherwise the checksum in the metadata
        # keeps one upload's metadata from applying to the other's model.
        _replace(bucket, ref.metadata_path, files.metadata, "application/json")
        drafted = write_draft(bucket, ref, files.contract)
        if files.signing_key is not None:
            signature = signing.sign(ref, files.model, files.signing_key)
            _replace(bucket, ref.signature_path, signature, "text/plain")
        blob = bucket.blob(ref.path)
        blob.metadata = {DESCRIPTION_KEY: files.about}
        upload(
            blob,
            files.model,
            "application/octet-stream",
            done,
            if_generation_match=int(existing.generation or 0) if existing is not None else 0,
        )
    except PreconditionFailed as exc:
        raise ModelExists(f"Somebody else just uploaded {ref}: try again") from exc
    except NotFound as exc:
        raise ObjectNotFound(
            f"The bucket gs://{bucket.name} does not exist: set up {env} in "
            f"{clients.settings.project} (docs/deploying.md), or pass another env"
        ) from exc
    if not drafted:
        text = f"contract.json of {ref} was edited, and stays: see `mlsys contract show`"
        warnings.warn(text, stacklevel=3)
    return ref, int(blob.generation)


def write_signature(bucket: Bucket, ref: ModelRef, key: str | Path) -> None:
    """Sign the model that is now in the bucket, and write the signature beside it.

    Raises:
        ModelNotFound: the model does not exist.
        InvalidRequest: `key` is not the file of a private key.
    """
    from google.api_core.exceptions import NotFound

    from mlsys.artifact import signing

    try:
        content = bucket.blob(ref.path).download_as_bytes(checksum="crc32c", timeout=TIMEOUT)
    except NotFound as exc:
        raise ModelNotFound(
            f"The model gs://{bucket.name}/{ref.path} does not exist: upload it first"
        ) from exc
    _replace(bucket, ref.signature_path, signing.sign(ref, content, key), "text/plain")


def use(resource: str, *permissions: str) -> Use:
    """Return the use of a resource in Cloud Storage, for the message of a refusal."""
    return Use("Cloud Storage", resource, permissions)


def _replace(bucket: Bucket, path: str, content: str | bytes, content_type: str) -> None:
    """Replace the object's current generation, and no later one."""
    existing = bucket.get_blob(path, timeout=TIMEOUT)
    bucket.blob(path).upload_from_string(
        content,
        content_type=content_type,
        if_generation_match=existing.generation if existing is not None else 0,
        timeout=TIMEOUT,
    )


def _next_version(bucket: Bucket, name: str) -> str:
    """Return the version after the highest one that has an object, even only a metadata.json."""
    highest = 0
    for blob in bucket.list_blobs(prefix=f"{name}/", timeout=TIMEOUT):
        version = blob.name.split("/")[1]
        if VERSION.fullmatch(version):
            highest = max(highest, int(version[1:]))
    return f"v{highest + 1}"
