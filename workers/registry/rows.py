"""The registry's row of a model version, read from its objects in the bucket."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import mlsys
from mlsys.artifact.documents import unstorable
from mlsys.artifact.metadata import ModelMetadata, library_versions
from mlsys.artifact.refs import DESCRIPTION_KEY, PROMOTION_KEY, ModelRef
from mlsys.cloud.clients import TIMEOUT, Clients
from mlsys.errors import ContractInvalid, InvalidRequest, ObjectNotFound
from mlsys.settings import Settings
from workers import machine
from workers.verification.version import read_contract, read_metadata

if TYPE_CHECKING:
    from google.cloud.storage import Blob

log = logging.getLogger(__name__)

# The columns that make a recorded row the current one, in the order of an identity
IDENTITY = (
    *("gcs_uri", "generation", "metadata_generation", "signature_generation"),
    *("contract_generation", "verified_with"),
)
Identity = tuple[str, int, int | None, int | None, int | None, str]


@dataclass(frozen=True, slots=True)
class Objects:
    """The objects of one model version, as a listing returns them; model.pkl always exists."""

    model: Blob
    metadata: Blob | None = None
    signature: Blob | None = None
    contract: Blob | None = None

    @property
    def number(self) -> int:
        """The number of objects."""
        beside = (self.metadata, self.signature, self.contract)
        return 1 + sum(blob is not None for blob in beside)

    def identity(self, settings: Settings) -> Identity:
        """Return the identity that a recorded row must have to be current."""
        metadata, signature, contract = (
            None if blob is None else int(blob.generation)
            for blob in (self.metadata, self.signature, self.contract)
        )
        uri = f"gs://{self.model.bucket.name}/{self.model.name}"
        basis = verified_with(settings)
        return uri, int(self.model.generation), metadata, signature, contract, basis


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One row of the registry, without when it was written and by what."""

    model_name: str
    model_version: str
    version_number: int
    environment: str
    gcs_uri: str
    generation: int
    metadata_generation: int | None
    signature_generation: int | None
    contract_generation: int | None
    verified_with: str
    loader: str
    size_bytes: int | None
    crc32c: str | None
    md5: str | None
    uploaded_at: str | None
    status: str
    status_reason: str | None
    model_class: str | None
    feature_names: tuple[str, ...]
    target: tuple[str, ...]
    sklearn_version: str | None
    python_version: str | None
    promoted_from: str | None
    promoted_by: str | None
    promoted_at: str | None
    metrics: Any
    metadata: Any
    contract: Any

    @property
    def identity(self) -> Identity:
        """The identity that a recorded row must have to count as this one."""
        identity: Any = tuple(getattr(self, column) for column in IDENTITY)
        return identity


def list_objects(
    clients: Clients, env: str, prefix: str = ""
) -> tuple[dict[str, Objects], dict[str, str]]:
    """List the models bucket: the objects of each model version, and why other paths are not one.

    Raises:
        ObjectNotFound: the environment's models bucket does not exist.
    """
    from google.api_core.exceptions import NotFound

    name = clients.settings.models_bucket(env)
    versions: dict[str, dict[str, Blob]] = {}
    others: dict[str, str] = {}
    try:
        for blob in clients.storage.list_blobs(name, prefix=prefix or None, timeout=TIMEOUT):
            try:
                ref, kind = ModelRef.of_object(blob.name)
            except InvalidRequest as exc:
                others[blob.name] = str(exc)
            else:
                versions.setdefault(str(ref), {})[kind] = blob
    except NotFound as exc:
        raise ObjectNotFound(
            f"The bucket gs://{name} does not exist: create it (docs/operations.md)"
        ) from exc
    for key in [key for key, blobs in versions.items() if "model" not in blobs]:
        for blob in versions.pop(key).values():
            others[blob.name] = "it has no model.pkl beside it"
    return {key: Objects(**blobs) for key, blobs in versions.items()}, others


@functools.cache
def verified_with(settings: Settings) -> str:
    """Return a digest of the service and its settings, which a verdict depends on as well."""
    known: list[object] = [settings.signing_keys, settings.trusted_globals]
    most = machine.max_model_bytes(settings.max_model_bytes)
    known += [most, *(["any"] if settings.models == "any" else [])]
    text = json.dumps([*known, mlsys.__version__, library_versions()])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_row(settings: Settings, env: str, objects: Objects | None) -> ModelRow | None:
    """Return the registry's row for the objects of a model version."""
    if objects is None:
        return None
    blob = objects.model
    metadata, reason = read_metadata(objects.metadata, blob.crc32c)
    if reason is not None:
        log.warning("metadata.json ignored: %s", reason, extra={"model": blob.name})
    described = _described(blob, DESCRIPTION_KEY)
    promoted = _described(blob, PROMOTION_KEY)
    ref, _ = ModelRef.of_object(blob.name)
    uri, generation, described_by, signed_by, contract_generation, basis = objects.identity(
        settings
    )
    contract, malformed = _contract(objects.contract, metadata)
    listed = described.get("feature_names")
    names: Iterable[str] = metadata.feature_names or (listed if isinstance(listed, list) else ())
    return ModelRow(
        model_name=ref.name,
        model_version=ref.version,
        version_number=ref.number,
        environment=env,
        gcs_uri=uri,
        generation=generation,
        metadata_generation=described_by,
        signature_generation=signed_by,
        contract_generation=contract_generation,
        verified_with=basis,
        loader=settings.models,
        size_bytes=blob.size,
        crc32c=blob.crc32c,
        md5=blob.md5_hash,
        uploaded_at=blob.time_created.isoformat() if blob.time_created else None,
        status="ready" if malformed is None else "rejected",
        status_reason="; ".join(filter(None, (malformed, reason))) or None,
        model_class=metadata.model_class or described.get("model_class"),
        feature_names=tuple(str(n) for n in names),
        target=metadata.target,
        sklearn_version=metadata.sklearn_version or described.get("sklearn_version"),
        python_version=metadata.python_version or described.get("python_version"),
        promoted_from=promoted.get("from"),
        promoted_by=promoted.get("by"),
        promoted_at=promoted.get("at"),
        metrics=metadata.document.get("metrics"),
        metadata=dict(metadata.document) or None,
        contract=contract,
    )


def _contract(
    blob: Blob | None, metadata: ModelMetadata
) -> tuple[dict[str, Any] | None, str | None]:
    """Return a model's contract as JSON values, None without one, and why it is refused if so."""
    if blob is None:
        return None, None
    try:
        contract = read_contract(blob, metadata)
    except ContractInvalid as exc:
        return None, str(exc)
    return (None if contract is None else contract.to_dict()), None


def _described(blob: Blob, key: str) -> Mapping[str, Any]:
    """Return what mlsys wrote into the object's custom metadata, if mlsys uploaded it."""
    try:
        value = json.loads((blob.metadata or {}).get(key, "{}"))
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) and not unstorable(value) else {}
