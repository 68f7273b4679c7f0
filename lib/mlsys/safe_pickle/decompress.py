"""Decompress joblib's formats up to a limit, so that a small file cannot exhaust the memory."""

from __future__ import annotations

import bz2
import importlib.util
import lzma
import zlib
from typing import Any

CHUNK = 1 << 20  # bytes of input and output at a time
LZMA_MEMORY = 128 << 20  # an LZMA file names its own dictionary size; xz -9 needs 65 MiB
ZLIB_OR_GZIP = zlib.MAX_WBITS | 32

# The first bytes by which joblib detects its formats, in its order.
PREFIXES = (
    (b"\x78", "zlib"),
    (b"\x1f\x8b", "gzip"),
    (b"BZ", "bz2"),
    (b"\x5d\x00", "lzma"),
    (b"\xfd7zXZ", "xz"),
    (b"\x04\x22\x4d\x18", "lz4"),
)


class TooLarge(Exception):
    """The content unpacks to more than the limit."""


def unpack(content: bytes, limit: int) -> bytes:
    """Return `content` without joblib's compression, or unchanged if it is not compressed.

    Raises:
        TooLarge: it unpacks to more than `limit` bytes; unpacking stops there.
        ModuleNotFoundError: it is compressed with lz4, which is not installed.
        EOFError: it ends too early.
        zlib.error, OSError, lzma.LZMAError: it is damaged.
    """
    method = next((name for prefix, name in PREFIXES if content.startswith(prefix)), None)
    if method is None:
        if len(content) > limit:
            raise TooLarge
        return content
    source, out = memoryview(content), bytearray()
    at, left = 0, b""  # left: zlib's unused input
    decompressor = _decompressor(method)
    while not decompressor.eof:
        fed = left
        if not fed and getattr(decompressor, "needs_input", True):
            fed = bytes(source[at : at + CHUNK])
            at += len(fed)
        made = decompressor.decompress(fed, CHUNK)
        left = getattr(decompressor, "unconsumed_tail", b"")
        out += made
        if len(out) > limit:
            raise TooLarge
        if not made and not left and at >= len(source) and not decompressor.eof:
            raise EOFError("the compressed data ends too early")
    return bytes(out)


def _decompressor(method: str) -> Any:
    if method in ("zlib", "gzip"):
        return zlib.decompressobj(ZLIB_OR_GZIP)
    if method == "bz2":
        return bz2.BZ2Decompressor()
    if method in ("lzma", "xz"):
        return lzma.LZMADecompressor(memlimit=LZMA_MEMORY)
    if importlib.util.find_spec("lz4") is None:
        raise ModuleNotFoundError("lz4 is not installed", name="lz4")
    frame = importlib.import_module("lz4.frame")
    return frame.LZ4FrameDecompressor()
