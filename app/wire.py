"""gunicorn's own answers, to requests that it refuses before Flask sees them."""

from __future__ import annotations

import json
from typing import Any

# The longest URL: a filter of 10,000 characters is 90,000 bytes at worst, and then needs POST.
# gunicorn ends at 8,190 whatever is configured.
MAX_LINE = 65_536
ADVICE = {
    414: f"The URL is longer than {MAX_LINE:,} bytes: pass the parameters as the form or the JSON "
    "body of POST to the same path.",
    431: "The headers of the request are too large: pass at most 100 headers of 8,190 bytes each.",
}


def configure() -> None:
    """Let gunicorn take lines of `MAX_LINE` bytes, and answer errors as this service does."""
    from gunicorn import util
    from gunicorn.http import message

    message.MAX_REQUEST_LINE = MAX_LINE
    util.write_error = write_error


def write_error(sock: Any, status: int, reason: str, detail: str) -> None:
    """Answer by a problem (RFC 9457) and close the connection; gunicorn answers by HTML."""
    from gunicorn import util

    body = {
        "type": f"urn:mlsys:problem:{status}",
        "title": reason,
        "status": status,
        "detail": ADVICE.get(status) or detail[:200] or "The service's log has the reason.",
    }
    content = json.dumps(body, indent=2).encode() + b"\n"
    head = (
        f"HTTP/1.1 {status} {reason}\r\nConnection: close\r\n"
        f"Content-Type: application/problem+json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    util.write_nonblock(sock, head.encode("latin-1") + content)
