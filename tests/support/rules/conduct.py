"""How the Storage Read API in front of the local one behaves: streams, messages and faults.

Connections break: the client resumes after UNAVAILABLE, UNKNOWN, RST_STREAM, and RESOURCE_EXHAUSTED
with RetryInfo, and after no other error (google/cloud/bigquery_storage_v1/reader.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NoReturn

import google.rpc.error_details_pb2
import google.rpc.status_pb2
import grpc

from rules.streams import MAX_MESSAGE

LASTS = 6 * 3600.0  # seconds
FIRST_MESSAGES = ("schema and rows", "schema", "rows", "neither")
FAULTS: dict[str, tuple[grpc.StatusCode, str]] = {
    "unavailable": (grpc.StatusCode.UNAVAILABLE, "the connection was closed"),
    "reset": (grpc.StatusCode.INTERNAL, "Received RST_STREAM with error code 2"),
    "throttled": (grpc.StatusCode.RESOURCE_EXHAUSTED, "too many concurrent ReadRows"),
    "exhausted": (grpc.StatusCode.RESOURCE_EXHAUSTED, "Quota exceeded for quota metric"),
    "denied": (grpc.StatusCode.PERMISSION_DENIED, "the permission was withdrawn"),
    "expired": (grpc.StatusCode.OK, ""),  # the session ends
    "truncated": (grpc.StatusCode.OK, ""),  # the message lacks its last bytes
    "short": (grpc.StatusCode.OK, ""),  # the stream ends early, as if it had no more rows
}
RETRY_DELAY = 0.01  # seconds, in the RetryInfo of "throttled"


@dataclass
class Fault:
    """A stream fails at row `after`, once for each of `times`; `stream` is its number, or any."""

    kind: str
    after: int = 0
    times: int = 1
    stream: int | None = None


@dataclass
class Conduct:
    """What a test may choose of the service's conduct, at any time."""

    streams: int | None = None  # at most, whatever is requested; None: as the table's size allows
    shares: Sequence[float] = ()  # of the streams in the rows; (): equal
    message_rows: int = 65_536  # at most, in a message
    message_bytes: int = MAX_MESSAGE
    first: str = FIRST_MESSAGES[0]
    lasts: float = LASTS  # seconds from a session's creation to its end
    clock_ahead: float = 0.0  # seconds by which this machine's clock is ahead of BigQuery's
    message_seconds: float = 0.0  # before each message
    faults: list[Fault] = field(default_factory=list)


def fail(context: grpc.ServicerContext, kind: str) -> NoReturn:
    """End the call with the fault's status."""
    code, words = FAULTS[kind]
    if kind == "throttled":
        info = google.rpc.error_details_pb2.RetryInfo()
        info.retry_delay.FromMilliseconds(int(RETRY_DELAY * 1000))
        status = google.rpc.status_pb2.Status(code=code.value[0], message=words)
        status.details.add().Pack(info)
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(code, words)
