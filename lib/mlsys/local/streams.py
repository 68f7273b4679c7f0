"""Offsets of ReadRows in the local BigQuery: bqemulator sends a stream from its start.

It runs within bqemulator's process and replaces functions of exactly the release that the extra
`local` pins. A reader that resumes passes the number of rows that it has read
(https://cloud.google.com/bigquery/docs/reference/storage/rpc/google.cloud.bigquery.storage.v1#readrowsrequest).
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Iterator
from typing import Any

_request = threading.local()  # `offset` is set while a thread looks a stream up


def install() -> None:
    """Replace bqemulator's functions in this process."""
    servicer: Any = importlib.import_module("bqemulator.grpc_api.read_servicer")
    handler = servicer.BigQueryReadHandler
    look_up, read_rows = servicer.get_stream_data, handler._handle_read_rows

    def get_stream_data(session_name: str, stream_name: str) -> Any:
        rows = look_up(session_name, stream_name)
        return None if rows is None else rows.slice(getattr(_request, "offset", 0))

    def handle_read_rows(self: Any, request_bytes: bytes, context: Any) -> Iterator[bytes]:
        from google.cloud.bigquery_storage_v1 import types

        offset = types.ReadRowsRequest.deserialize(request_bytes).offset
        answers = read_rows(self, request_bytes, context)
        _request.offset = offset
        try:
            first = next(answers, None)  # looks the stream up, in this thread
        finally:
            _request.offset = 0
        if first is not None:
            yield first
            yield from answers

    servicer.get_stream_data = get_stream_data
    handler._handle_read_rows = handle_read_rows
