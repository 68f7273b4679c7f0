"""Read the `metadata.json` of one model object: the registry and scoring do it in one way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlsys.clients import TIMEOUT
from mlsys.documents import check_size
from mlsys.errors import MetadataInvalid
from mlsys.metadata import ModelMetadata

if TYPE_CHECKING:
    from google.cloud.storage import Blob


def read_metadata(blob: Blob | None, model_crc32c: str | None) -> tuple[ModelMetadata, str | None]:
    """Return what `blob` says of the model with that checksum, and why it is left out if it is.

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
