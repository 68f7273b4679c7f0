"""Upload bytes to Cloud Storage, and count what has been sent."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from mlsys.cloud.clients import TIMEOUT

if TYPE_CHECKING:
    from google.cloud.storage import Blob

    from mlsys.cloud.progress import Done

# Larger contents are sent in requests of this size, so that a lost connection costs one of them and
# the progress moves; a multiple of 256 KiB.
CHUNK_BYTES = 16 * 1024 * 1024


def upload(
    blob: Blob,
    content: bytes | str,
    content_type: str,
    done: Done,
    *,
    if_generation_match: int | None = None,
) -> None:
    """Write `content` as the object's content, in several requests if it is large.

    The object appears as a whole or not at all. Errors are Google's own.
    """
    data = content.encode() if isinstance(content, str) else content
    if len(data) <= CHUNK_BYTES:
        blob.upload_from_string(
            data,
            content_type=content_type,
            if_generation_match=if_generation_match,
            timeout=TIMEOUT,
        )
        return
    blob.chunk_size = CHUNK_BYTES
    blob.upload_from_file(
        _Counted(data, done),
        size=len(data),
        content_type=content_type,
        if_generation_match=if_generation_match,
        timeout=TIMEOUT,
    )


class _Counted(io.BytesIO):
    """A file that reports how far it was read."""

    def __init__(self, data: bytes, done: Done) -> None:
        super().__init__(data)
        self._done = done

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next bytes; those before them have been sent."""
        self._done.count = self.tell()
        return super().read(size)
