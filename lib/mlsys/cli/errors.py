"""The command line's messages for errors, and its exit codes.

The exceptions of Google's clients are in `mlsys.cloud.errors`, and only there.

An error is one line on stderr, `mlsys: what is wrong. What to do`; a traceback is never shown.

| code | meaning |
|---|---|
| 0 | done |
| 1 | refused or failed; a line on stderr says why |
| 2 | the command line is invalid |
| 128 + n | signal n ended it: 130 is Ctrl-C, 143 is SIGTERM |
"""

from __future__ import annotations

import errno
import json
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from mlsys.cloud.credentials import words
from mlsys.cloud.errors import translated
from mlsys.cloud.messages import Use

if TYPE_CHECKING:
    from mlsys.remote.service import RefusedByService

FAILED = 1
SIGNALLED = 128  # and the signal's number
EXIT_CODES = (
    "Exit codes: 0 done; 1 refused or failed, with a line on stderr that says why; 2 the options "
    "are wrong; 130 stopped by Ctrl-C, 143 by SIGTERM (128 and the signal's number). A reader that "
    "closes the output early, such as head, stops nothing."
)


class Stopped(KeyboardInterrupt):
    """A signal ended the command; `number` is the signal's."""

    def __init__(self, number: int = signal.SIGINT) -> None:
        self.number = number
        super().__init__()


@contextmanager
def signals_stop() -> Iterator[None]:
    """Raise `Stopped` on Ctrl-C, SIGTERM or a closed terminal; only the first one counts.

    SIGHUP stays ignored where it is (`nohup`).
    """
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        numbers.append(signal.SIGHUP)

    def stop(number: int, _frame: FrameType | None) -> NoReturn:
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
        raise Stopped(number)

    if threading.current_thread() is not threading.main_thread():
        yield  # Python delivers signals only to the main thread
        return
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def exit_code(interrupt: KeyboardInterrupt) -> int:
    """Return 128 and the number of the signal that interrupted, as shells do."""
    return SIGNALLED + int(getattr(interrupt, "number", signal.SIGINT))


def explain(exc: Exception) -> str:
    """Return what is wrong, and what to do.

    >>> explain(IsADirectoryError(21, "Is a directory", "/tmp"))
    '/tmp: Is a directory. Pass a file'
    """
    for module, name, sentence in _SENTENCES:
        # An exception whose module was never imported was never raised.
        kind = getattr(sys.modules.get(module), name, None)
        if kind is not None and isinstance(exc, kind):
            return sentence(exc)
    # requests' exceptions are OSErrors too
    if (ours := translated(exc, Use("Google Cloud", "this command", ()))) is not None:
        return str(ours)
    return _file(exc) if isinstance(exc, OSError) else _fault(exc)


def print_refusal(exc: RefusedByService, as_json: bool) -> int:
    """Print why the service refuses a request, its answer too if `as_json`, and return the code."""
    from mlsys.remote.answers import faults

    if as_json and exc.body:
        print(json.dumps(exc.body, indent=2, ensure_ascii=False))
    lines = [f"mlsys: {exc}", *(f"  {fault}" for fault in faults(exc.body))]
    print(*lines, sep="\n", file=sys.stderr)
    return FAILED


def _file(exc: Any) -> str:
    where = f"{exc.filename}: " if exc.filename is not None else ""
    what_to_do = _ADVICE.get(exc.errno)
    return f"{where}{exc.strerror or exc}" + (f". {what_to_do}" if what_to_do else "")


_ADVICE = {
    errno.EACCES: "Pass a path that you may read and write",
    errno.EPERM: "Pass a path that you may read and write",
    errno.EROFS: "Pass a path that you may read and write",
    errno.ENOENT: "Pass a path that exists",
    errno.EISDIR: "Pass a file",
    errno.ENOTDIR: "Pass a path whose folders are folders",
    errno.EEXIST: "Pass another path",
    errno.ENOSPC: "Free some space, or pass a path on another disk",
    errno.ENAMETOOLONG: "Pass a shorter path",
}


def _package(exc: Any) -> str:
    return (
        f"The package {exc.name} is not installed. pip install 'mlsys[service,local]' installs "
        "all that the commands need"
    )


def _not_utf8(exc: Any) -> str:
    return f"A file is not UTF-8 ({exc.reason} at byte {exc.start}). Save it as UTF-8, .env too"


def _not_encodable(exc: Any) -> str:
    return f"{exc.object[:80]!r} cannot be encoded as {exc.encoding}. Pass other text"


_AGAIN = "Try again; if it persists, check the network and https://status.cloud.google.com"

# The first that matches counts.
_SENTENCES: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("mlsys.errors", "MlsysError", str),
    ("builtins", "UnicodeDecodeError", _not_utf8),
    ("builtins", "UnicodeEncodeError", _not_encodable),
    ("builtins", "ModuleNotFoundError", _package),
    ("builtins", "MemoryError", lambda _: "Memory is used up. Run it on a machine with more"),
    ("builtins", "TimeoutError", lambda _: f"No answer came in time. {_AGAIN}"),
    ("builtins", "ConnectionError", lambda exc: f"The connection failed: {words(exc)}. {_AGAIN}"),
)


def _fault(exc: Exception) -> str:
    frames = traceback.extract_tb(exc.__traceback__)
    where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "an unknown line"
    text = next(iter(str(exc).splitlines()), "")
    return (
        f"An unexpected error: {type(exc).__name__}: {text} ({where}). Report it, with the command"
    )
