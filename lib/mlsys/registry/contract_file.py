"""The `contract.json` of a model version in its bucket: read it, check it, replace it.

The file has a generation of its own. The draft that `upload_model` writes is marked in the object's
custom metadata. Every other way to write the file leaves the mark out, so a contract without it was
edited, and no upload replaces it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlsys.artifact.contract import MAX_BYTES, Contract
from mlsys.artifact.metadata import ModelMetadata
from mlsys.artifact.refs import DRAFT_KEY, ModelRef
from mlsys.cloud.clients import TIMEOUT, Clients
from mlsys.cloud.errors import cloud_errors
from mlsys.cloud.messages import Use
from mlsys.errors import Conflict, ContractInvalid, MetadataInvalid, ModelNotFound

if TYPE_CHECKING:
    from google.cloud.storage import Blob, Bucket


@dataclass(frozen=True, slots=True)
class ContractFile:
    """A version's contract as the bucket has it; generation 0: there is none yet."""

    content: bytes
    generation: int = 0
    is_draft: bool = False  # upload_model wrote it, and nobody has edited it


def read_contract_file(clients: Clients, env: str, ref: ModelRef) -> ContractFile:
    """Return the contract of a model version, with its bytes as they are.

    Raises:
        ModelNotFound: the model does not exist.
        Conflict: the file was replaced just now.
        ContractInvalid: the file is too large to be a contract.
        CredentialsMissing, PermissionMissing, CloudUnavailable: see `mlsys.errors`.
    """
    from google.api_core.exceptions import NotFound, PreconditionFailed

    name = clients.settings.models_bucket(env)
    with cloud_errors(_use(name, ref, "storage.objects.get")):
        bucket = clients.storage.bucket(name)
        blob = bucket.get_blob(ref.contract_path, timeout=TIMEOUT)
        if blob is None:
            if bucket.get_blob(ref.path, timeout=TIMEOUT) is None:
                raise ModelNotFound(f"The model gs://{bucket.name}/{ref.path} does not exist")
            return ContractFile(Contract().content())
        if (blob.size or 0) > MAX_BYTES:
            raise ContractInvalid(("", f"it has {blob.size:,} bytes, at most {MAX_BYTES:,} count"))
        try:
            content = blob.download_as_bytes(if_generation_match=blob.generation, timeout=TIMEOUT)
        except (NotFound, PreconditionFailed) as exc:
            raise Conflict(
                f"Somebody else just replaced contract.json of {ref}: try again"
            ) from exc
    return ContractFile(content, int(blob.generation or 0), _is_draft(blob))


def write_contract_file(
    clients: Clients, env: str, ref: ModelRef, content: bytes, generation: int
) -> int:
    """Replace exactly that generation of a version's contract, and return the new one.

    Generation 0: there must be no contract yet. The content is checked first, also against the
    types of the model's columns.

    Raises:
        ContractInvalid: it is malformed; the places are named, and nothing was written.
        Conflict: the contract was replaced since.
        CredentialsMissing, PermissionMissing, CloudUnavailable: see `mlsys.errors`.
    """
    from google.api_core.exceptions import PreconditionFailed

    contract = Contract.parse(content)
    name = clients.settings.models_bucket(env)
    with cloud_errors(_use(name, ref, "storage.objects.create", "storage.objects.delete")):
        bucket = clients.storage.bucket(name)
        contract.check_types(_types(bucket, ref))
        blob = bucket.blob(ref.contract_path)
        try:
            blob.upload_from_string(
                content,
                content_type="application/json",
                if_generation_match=generation,
                timeout=TIMEOUT,
            )
        except PreconditionFailed as exc:
            raise Conflict(
                f"Somebody else just replaced contract.json of {ref}, and nothing was written: "
                "look at it again"
            ) from exc
    return int(blob.generation or 0)


def write_draft(bucket: Bucket, ref: ModelRef, contract: Contract) -> bool:
    """Write a draft unless the version has an edited contract; return False if that stays.

    Raises:
        google.api_core.exceptions.PreconditionFailed: the file was replaced just now.
    """
    existing = bucket.get_blob(ref.contract_path, timeout=TIMEOUT)
    if existing is not None and not _is_draft(existing):
        return False
    blob = bucket.blob(ref.contract_path)
    blob.metadata = {DRAFT_KEY: "true"}
    blob.upload_from_string(
        contract.content(),
        content_type="application/json",
        if_generation_match=0 if existing is None else existing.generation,
        timeout=TIMEOUT,
    )
    return True


def _is_draft(blob: Blob) -> bool:
    return DRAFT_KEY in (blob.metadata or {})


def _types(bucket: Bucket, ref: ModelRef) -> dict[str, str]:
    """Return the types of the model's columns by name, as far as its metadata tells them."""
    blob = bucket.get_blob(ref.metadata_path, timeout=TIMEOUT)
    if blob is None:
        return {}
    try:
        signature = ModelMetadata.parse(blob.download_as_bytes(timeout=TIMEOUT)).signature
    except MetadataInvalid:
        return {}
    if signature is None or signature.positional:
        return {}
    return {feature.name: feature.type for feature in signature.features}


def _use(bucket: str, ref: ModelRef, *permissions: str) -> Use:
    return Use("Cloud Storage", f"gs://{bucket}/{ref.contract_path}", permissions)
