"""The sessions of the Storage Read API in front of the local one, and the rows of their streams."""

from __future__ import annotations

import datetime as dt
import threading
from collections import OrderedDict
from dataclasses import dataclass

import pyarrow as pa

from mlsys.cloud.clients import Clients
from rules.streams import deal

TIMEOUT = 60.0  # seconds for a call to the local servers
KEPT = 4  # sessions whose rows are kept; those of others are read again from the local server


@dataclass
class Opened:
    """A session: what was requested and what was given."""

    name: str
    table: str
    wanted: int  # max_stream_count
    preferred: int  # preferred_min_stream_count
    streams: list[str]
    expires: dt.datetime
    shares: tuple[float, ...]
    codec: str | None
    upstream: list[str]
    schema: bytes


class Rows:
    """The rows of sessions, read from the local server and dealt to the sessions' streams."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._kept: OrderedDict[str, list[pa.Table]] = OrderedDict()
        self._loading = threading.Lock()

    def of(self, session: Opened) -> list[pa.Table]:
        """Return the rows of each stream of the session."""
        with self._loading:
            if session.name not in self._kept:
                schema = pa.ipc.read_schema(pa.py_buffer(session.schema))
                batches = [
                    pa.ipc.read_record_batch(
                        pa.py_buffer(message.arrow_record_batch.serialized_record_batch), schema
                    )
                    for stream in session.upstream
                    for message in self._clients.bigquery_read.read_rows(stream, timeout=TIMEOUT)
                ]
                table = pa.Table.from_batches(batches, schema)
                self._kept[session.name] = deal(
                    table, len(session.streams), session.shares, session.name
                )
            self._kept.move_to_end(session.name)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
            return self._kept[session.name]
