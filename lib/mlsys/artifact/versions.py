"""The versions that a model has in a bucket, for messages and for `latest`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlsys.artifact.refs import ModelRef
from mlsys.cloud.clients import TIMEOUT
from mlsys.errors import InvalidRequest

if TYPE_CHECKING:
    from google.cloud.storage import Bucket

MAX_NAMED = 20  # versions that a message names


def versions_in(bucket: Bucket, name: str) -> list[ModelRef]:
    """Return the model's versions that have a model.pkl, the highest first."""
    refs = []
    for blob in bucket.list_blobs(prefix=f"{name}/", timeout=TIMEOUT):
        try:
            ref, kind = ModelRef.of_object(blob.name)
        except InvalidRequest:  # an alias, or another file
            continue
        refs += [ref] if kind == "model" else []
    return sorted(refs, key=lambda ref: ref.number, reverse=True)


def listed(versions: Sequence[ModelRef]) -> str:
    """Return the versions as a message names them.

    >>> listed([ModelRef("titanic", "v2"), ModelRef("titanic", "v1")])
    'v2, v1'
    """
    left_out = len(versions) - MAX_NAMED
    more = f" and {left_out:,} older" if left_out > 0 else ""
    return ", ".join(ref.version for ref in versions[:MAX_NAMED]) + more
