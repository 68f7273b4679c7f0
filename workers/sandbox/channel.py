"""Messages between a sandbox and the process that asks it: a length of four bytes, then JSON.

Both ends use `read` and `write` on one descriptor, because the sandbox's system-call filter allows
no others. The requester trusts nothing that arrives: a message has a maximum length and depth, its
JSON is strict, and every wait ends at a deadline.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import re
import select
import time
from collections.abc import Mapping
from typing import Any

MAX_REQUEST = 16 * 2**20  # bytes
MAX_ANSWER = 4 * 2**20
MAX_DEPTH = 32  # objects and lists inside each other
CHUNK = 2**20  # bytes of one write
HEADER = 4  # bytes, the length of the message, big endian

_STRINGS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_ALIKE = bytes.maketrans(b"{}", b"[]")


class Malformed(Exception):
    """The other side broke the form of the messages."""


class Closed(Exception):
    """The other side closed its end: its process has ended, or ends."""


class Late(Exception):
    """The deadline passed."""


def encode(message: Mapping[str, Any], most: int) -> bytes:
    """Return a message as it is sent, length first.

    Lone surrogates, which UTF-8 cannot carry, become question marks.

    Raises:
        ValueError: it is longer than `most`, or contains NaN or an infinity.
        TypeError: it contains values that JSON does not have.
    """
    text = json.dumps(message, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    content = text.encode("utf-8", "replace")
    if len(content) > most:
        raise ValueError(f"The message has {len(content):,} bytes; {most:,} are allowed")
    return len(content).to_bytes(HEADER, "big") + content


def decode(content: bytes) -> dict[str, Any]:
    """Return the object that a message's JSON describes.

    Raises:
        Malformed: it is not strict JSON, is nested too deeply, names a key twice, or contains a
            number that is not finite or text that UTF-8 cannot carry.
    """
    brackets = _STRINGS.sub(b"", content).translate(_ALIKE, _NOT_BRACKETS)
    for _ in range(MAX_DEPTH):  # without the innermost level
        brackets = brackets.replace(b"[]", b"")
    if brackets:
        raise Malformed(f"its brackets do not match, or it is over {MAX_DEPTH} levels deep")
    try:
        value = json.loads(
            content.decode(),
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_float=_float,
        )
        if b"\\u" in content:  # an escape can be half of a pair
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as exc:
        raise Malformed("it is not strict JSON") from exc
    if not isinstance(value, dict):
        raise Malformed("it is not a JSON object")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key occurs twice")
    return made


def _constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _float(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError("a number is not finite")
    return number


class Channel:
    """The requester's end. It owns the descriptor; one thread at a time uses it."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._rest = b""
        self._readable = select.poll()
        self._readable.register(fd, select.POLLIN)
        self._both = select.poll()
        self._both.register(fd, select.POLLIN | select.POLLOUT)

    def send(self, message: bytes, content: bytes | None, deadline: float) -> None:
        """Send an encoded message, and then `content` as it is.

        Raises:
            Malformed: the sandbox answered before it was asked, or before it had read everything.
            Closed, Late: see the classes.
        """
        for piece in (message, content or b""):
            view, sent = memoryview(piece), 0
            while sent < len(view):
                if self._wait(self._both, deadline) & select.POLLIN:
                    self._unasked()
                with contextlib.suppress(BlockingIOError):
                    try:
                        sent += os.write(self._fd, view[sent : sent + CHUNK])
                    except (BrokenPipeError, ConnectionResetError) as exc:
                        raise Closed from exc

    def receive(self, deadline: float) -> dict[str, Any]:
        """Return the next message.

        Raises:
            Malformed, Closed, Late: see the classes.
        """
        content = self._take(HEADER, deadline)
        length = int.from_bytes(content, "big")
        if length > MAX_ANSWER:
            raise Malformed(f"it announces {length:,} bytes; {MAX_ANSWER:,} are allowed")
        message = decode(self._take(length, deadline))
        if self._rest:
            raise Malformed("more than one answer came")
        return message

    def is_quiet(self) -> bool:
        """Return whether the other side neither closed its end nor sent anything unasked."""
        return not self._rest and not self._readable.poll(0)

    def close(self) -> None:
        """Close the descriptor."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def _unasked(self) -> None:
        """Raise: there is something to read where nothing is due."""
        self._read()
        raise Malformed("an answer came before the whole question was sent")

    def _take(self, size: int, deadline: float) -> bytes:
        pieces, missing = [self._rest], size - len(self._rest)
        while missing > 0:
            self._wait(self._readable, deadline)
            with contextlib.suppress(BlockingIOError):
                pieces.append(self._read())
                missing -= len(pieces[-1])
        whole = b"".join(pieces)
        self._rest = whole[size:]
        return whole[:size]

    def _read(self) -> bytes:
        try:
            piece = os.read(self._fd, 2**16)
        except ConnectionResetError as exc:
            raise Closed from exc
        if not piece:
            raise Closed
        return piece

    def _wait(self, poll: Any, deadline: float) -> int:
        """Return what the descriptor is ready for."""
        left = deadline - time.monotonic()
        for _, events in poll.poll(max(0, math.ceil(left * 1000))):
            return events
        raise Late


class SandboxEnd:
    """The sandbox's end, which blocks. It trusts the requester."""

    def __init__(self, fd: int) -> None:
        self._file = io.FileIO(fd, "r+", closefd=False)

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a message.

        Raises:
            ValueError, TypeError: see `encode`.
        """
        view = memoryview(encode(message, MAX_ANSWER))
        while view:
            view = view[self._file.write(view) :]

    def receive(self) -> dict[str, Any]:
        """Return the next message.

        Raises:
            Closed: the requester has closed its end, or ended.
        """
        return json.loads(self.read(int.from_bytes(self.read(HEADER), "big")))

    def read(self, size: int) -> bytes:
        """Return exactly `size` bytes. They are held once, not twice."""
        buffer = io.BytesIO(b"\0" * size)  # which copies the bytes only if they are shared
        with buffer.getbuffer() as view:
            got = 0
            while got < size:
                piece = self._file.readinto(view[got:])
                if not piece:
                    raise Closed
                got += piece
        return buffer.getvalue()
