"""How a sandbox ended, how often, and the errors of handlers that cross from it."""

from __future__ import annotations

import logging
import math
import re
import signal
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

from mlsys.errors import (
    MAX_LISTED,
    MAX_TEXT,
    InvalidRequest,
    MetadataInvalid,
    MlsysError,
    ModelUnusable,
    PredictionFailed,
    SchemaMismatch,
    bounded,
)

log = logging.getLogger("mlsys.sandbox")

Cause = Literal[
    "killed",  # by a signal, such as SIGSEGV
    "over memory",
    "over time",
    "exited",  # on its own
    "malformed answer",
    "lost",  # with the process that started it: nothing is known
    "closed",  # by its requester, while it was asked
]
EXIT_MEMORY = 86  # of a sandbox that has no memory left to say so
MAX_INTEGER = 2**64
MAX_CAUSES = 20
MAX_VALUE = 300  # characters of a value of a row, and of a foreign error's text
_NAME = re.compile(r"[A-Za-z_]\w{0,99}", re.ASCII)


class SandboxDied(ModelUnusable):
    """The process that held the model ended before it answered, or had to be ended.

    `cause` is for counting and deciding, `detail` for people: `killed by signal 11 (SIGSEGV)`.
    """

    def __init__(self, cause: Cause, detail: str) -> None:
        self.cause: Cause = cause
        self.detail = detail
        super().__init__(f"The process that holds the model ended: {detail}.")

    def __reduce__(self) -> tuple[Any, ...]:
        """Let the error travel between processes."""
        return type(self), (self.cause, self.detail)


_deaths: Counter[Cause] = Counter()
_counting = threading.Lock()


def deaths() -> dict[Cause, int]:
    """Return how many sandboxes of this process died, by cause."""
    with _counting:
        return {cause: _deaths[cause] for cause in get_args(Cause)}


def add(others: Mapping[Cause, int]) -> None:
    """Add the deaths of another process's sandboxes."""
    with _counting:
        _deaths.update(others)


def count(death: SandboxDied, pid: int, op: str) -> None:
    """Count a death, and log it."""
    with _counting:
        _deaths[death.cause] += 1
    log.warning(
        "Sandbox %d died in %s: %s",
        pid,
        op,
        death.detail,
        extra={"cause": death.cause, "op": op, "pid": pid},
    )


def of_exit(code: int | None) -> SandboxDied:
    """Return what the exit code of a sandbox says that nobody of ours has ended."""
    if code is None:
        return SandboxDied("lost", "the process that started it ended")
    if code == -signal.SIGKILL:
        return SandboxDied("over memory", "over memory (killed by the system)")
    if code == EXIT_MEMORY:
        return SandboxDied("over memory", "over memory")
    if code == -signal.SIGXCPU:
        return SandboxDied("over time", "over its time of the processor")
    if code < 0:
        return SandboxDied("killed", f"killed by signal {-code} ({_signal(-code)})")
    return SandboxDied("exited", f"exited with {code}")


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unnamed"


# The errors of handlers that cross as what they are, and how each is built from its message and
# its details. `TryAgain` is not among them: a model could have its run repeated forever.
KINDS: dict[str, Callable[[str, list[Any]], MlsysError]] = {
    "InvalidRequest": lambda text, details: InvalidRequest(*_pairs(details)),
    "MetadataInvalid": lambda text, details: MetadataInvalid(text),
    "ModelUnusable": lambda text, details: ModelUnusable(text),
    "PredictionFailed": lambda text, details: PredictionFailed(text, _rows(details)),
    "SchemaMismatch": lambda text, details: SchemaMismatch(text, _pairs(details)),
}


def describe(exc: BaseException) -> dict[str, Any]:
    """Return an error of a handler as JSON. Used inside the sandbox."""
    kind = type(exc).__name__
    if _is_of_memory(exc):
        return {"kind": "MemoryError"}
    try:
        if isinstance(exc, MlsysError) and kind in KINDS:
            return _known(exc, kind)
        text = (str(exc).splitlines() or [""])[0][:MAX_VALUE]
    except Exception:  # a class of a model may do anything when it is shown
        text = ""
    return {"kind": "", "type": kind, "message": text}


def _is_of_memory(exc: BaseException | None) -> bool:
    """Return whether memory was missing, also where another error was raised from that."""
    for _ in range(MAX_CAUSES):
        if exc is None:
            return False
        if isinstance(exc, MemoryError):
            return True
        exc = exc.__cause__
    return False


def _known(exc: MlsysError, kind: str) -> dict[str, Any]:
    details: list[Any] = []
    text = str(exc)
    if isinstance(exc, PredictionFailed):
        details = [{str(k): _plain(v) for k, v in row.items()} for row in exc.rows[:MAX_LISTED]]
    elif isinstance(exc, SchemaMismatch):
        text, pairs = exc.__reduce__()[1]
        details = [list(pair) for pair in pairs[:MAX_LISTED]]
    elif isinstance(exc, InvalidRequest):
        details = [list(pair) for pair in exc.problems[:MAX_LISTED]]
    return {"kind": kind, "message": text[:MAX_TEXT], "details": details}


def _plain(value: Any) -> Any:
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, int) and abs(value) < MAX_INTEGER:
        return value
    return value if isinstance(value, bool | str | None) else str(value)


def rebuild(error: Any, doing: str = "Using the model") -> MlsysError | MemoryError:
    """Return the error that a sandbox describes; anybody may have written the description.

    An error that is not of a known kind becomes a `ModelUnusable` that names its type and what was
    done.

    Raises:
        ValueError: the description does not have the form of one.
    """
    if not isinstance(error, Mapping) or not isinstance(kind := error.get("kind"), str):
        raise ValueError("an error without a kind")
    if kind == "MemoryError":
        return MemoryError()
    text = _text(error.get("message"), MAX_TEXT)
    if kind:
        details = error.get("details")
        if kind not in KINDS or not isinstance(details, list):
            raise ValueError("an error of another kind")
        return KINDS[kind](text, details[:MAX_LISTED])
    name = error.get("type")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        name = "an exception"
    return ModelUnusable(f"{doing} raised {name}: {_text(text, MAX_VALUE)}".rstrip(": "))


def printable(text: str) -> str:
    r"""Return a text without characters that a log or a terminal would not show.

    >>> printable("a\x1b[31mb")
    'a\\x1b[31mb'
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text
    )


def _text(value: Any, most: int) -> str:
    if not isinstance(value, str):
        raise ValueError("a text is not one")
    return bounded(printable(value[: most + 1]), most)


def _pairs(details: list[Any]) -> list[tuple[str, str]]:
    pairs = []
    for pair in details:
        if not isinstance(pair, list) or len(pair) != 2:
            raise ValueError("a detail is not a pair")
        pairs.append((_text(pair[0], MAX_VALUE), _text(pair[1], MAX_TEXT)))
    return pairs


def _rows(details: list[Any]) -> list[dict[str, Any]]:
    rows = []
    for row in details:
        if not isinstance(row, dict) or len(row) > MAX_LISTED:
            raise ValueError("a detail is not a row")
        rows.append({_text(k, MAX_VALUE): _cell(v) for k, v in row.items()})
    return rows


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return _text(value, MAX_TEXT)
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int) and abs(value) < MAX_INTEGER:
        return value
    raise ValueError("a value of a row is not plain")
