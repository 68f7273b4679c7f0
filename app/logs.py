"""Logs as Cloud Logging reads them: one JSON object a line, one canonical line a request.

Field names: https://cloud.google.com/logging/docs/structured-logging
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from typing import Any

from flask import Flask, Response, g, has_request_context, request

from app import service

log = logging.getLogger("mlsys.request")

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
)


# https://cloud.google.com/trace/docs/trace-context, https://www.w3.org/TR/trace-context/
TRACES = {
    "X-Cloud-Trace-Context": re.compile(r"([0-9a-fA-F]{32})(?:/\d+)?(?:;o=\d+)?$"),
    "traceparent": re.compile(
        r"(?!ff)[0-9a-f]{2}-([0-9a-fA-F]{32})-[0-9a-fA-F]{16}-[0-9a-fA-F]{2}(?:$|-)"
    ),
}


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
        if has_request_context() and (trace := _trace()):
            line["logging.googleapis.com/trace"] = trace
        return json.dumps(line, default=str)


CloudFormatter.converter = time.gmtime


def configure() -> None:
    """Send every log record of the process to standard output as JSON lines."""
    root = logging.getLogger()
    if any(isinstance(h.formatter, CloudFormatter) for h in root.handlers):
        return
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(CloudFormatter())
    root.addHandler(handler)
    root.setLevel(logging.INFO)


def note(**fields: Any) -> None:
    """Add fields (`run_id`, `model`, `outcome`, ...) to the canonical line of this request."""
    g.setdefault("fields", {}).update(fields)


def register(app: Flask) -> None:
    """Write the canonical line after each request."""

    @app.before_request
    def start() -> None:
        g.started = time.monotonic()

    @app.after_request
    def finish(response: Response) -> Response:
        seconds = time.monotonic() - g.get("started", time.monotonic())
        extra: dict[str, Any] = g.get("fields", {}) | {
            "seconds": round(seconds, 4),
            "httpRequest": {
                "requestMethod": request.method,
                "requestUrl": request.full_path.rstrip("?"),
                "status": response.status_code,
                "latency": f"{seconds:.6f}s",
                "userAgent": request.user_agent.string,
            },
        }
        if "problem" in g:
            extra["problem"] = g.problem
        level = logging.ERROR if response.status_code >= 500 else logging.INFO
        level = logging.WARNING if response.status_code == 503 else level
        text = f"{request.method} {request.path} {response.status_code}"
        log.log(level, text, extra=extra)
        return response


def _trace() -> str | None:
    """Return the trace that Cloud Run gave the request, in the form that Cloud Logging expects.

    A malformed header is ignored: proxies add an X-Cloud-Trace-Context of their own.
    """
    for header, form in TRACES.items():
        if (match := form.match(request.headers.get(header, ""))) and set(match[1]) != {"0"}:
            return f"projects/{service().settings.project}/traces/{match[1]}"
    return None
