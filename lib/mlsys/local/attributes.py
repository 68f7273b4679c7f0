"""Restore the attributes that fake-gcs-server keeps beside an object's content.

It keeps them in the extended attribute `user.metadata` of each object's file, which `cp -r`,
archives and many file systems lose. One object without them makes each listing of its bucket a 404.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
import mimetypes
import os
import time
from pathlib import Path

from mlsys.errors import SettingsError

NAME = "user.metadata"
_CHUNK = 2**20


def restore_attributes(root: Path) -> int:
    """Write new attributes for the objects below `root` that have none; return their number.

    Checksums, size and time are the file's; the generation is new, and custom metadata is lost.

    Raises:
        SettingsError: the file system has no extended attributes.
    """
    if not hasattr(os, "setxattr"):
        return 0  # macOS has them, but Python's os lacks them there
    _check_support(root)
    generation = time.time_ns() // 1000
    restored = 0
    for bucket in root.iterdir():
        for folder, _, names in bucket.walk() if bucket.is_dir() else ():
            for path in (folder / name for name in names):
                if path.is_file() and not _has_attributes(path):
                    restored += 1
                    text = json.dumps(_attributes(path, generation + restored))
                    os.setxattr(path, NAME, text.encode())
    return restored


def _check_support(root: Path) -> None:
    try:
        os.setxattr(root, "user.mlsys", b"1")
    except OSError as exc:
        raise SettingsError(
            f"{root} cannot keep extended attributes ({exc.strerror}), which the local Cloud "
            "Storage needs: pass a --data-dir on another file system"
        ) from exc


def _has_attributes(path: Path) -> bool:
    try:
        return isinstance(json.loads(os.getxattr(path, NAME)), dict)
    except (OSError, ValueError):
        return False


def _attributes(path: Path, generation: int) -> dict[str, object]:
    """Return the attributes that fake-gcs-server 1.54 keeps of an object."""
    import google_crc32c

    md5, crc32c = hashlib.md5(usedforsecurity=False), google_crc32c.Checksum()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            md5.update(chunk)
            crc32c.update(chunk)
    digest = base64.b64encode(md5.digest()).decode()
    at = dt.datetime.fromtimestamp(path.stat().st_mtime, dt.UTC).isoformat().replace("+00:00", "Z")
    never = "0001-01-01T00:00:00Z"
    return {
        "StorageClass": "STANDARD",
        "ContentType": mimetypes.guess_type(path.name)[0] or "application/octet-stream",
        "Crc32c": base64.b64encode(crc32c.digest()).decode(),
        "Md5Hash": digest,
        "Etag": digest,
        "Metadata": None,
        "Created": at,
        "Deleted": never,
        "Updated": at,
        "CustomTime": never,
        "Generation": generation,
    }
