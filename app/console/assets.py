"""The console's static files: by the hash of their content, compressed, kept by browsers for good.

They are compressed once, when they are first asked for.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

from flask import url_for

FOLDER = Path(__file__).parent / "static"
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """A static file, also compressed."""

    content: bytes
    compressed: bytes
    digest: str
    content_type: str


@functools.cache
def asset(name: str) -> Asset | None:
    """Return the file of that name below `static/`, or None if there is none of a known type."""
    path = FOLDER / name
    if path.suffix not in TYPES or not path.is_file() or name not in names():
        return None
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()[:16]
    return Asset(content, gzip.compress(content, 9, mtime=0), digest, TYPES[path.suffix])


@functools.cache
def names() -> frozenset[str]:
    """Return the names of the static files."""
    files = (path for path in FOLDER.rglob("*") if path.is_file())
    return frozenset(path.relative_to(FOLDER).as_posix() for path in files)


def address(name: str) -> str | None:
    """Return the address of a static file, which changes with its content; None without it."""
    known = asset(name)
    if known is None:
        return None
    return url_for("console.static_file", digest=known.digest, name=name)
