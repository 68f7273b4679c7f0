"""Read one model version from its bucket: its bytes, its signature, its metadata.

The registry and scoring read a version here, so that both see the same of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlsys.artifact import signing
from mlsys.artifact.contract import MAX_BYTES, Contract
from mlsys.artifact.documents import check_size
from mlsys.artifact.metadata import ModelMetadata
from mlsys.artifact.refs import ModelRef
from mlsys.cloud.clients import TIMEOUT, Clients
from mlsys.errors import ContractInvalid, MetadataInvalid, ModelNotFound, ModelUnusable, TryAgain
from mlsys.settings import Settings
from workers import admission, machine

if TYPE_CHECKING:
    from google.cloud.storage import Blob

MAX_SIGNATURE = 1000  # bytes of a model.sig that are read


def read_model(
    clients: Clients,
    bucket: str,
    ref: ModelRef,
    generation: int,
    *,
    size: int | None = None,
    signature: bytes | None = None,
) -> bytes:
    """Return the bytes of exactly that generation, with their checksum and signature checked.

    `size` is the object's, if it is known before the download, for which memory is reserved first.
    `signature` is one that was read
    earlier; the current `model.sig` counts too.

    Raises:
        ModelNotFound: that generation is not in the bucket.
        ModelUnusable: it is too large, or not signed as the settings demand.
        TooManyRuns: other runs hold the memory: see `workers.admission`.
        TryAgain: the download was corrupted.
    """
    from google.api_core.exceptions import NotFound
    from google.cloud.storage.exceptions import DataCorruption

    settings = clients.settings
    uri = f"gs://{bucket}/{ref.path}"
    limit = machine.max_model_bytes(settings.max_model_bytes)
    if size is not None and size > limit:
        raise ModelUnusable(f"{uri} has {size:,} bytes, {_too_many(settings, limit)}")
    if size is not None:
        admission.hold((uri, generation), size)
    blob = clients.storage.bucket(bucket).blob(ref.path, generation=generation)
    try:
        content = blob.download_as_bytes(checksum="crc32c", timeout=TIMEOUT)
    except NotFound as exc:
        raise ModelNotFound(
            f"{uri} was replaced or deleted since (generation {generation}): repeat the request "
            "without run_id"
        ) from exc
    except DataCorruption as exc:
        raise TryAgain(f"The download of {uri} was corrupted: try again") from exc
    if signature is not None:
        try:
            signing.check(ref, content, signature, settings.signing_keys)
        except ModelUnusable:
            pass  # it may have been signed again since
        else:
            return content
    signing.check(ref, content, signature_of(clients, bucket, ref), settings.signing_keys)
    return content


def _too_many(settings: Settings, limit: int) -> str:
    if settings.max_model_bytes is not None:
        return f"more than the limit of {limit:,}: set MLSYS_MAX_MODEL_BYTES to allow it"
    return (
        f"more than the {limit:,} that fit into the service's memory of {machine.memory():,}: "
        "train a smaller model, or give the service more memory"
    )


def signature_of(clients: Clients, bucket: str, ref: ModelRef) -> bytes | None:
    """Return the content of `model.sig`, or None if it is missing or the settings demand none."""
    from google.api_core.exceptions import NotFound, RequestRangeNotSatisfiable

    if not clients.settings.signing_keys:
        return None
    blob = clients.storage.bucket(bucket).blob(ref.signature_path)
    try:
        return blob.download_as_bytes(end=MAX_SIGNATURE - 1, timeout=TIMEOUT)
    except NotFound:
        return None
    except RequestRangeNotSatisfiable:  # it is empty
        return b""


def read_metadata(blob: Blob | None, model_crc32c: str | None) -> tuple[ModelMetadata, str | None]:
    """Return the metadata in `blob` of the model with that checksum, and why it is ignored if so.

    `blob` comes from a listing or a look-up, so that its size is known before it is downloaded.
    """
    from google.api_core.exceptions import NotFound, PreconditionFailed

    if blob is None:
        return ModelMetadata(), None
    try:
        check_size(blob.size)
        content = blob.download_as_bytes(if_generation_match=blob.generation, timeout=TIMEOUT)
        metadata = ModelMetadata.parse(content)
    except (NotFound, PreconditionFailed):
        return ModelMetadata(), None  # replaced or deleted since: the next look sees it
    except MetadataInvalid as exc:
        return ModelMetadata(), str(exc)
    if not metadata.describes(model_crc32c):
        return ModelMetadata(), "metadata.json is about another model.pkl: its checksum differs"
    return metadata, None


def read_contract(blob: Blob, metadata: ModelMetadata) -> Contract | None:
    """Return the contract in `blob`, which fits the model's signature; None: it was replaced since.

    Raises:
        ContractInvalid: it is malformed; the places are named.
    """
    from google.api_core.exceptions import NotFound, PreconditionFailed

    if (blob.size or 0) > MAX_BYTES:
        raise ContractInvalid(("", f"it has {blob.size:,} bytes, and the limit is {MAX_BYTES:,}"))
    try:
        content = blob.download_as_bytes(if_generation_match=blob.generation, timeout=TIMEOUT)
    except (NotFound, PreconditionFailed):
        return None
    contract = Contract.parse(content)
    signature = metadata.signature
    if signature is not None and not signature.positional:
        contract.check_types({f.name: f.type for f in signature.features})
    return contract
