"""Copy a model version's files into another bucket, over what a copy that was cut off has left.

Files are told apart by their checksums. A copy carries `mlsys-promotion` in its custom metadata,
so a file that is left of a copy is known as one.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mlsys.artifact.refs import ModelRef
from mlsys.clients import TIMEOUT
from mlsys.errors import Conflict, ModelExists, ModelUnusable
from mlsys.gcs import PROMOTION_KEY

if TYPE_CHECKING:
    from google.cloud.storage import Blob, Bucket


def copy_version(ref: ModelRef, model: Blob, target: Bucket, mark: dict[str, str]) -> Blob:
    """Copy exactly this generation of a model, after the files beside it; return the copy.

    A model that is in the target already, with the same bytes, keeps the files beside it: the
    target may have signed it by a key of its own.

    Raises:
        ModelExists: another file is where one of these goes.
        Conflict: the source's files were replaced meanwhile.
        ModelUnusable: a copy has another checksum.
    """
    there = target.get_blob(ref.path, timeout=TIMEOUT)
    if there is not None and not same_content(there, model):
        raise ModelExists(
            f"{_url(there)} is another model than {_url(model)}: a version is never replaced by a "
            "promotion; upload the model under a new version and promote that"
        )
    for path in (ref.metadata_path, ref.signature_path):
        source = model.bucket.get_blob(path, timeout=TIMEOUT)
        beside = target.get_blob(path, timeout=TIMEOUT)
        if there is None:
            beside = _cleared(beside, source, model)
        if beside is None and source is not None:
            _copy(source, target, mark)
    return there if there is not None else _copy(model, target, mark)


def same_content(one: Blob, other: Blob) -> bool:
    """Tell whether two objects hold the same bytes, by size and checksums."""
    if (one.size, one.crc32c) != (other.size, other.crc32c):
        return False
    # An object that was composed has no MD5.
    return not (one.md5_hash and other.md5_hash) or one.md5_hash == other.md5_hash


def _cleared(beside: Blob | None, source: Blob | None, model: Blob) -> Blob | None:
    """Return a file that lies beside no model, if it is what goes there.

    One that an earlier promotion of this model left, and that is not, is deleted.

    Raises:
        ModelExists: it is somebody else's.
    """
    from google.api_core.exceptions import NotFound, PreconditionFailed

    if beside is None or (source is not None and same_content(beside, source)):
        return beside
    if not _is_left_over(beside, model):
        other = f"It is not {_url(source)}" if source else f"There is none beside {_url(model)}"
        raise ModelExists(
            f"{_url(beside)} is in the way: no model is beside it, and no promotion of this model "
            f"wrote it. {other}. If nobody needs it, delete it, and promote again"
        )
    try:
        beside.delete(if_generation_match=int(beside.generation or 0), timeout=TIMEOUT)
    except NotFound:
        pass  # somebody else has done so
    except PreconditionFailed as exc:
        raise ModelExists(f"{_url(beside)} was replaced by somebody else: promote again") from exc
    return None


def _is_left_over(beside: Blob, model: Blob) -> bool:
    """Tell whether a promotion of this model wrote the file, perhaps of an earlier generation."""
    try:
        origin = json.loads((beside.metadata or {}).get(PROMOTION_KEY, "{}"))["from"]
    except (ValueError, RecursionError, KeyError, TypeError):
        return False
    return isinstance(origin, str) and origin.rpartition("#")[0] == _url(model)


def _copy(blob: Blob, bucket: Bucket, mark: dict[str, str]) -> Blob:
    """Copy exactly this generation, in Cloud Storage itself, to where nothing is.

    Raises:
        ModelExists: something else is there.
        Conflict: the generation is not the source's current one.
        ModelUnusable: the copy has another checksum.
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
        # The answer to a request that has succeeded may be lost, and the client repeats it.
        there = bucket.get_blob(blob.name, timeout=TIMEOUT)
        if there is None:
            raise Conflict(f"{_url(blob)} was replaced meanwhile: promote again") from exc
        if not same_content(there, blob):
            raise ModelExists(
                f"{_url(there)} was uploaded by somebody else just now, and is another file than "
                f"{_url(blob)}: delete the one that is wrong, and promote again"
            ) from exc
        return there
    if copy.crc32c != blob.crc32c:
        raise ModelUnusable(f"{_url(copy)} is not what was copied: delete it, and promote again")
    return copy


def _url(blob: Blob) -> str:
    return f"gs://{blob.bucket.name}/{blob.name}"
