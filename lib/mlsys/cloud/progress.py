"""A progress line on stderr for calls that take longer than three seconds.

In a terminal or a notebook the line is rewritten in place, less and less often. If it is known how
much is done, the line says so: a notebook shows a bar, a terminal the percentage. If stderr is a
file or a pipe (a script's log, a service), nothing is written.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

FIRST = 3.0  # seconds until the first line
MOST = 30.0  # seconds between two lines, which double from FIRST
MAX_WIDTH = 160
MOST_OF_A_BAR = 2.0  # seconds between two lines if it is known how much is done
BAR = 20  # characters


@dataclass(slots=True)
class Done:
    """How much of `total` is done: rows, or bytes. A total of 0 is unknown."""

    total: int = 0
    count: int = 0

    def add(self, count: int) -> None:
        """Count what was just done."""
        self.count += count

    @property
    def share(self) -> float | None:
        """The share that is done, or None while nothing is known."""
        return min(self.count / self.total, 1.0) if self.total and self.count else None


@contextlib.contextmanager
def progress(doing: str, total: int = 0) -> Iterator[Done]:
    """Show `doing` on stderr, with the seconds so far, once the block has taken `FIRST` seconds.

    The block counts what is done of `total`, if it can.
    """
    stream, done_so_far = sys.stderr, Done(total)
    if not is_watched(stream):
        yield done_so_far
        return
    line, done = Line(doing, stream, so_far=done_so_far), threading.Event()
    thread = threading.Thread(target=line.show, args=(done.wait,), daemon=True)
    thread.start()
    try:
        yield done_so_far
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
    return bool(stream.isatty()) or is_notebook(stream)


def is_notebook(stream: Any) -> bool:
    """Return whether a notebook shows the stream."""
    return type(stream).__module__.startswith(("ipykernel.", "google.colab."))


class Line:
    """A line that is rewritten in place with the activity, the seconds and what is done so far."""

    def __init__(
        self,
        doing: str,
        stream: Any,
        clock: Callable[[], float] = time.monotonic,
        so_far: Done | None = None,
    ) -> None:
        self._doing, self._stream, self._clock = doing, stream, clock
        self._so_far = so_far or Done()
        self._start, self._width = clock(), 0

    def show(self, wait: Callable[[float], bool]) -> None:
        """Write the line after `FIRST` seconds, then ever less often, until `wait` returns True.

        `wait` takes seconds, and returns True as soon as the work is done.
        """
        pause = FIRST
        while not wait(pause):
            self._write("")
            most = MOST if self._so_far.share is None else MOST_OF_A_BAR
            pause = min(self._clock() - self._start, most)

    def end(self, status: str) -> None:
        """End the line if one was written."""
        if self._width:
            self._write(f", {status}" if status else "", "\n")

    def _write(self, status: str, end: str = "") -> None:
        share, bar = self._so_far.share, ""
        if share is not None and not status:
            status = f", {share:.0%}"
            if is_notebook(self._stream):
                bar = f" {'█' * round(share * BAR):░<{BAR}}"
        took = f"{bar} ({self._clock() - self._start:.0f} s{status})"
        room = min(shutil.get_terminal_size((MAX_WIDTH, 0)).columns - 1, MAX_WIDTH) - len(took)
        doing = self._doing if len(self._doing) <= room else f"{self._doing[: max(room - 3, 0)]}..."
        text = f"{doing}{took}"
        with contextlib.suppress(OSError, ValueError):  # a stream that was closed meanwhile
            self._stream.write(f"\r{text:{self._width}}{end}")
            self._stream.flush()
        self._width = len(text)
