"""What the bucket says of a model version, as the registry's row."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlsys.clients import TIMEOUT, Clients
from mlsys.errors import MetadataInvalid
from mlsys.gcs import DESCRIPTION_KEY
from mlsys.metadata import ModelMetadata
from mlsys.refs import ModelRef

if TYPE_CHECKING:
    from google.cloud.storage import Blob

log = logging.getLogger(__name__)

MAX_METADATA = 1_000_000  # bytes of a metadata.json
MAX_DEPTH = 100  # of JSON values; https://cloud.google.com/bigquery/docs/json-data ends at 500

Identity = tuple[str, int, int | None]  # gcs_uri, generation, generation of metadata.json


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One row of the registry, but for when it was written and by what."""

    model_name: str
    model_version: str
    version_number: int
    environment: str
    gcs_uri: str
    generation: int
    metadata_generation: int | None
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
    metrics: Any
    metadata: Any

    @property
    def identity(self) -> Identity:
        """What a recorded row must have to count as this one."""
        return self.gcs_uri, self.generation, self.metadata_generation


def live_row(clients: Clients, env: str, ref: ModelRef) -> ModelRow | None:
    """Return the row that the bucket's objects call for now, or None without a model.pkl."""
    bucket = clients.storage.bucket(clients.settings.models_bucket(env))
    blob = bucket.get_blob(ref.path, timeout=TIMEOUT)
    if blob is None:
        return None
    return read_row(env, blob, bucket.get_blob(ref.metadata_path, timeout=TIMEOUT))


def identity_of(blob: Blob, metadata_blob: Blob | None) -> Identity:
    """What a recorded row must have to be current, from the objects' listing alone."""
    generation = int(metadata_blob.generation) if metadata_blob is not None else None
    return f"gs://{blob.bucket.name}/{blob.name}", int(blob.generation), generation


def read_row(env: str, blob: Blob | None, metadata_blob: Blob | None) -> ModelRow | None:
    """Read what `blob` and the metadata beside it say, as the registry's row."""
    if blob is None:
        return None
    metadata, reason = _read_metadata(blob, metadata_blob)
    described = _description(blob)
    ref, _ = ModelRef.of_object(blob.name)
    uri, generation, metadata_generation = identity_of(blob, metadata_blob)
    listed = described.get("feature_names")
    names: Iterable[str] = metadata.feature_names or (listed if isinstance(listed, list) else ())
    return ModelRow(
        model_name=ref.name,
        model_version=ref.version,
        version_number=ref.number,
        environment=env,
        gcs_uri=uri,
        generation=generation,
        metadata_generation=metadata_generation,
        size_bytes=blob.size,
        crc32c=blob.crc32c,
        md5=blob.md5_hash,
        uploaded_at=blob.time_created.isoformat() if blob.time_created else None,
        status="ready",
        status_reason=reason,
        model_class=metadata.model_class or described.get("model_class"),
        feature_names=tuple(str(n) for n in names),
        target=metadata.target,
        sklearn_version=metadata.sklearn_version or described.get("sklearn_version"),
        python_version=metadata.python_version or described.get("python_version"),
        metrics=metadata.document.get("metrics"),
        metadata=dict(metadata.document) or None,
    )


def _read_metadata(blob: Blob, metadata_blob: Blob | None) -> tuple[ModelMetadata, str | None]:
    """The metadata that counts for `blob`, and what is wrong with it if anything is."""
    from google.api_core.exceptions import NotFound, PreconditionFailed

    if metadata_blob is None:
        return ModelMetadata(), None
    if (metadata_blob.size or 0) > MAX_METADATA:
        return ModelMetadata(), f"metadata.json is larger than {MAX_METADATA} bytes"
    try:
        content = metadata_blob.download_as_bytes(
            if_generation_match=metadata_blob.generation, timeout=TIMEOUT
        )
        metadata = ModelMetadata.parse(content)
    except (NotFound, PreconditionFailed):
        return ModelMetadata(), None  # replaced or deleted since: the next look sees it
    except MetadataInvalid as exc:
        log.warning("metadata.json ignored: %s", exc, extra={"model": blob.name})
        return ModelMetadata(), str(exc)
    if problem := _unstorable(metadata.document):
        return ModelMetadata(), f"metadata.json {problem}"
    if not metadata.describes(blob.crc32c):
        return ModelMetadata(), "metadata.json is about another model.pkl: its checksum differs"
    return metadata, None


def _description(blob: Blob) -> Mapping[str, Any]:
    """What `gcs_put_pickle` wrote into the object's custom metadata, if it was the uploader."""
    try:
        value = json.loads((blob.metadata or {}).get(DESCRIPTION_KEY, "{}"))
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) and not _unstorable(value) else {}


def _unstorable(value: Any) -> str | None:
    """What in a JSON value BigQuery would refuse, and with it every row of the statement."""
    level, depth = [value], 0
    while level:
        if depth > MAX_DEPTH:
            return f"is nested deeper than {MAX_DEPTH} levels"
        if not all(abs(v) <= sys.float_info.max for v in level if isinstance(v, int | float)):
            return "holds a number that no FLOAT64 can"
        nested = (
            v.values() if isinstance(v, dict) else v for v in level if isinstance(v, dict | list)
        )
        level, depth = [v for values in nested for v in values], depth + 1
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return "holds half of a surrogate pair, which is no Unicode text"
    return None
