"""Copy a model version's files into another bucket, replacing those of an interrupted copy.

Files are compared by their checksums. A copy has `mlsys-promotion` in its custom metadata, which
identifies the files that an interrupted copy left.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mlsys.artifact.refs import PROMOTION_KEY, ModelRef
from mlsys.cloud.clients import TIMEOUT
from mlsys.errors import Conflict, ModelExists, ModelUnusable

if TYPE_CHECKING:
    from google.cloud.storage import Blob, Bucket


def copy_version(ref: ModelRef, model: Blob, target: Bucket, mark: dict[str, str]) -> Blob:
    """Copy exactly this generation of a model, after the files beside it; return the copy.

    If the target has the model already, with the same bytes, the files beside it stay: the target
    may have signed it with its own key.

    Raises:
        ModelExists: the target has another file in the place of one of these.
        Conflict: the source's files were replaced during the copy.
        ModelUnusable: a copy's checksum differs.
    """
    existing = target.get_blob(ref.path, timeout=TIMEOUT)
    if existing is not None and not same_content(existing, model):
        raise ModelExists(
            f"{_url(existing)} differs from {_url(model)}, and a promotion never replaces a model: "
            "upload it under a new version and promote that"
        )
    for path in (ref.metadata_path, ref.contract_path, ref.signature_path):
        source = model.bucket.get_blob(path, timeout=TIMEOUT)
        beside = target.get_blob(path, timeout=TIMEOUT)
        if existing is None:
            beside = _cleared(beside, source, model)
        if beside is None and source is not None:
            _copy(source, target, mark)
    return existing if existing is not None else _copy(model, target, mark)


def same_content(one: Blob, other: Blob) -> bool:
    """Return whether two objects hold the same bytes, by size and checksums."""
    if (one.size, one.crc32c) != (other.size, other.crc32c):
        return False
    # A composed object has no MD5.
    return not (one.md5_hash and other.md5_hash) or one.md5_hash == other.md5_hash


def _cleared(beside: Blob | None, source: Blob | None, model: Blob) -> Blob | None:
    """Return the target's file beside a missing model if it equals the source's, else None.

    Another file is deleted if an earlier promotion of this model left it.

    Raises:
        ModelExists: the file is not from a promotion of this model.
    """
    from google.api_core.exceptions import NotFound, PreconditionFailed

    if beside is None or (source is not None and same_content(beside, source)):
        return beside
    if not _is_left_over(beside, model):
        other = f"it differs from {_url(source)}" if source else f"{_url(model)} has no such file"
        raise ModelExists(
            f"{_url(beside)} is in the way: no model is beside it, no promotion of this model "
            f"wrote it, and {other}. If nobody needs it, delete it and promote again"
        )
    try:
        beside.delete(if_generation_match=int(beside.generation or 0), timeout=TIMEOUT)
    except NotFound:
        pass  # somebody else has deleted it
    except PreconditionFailed as exc:
        raise ModelExists(f"Somebody else replaced {_url(beside)}: promote again") from exc
    return None


def _is_left_over(beside: Blob, model: Blob) -> bool:
    """Return whether a promotion of this model, of any generation, wrote the file."""
    try:
        origin = json.loads((beside.metadata or {}).get(PROMOTION_KEY, "{}"))["from"]
    except (ValueError, RecursionError, KeyError, TypeError):
        return False
    return isinstance(origin, str) and origin.rpartition("#")[0] == _url(model)


def _copy(blob: Blob, bucket: Bucket, mark: dict[str, str]) -> Blob:
    """Copy exactly this generation, within Cloud Storage, to a path without an object.

    Raises:
        ModelExists: the path has another object.
        Conflict: the generation is not the source's current one.
        ModelUnusable: the copy's checksum differs.
    """
    from google.api_core.exceptions import PreconditionFailed

    copy = bucket.blob(blob.name)
    copy.content_type = blob.content_type
    copy.metadata = (blob.metadata or {}) | mark
    conditions: dict[str, Any] = {
        "if_source_generation_match": int(blob.generation or 0),
        "if_generation_match": 0,
        "timeout": TIMEOUT,
    }
    try:
        token, *_ = copy.rewrite(blob, **conditions)
        while token is not None:
            token, *_ = copy.rewrite(blob, token=token, **conditions)
    except PreconditionFailed as exc:
        # The client repeats a request that succeeded if its answer was lost.
        existing = bucket.get_blob(blob.name, timeout=TIMEOUT)
        if existing is None:
            raise Conflict(f"{_url(blob)} was replaced during the copy: promote again") from exc
        if not same_content(existing, blob):
            raise ModelExists(
                f"Somebody else just uploaded {_url(existing)}, which differs from {_url(blob)}: "
                "delete the wrong one and promote again"
            ) from exc
        return existing
    if copy.crc32c != blob.crc32c:
        raise ModelUnusable(f"{_url(copy)} differs from its source: delete it and promote again")
    return copy


def _url(blob: Blob) -> str:
    return f"gs://{blob.bucket.name}/{blob.name}"
