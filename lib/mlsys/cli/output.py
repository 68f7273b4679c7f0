"""Standard output and error of a command whose reader may close them before the work is done.

A reader that has closed the output (`| head`) stops nothing: the rest is dropped, and the exit code
is that of the work. An output that cannot be written, to a full disk for instance,
stops nothing either; the command reports it at its end.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self


class Output:
    """Replaces `sys.stdout` and `sys.stderr` within a `with` block.

    `failure` is the first error of writing other than a closed pipe, else None.
    """

    def __init__(self) -> None:
        self.failure: OSError | None = None
        self._before: tuple[Any, Any] = (None, None)

    def __enter__(self) -> Self:
        _open_standard_files()
        self._before = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = (_Stream(stream, self) for stream in self._before)
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        sys.stdout.flush()
        if self.failure is not None:
            reason = self.failure.strerror or self.failure
            print(
                f"mlsys: the output cannot be written: {reason}. The command itself has ended; "
                "send its output elsewhere",
                file=sys.stderr,
            )
        sys.stderr.flush()
        sys.stdout, sys.stderr = self._before


class _Stream:
    """A text stream that drops what cannot be written, and writes every character somehow."""

    def __init__(self, stream: Any, output: Output) -> None:
        self._stream = stream  # None: the file was closed before the command started
        self._output = output

    def write(self, text: str) -> int:
        if self._stream is not None:
            with self._kept():
                try:
                    self._stream.write(text)
                except UnicodeEncodeError:
                    # A lone surrogate, or a terminal with only ASCII
                    encoding = self._stream.encoding or "utf-8"
                    self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def flush(self) -> None:
        if self._stream is not None:
            with self._kept():
                self._stream.flush()

    def isatty(self) -> bool:
        return self._stream is not None and self._stream.isatty()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextlib.contextmanager
    def _kept(self) -> Iterator[None]:
        """Keep the first error, and discard all later output."""
        try:
            yield
        except OSError as exc:
            closed = isinstance(exc, BrokenPipeError) or exc.errno in (errno.EBADF, errno.EPIPE)
            if not closed and self._output.failure is None:
                self._output.failure = exc
            _discard(self._stream)
            self._stream = None
        except ValueError:  # the stream is closed
            self._stream = None


def _discard(stream: Any) -> None:
    """Redirect the stream's file to the null device: Python flushes its buffer again at exit."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, stream.fileno())
        finally:
            os.close(nowhere)


def _open_standard_files() -> None:
    """Open closed ones of files 0 to 2, whose numbers the next file or socket would get."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
