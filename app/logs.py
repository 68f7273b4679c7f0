"""One canonical line a request, and its trace on every line that is written for it.

`workers.logs` formats the lines.
"""

from __future__ import annotations

import logging
import re
import time
from typing import Any

from flask import Flask, Response, g, request

from app import service
from workers import logs
from workers.logs import FIELDS, CloudFormatter, configure

__all__ = ["FIELDS", "CloudFormatter", "configure", "note", "register"]

log = logging.getLogger("mlsys.request")

# https://cloud.google.com/trace/docs/trace-context, https://www.w3.org/TR/trace-context/
TRACES = {
    "X-Cloud-Trace-Context": re.compile(r"([0-9a-fA-F]{32})(?:/\d+)?(?:;o=\d+)?$"),
    "traceparent": re.compile(
        r"(?!ff)[0-9a-f]{2}-([0-9a-fA-F]{32})-[0-9a-fA-F]{16}-[0-9a-fA-F]{2}(?:$|-)"
    ),
}


def note(**fields: Any) -> None:
    """Add fields (`run_id`, `model`, `outcome`, ...) to the canonical line of this request.

    Its `run_id` is a field of all further lines.
    """
    g.setdefault("fields", {}).update(fields)
    if run_id := fields.get("run_id"):
        logs.add(run_id=run_id)


def register(app: Flask) -> None:
    """Write the canonical line after each request."""

    @app.before_request
    def start() -> None:
        g.started = time.monotonic()
        logs.forget()  # the thread may have had another request
        if trace := _trace():
            logs.add(**{logs.TRACE: trace})

    @app.teardown_request
    def end(_: BaseException | None) -> None:
        logs.forget()

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
