"""The checksum of a model's file, as Cloud Storage states it."""

from __future__ import annotations

import base64


def crc32c(content: bytes) -> str:
    """Return the checksum of `content` as Cloud Storage writes it: base64, big-endian."""
    import google_crc32c

    return base64.b64encode(google_crc32c.Checksum(content).digest()).decode()
