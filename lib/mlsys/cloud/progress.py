"""A progress line on stderr for calls that take longer than three seconds.

In a terminal or a notebook the line is rewritten in place, less and less often. If stderr is a file
or a pipe (a script's log, a service), nothing is written.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

FIRST = 3.0  # seconds until the first line
MOST = 30.0  # seconds between two lines, which double from FIRST
MAX_WIDTH = 160


@contextlib.contextmanager
def progress(doing: str) -> Iterator[None]:
    """Show `doing` on stderr, with the seconds so far, once the block has taken `FIRST` seconds."""
    stream = sys.stderr
    if not is_watched(stream):
        yield
        return
    line, done = Line(doing, stream), threading.Event()
    thread = threading.Thread(target=line.show, args=(done.wait,), daemon=True)
    thread.start()
    try:
        yield
    except BaseException:
        done.set()
        thread.join(1)
        line.end("")
        raise
    done.set()
    thread.join(1)
    line.end("done")


def is_watched(stream: Any) -> bool:
    """Return whether the stream is a terminal or Jupyter, where somebody sees it."""
    if stream is None or getattr(stream, "closed", False):
        return False
    return bool(stream.isatty()) or type(stream).__module__.startswith("ipykernel.")


class Line:
    """A line that is rewritten in place with the activity and the seconds so far."""

    def __init__(
        self, doing: str, stream: Any, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._doing, self._stream, self._clock = doing, stream, clock
        self._start, self._width = clock(), 0

    def show(self, wait: Callable[[float], bool]) -> None:
        """Write the line after `FIRST` seconds, then ever less often, until `wait` returns True.

        `wait` takes seconds, and returns True as soon as the work is done.
        """
        pause = FIRST
        while not wait(pause):
            self._write("")
            pause = min(self._clock() - self._start, MOST)

    def end(self, status: str) -> None:
        """End the line if one was written."""
        if self._width:
            self._write(f", {status}" if status else "", "\n")

    def _write(self, status: str, end: str = "") -> None:
        took = f" ({self._clock() - self._start:.0f} s{status})"
        room = min(shutil.get_terminal_size((MAX_WIDTH, 0)).columns - 1, MAX_WIDTH) - len(took)
        doing = self._doing if len(self._doing) <= room else f"{self._doing[: max(room - 3, 0)]}..."
        text = f"{doing}{took}"
        with contextlib.suppress(OSError, ValueError):  # a stream that was closed meanwhile
            self._stream.write(f"\r{text:{self._width}}{end}")
            self._stream.flush()
        self._width = len(text)
