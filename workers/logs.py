"""Logs as Cloud Logging reads them, of the service and of the processes that it starts.

One JSON object a line. Field names: https://cloud.google.com/logging/docs/structured-logging
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Any

# The names that a log call may pass as `extra=`; each becomes a field of the line.
FIELDS = (
    "run_id",
    "model",
    "httpRequest",
    "seconds",
    "outcome",
    "problem",
    "subscription",
    "event",
    "alias",
    "version",
    "who",
    "clauses",
)
TRACE = "logging.googleapis.com/trace"

_about: ContextVar[Mapping[str, Any] | None] = ContextVar("about", default=None)


class CloudFormatter(logging.Formatter):
    """A log record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without the line's end."""
        line: dict[str, Any] = {
            "severity": record.levelname,
            "message": record.getMessage(),
            "logger": record.name,
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{record.msecs:03.0f}Z",
        }
        line |= {f: getattr(record, f) for f in FIELDS if hasattr(record, f)}
        if record.exc_info:
            # Error Reporting groups by the stack trace when it is part of the message.
            line["message"] += "\n" + self.formatException(record.exc_info)
        return json.dumps(about() | line, default=str)


CloudFormatter.converter = time.gmtime


def configure() -> None:
    """Send every log record of the process to standard output as JSON lines."""
    root = logging.getLogger()
    if is_configured():
        return
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(CloudFormatter())
    root.addHandler(handler)
    root.setLevel(logging.INFO)


def is_configured() -> bool:
    """Tell whether this process logs so."""
    return any(isinstance(h.formatter, CloudFormatter) for h in logging.getLogger().handlers)


def configure_child(parent_is: bool) -> None:
    """Log as the process that started this one, which says whether it is configured.

    What Python itself would write to standard error as text becomes a record too: warnings, and
    what no thread has caught.
    """
    if not parent_is:
        return
    configure()
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    threading.excepthook = lambda it: _uncaught(
        it.exc_type, it.exc_value or it.exc_type(), it.exc_traceback
    )


def about() -> dict[str, Any]:
    """Return the fields that every line of this thread has at the moment."""
    return dict(_about.get() or {})


def add(**fields: Any) -> None:
    """Give every further line of this thread these fields, until `of` or `forget` ends it."""
    _about.set(about() | fields)


def forget() -> None:
    """Give further lines of this thread no fields of their own."""
    _about.set(None)


@contextmanager
def of(fields: Mapping[str, Any]) -> Iterator[None]:
    """Give every line of this thread in the block these fields, and no other ones."""
    token = _about.set(dict(fields))
    try:
        yield
    finally:
        _about.reset(token)


def within[**P, T](
    fields: Mapping[str, Any], work: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Call `work` with these fields in its lines: for work that is handed to another process."""
    with of(fields):
        return work(*args, **kwargs)


def _uncaught(kind: type[BaseException], value: BaseException, trace: TracebackType | None) -> None:
    if not issubclass(kind, KeyboardInterrupt | SystemExit):
        logging.getLogger("mlsys.uncaught").error(
            "%s", kind.__name__, exc_info=(kind, value, trace)
        )
