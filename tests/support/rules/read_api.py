"""The Storage Read API over gRPC, in front of the local one, with BigQuery's rules.

The rows come from bqemulator, which keeps them as they were when the session was opened. All else
is decided here: `read_checks` says what is refused, `sessions` keeps their rows, and `streams` says
who gets which in what messages.

- **Sessions expire** six hours after they were created; reading then fails, also in the middle of
  a stream, with FAILED_PRECONDITION "session expired at ..."
  (https://github.com/GoogleCloudDataproc/spark-bigquery-connector/issues/1316).
- **An offset is exact.** Reading begins at that row of the stream. At the stream's end no rows
  follow; beyond it FAILED_PRECONDITION "offset 100 has not been allocated yet", measured on
  BigQuery in https://github.com/goccy/bigquery-emulator/issues/507.
- **The columns have the table's order**, whatever order they were selected in (TableReadOptions).
- **Any message but a first one may lack the schema**, and any may lack rows: "Response from calling
  ReadRows may include row data, progress and throttling information" (ReadRowsResponse). That a
  first message can lack the schema is assumed.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NoReturn

import grpc
from google.api_core import exceptions
from google.cloud.bigquery_storage_v1 import types

from mlsys.cloud.clients import Clients
from mlsys.columns.names import fold
from rules.conduct import Conduct, Fault, fail
from rules.read_checks import Described, bad_filter, why_refused
from rules.sessions import TIMEOUT, Opened, Rows
from rules.streams import messages, serialize, stream_count

HOST = "127.0.0.1"
SERVICE = "google.cloud.bigquery.storage.v1.BigQueryRead"
THREADS = 64  # a call holds one for as long as it is read


@dataclass(frozen=True)
class Read:
    """A call of ReadRows."""

    stream: str
    offset: int
    sent: list[int]  # rows of each message


class ReadAPI:
    """A gRPC server on a free port of the loopback; it runs from `start` to `stop`."""

    def __init__(
        self, clients: Clients, wait_here: Callable[[str, str], None] = lambda *_: None
    ) -> None:
        self.conduct = Conduct()
        self.sessions: dict[str, Opened] = {}
        self.reads: list[Read] = []
        self._clients, self._wait_here = clients, wait_here
        self._numbers = itertools.count(1)
        self._rows = Rows(clients)
        self._guard = threading.Lock()
        # Messages of any size, as the client takes them.
        options = [("grpc.so_reuseport", 0), ("grpc.max_send_message_length", -1)]
        self._server = grpc.server(ThreadPoolExecutor(THREADS, "read-api"), options=options)
        unary, streaming = grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
        handlers = {
            "CreateReadSession": unary(
                self._create,
                types.CreateReadSessionRequest.deserialize,
                types.ReadSession.serialize,
            ),
            "ReadRows": streaming(
                self._read, types.ReadRowsRequest.deserialize, types.ReadRowsResponse.serialize
            ),
        }
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, handlers),)
        )
        self.address = f"{HOST}:{self._server.add_insecure_port(f'{HOST}:0')}"

    def start(self) -> None:
        """Start to serve."""
        self._server.start()

    def stop(self) -> None:
        """Stop; calls in progress fail."""
        self._server.stop(0.2).wait(10)

    def expire(self, stream: str) -> None:
        """End the session of a stream at once."""
        self.sessions[stream.rpartition("/streams/")[0]].expires = self.now()

    @contextlib.contextmanager
    def choosing(self, **choices: Any) -> Iterator[Conduct]:
        """Change attributes of `conduct` for the block."""
        before = {name: getattr(self.conduct, name) for name in choices}
        try:
            for name, value in choices.items():
                setattr(self.conduct, name, value)
            yield self.conduct
        finally:
            for name, value in before.items():
                setattr(self.conduct, name, value)

    def now(self) -> dt.datetime:
        """Return the time by BigQuery's clock."""
        return dt.datetime.now(dt.UTC) - dt.timedelta(seconds=self.conduct.clock_ahead)

    def _create(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._wait_here("CreateReadSession", "before")
        wanted = request.read_session
        table = self._describe(wanted.table, context)
        if refusal := why_refused(request, table, self.now()):
            context.abort(refusal.code, refusal.words)
        selected = {fold(name.split(".")[0]) for name in wanted.read_options.selected_fields}
        if not any("." in name for name in wanted.read_options.selected_fields):
            ordered = [name for name in table.columns if fold(name) in selected]
            wanted.read_options.selected_fields = ordered
        try:
            made = self._clients.bigquery_read.create_read_session(
                parent=request.parent, read_session=wanted, max_stream_count=1, timeout=TIMEOUT
            )
        except exceptions.NotFound:  # for any fault of the filter: the table exists
            refusal = bad_filter(table, wanted.read_options.row_restriction)
            context.abort(refusal.code, refusal.words)
        except exceptions.GoogleAPICallError as exc:
            context.abort(exc.grpc_status_code or grpc.StatusCode.INTERNAL, exc.message)
        session = self._open(request, made)
        made.name, made.expire_time = session.name, session.expires
        made.streams = [types.ReadStream(name=name) for name in session.streams]
        self._wait_here("CreateReadSession", "after")
        return made

    def _open(self, request: Any, made: Any) -> Opened:
        """Record a session, whose streams are named here."""
        conduct, count = self.conduct, 0
        if made.streams:
            size = made.estimated_total_bytes_scanned
            most, least = request.max_stream_count, request.preferred_min_stream_count
            count = stream_count(most, least, size, conduct.streams)
        name = f"{request.parent}/locations/us/sessions/rules{next(self._numbers)}"
        compression = made.read_options.arrow_serialization_options.buffer_compression
        codecs = {1: "lz4", 2: "zstd"}
        session = Opened(
            name=name,
            table=request.read_session.table,
            wanted=request.max_stream_count,
            preferred=request.preferred_min_stream_count,
            streams=[f"{name}/streams/{n}" for n in range(count)],
            expires=self.now() + dt.timedelta(seconds=conduct.lasts),
            shares=tuple(conduct.shares),
            codec=codecs.get(int(compression)),
            upstream=[stream.name for stream in made.streams],
            schema=made.arrow_schema.serialized_schema,
        )
        with self._guard:
            self.sessions[name] = session
        return session

    def _read(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        self._wait_here("ReadRows", "before")
        name, offset = request.read_stream, request.offset
        with self._guard:
            session = self.sessions.get(name.rpartition("/streams/")[0])
        if session is None or name not in session.streams:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Stream not found: {name}")
        self._check_time(session, name, context)
        number = session.streams.index(name)
        rows = self._rows.of(session)[number]
        if offset < 0 or offset > rows.num_rows:
            self._operating(context, name, f"offset {offset} has not been allocated yet")
        read = Read(name, offset, [])
        with self._guard:
            self.reads.append(read)
            seed = f"{name} {offset} {len(self.reads)}"
        conduct, at = self.conduct, offset
        head = types.ArrowSchema(serialized_schema=session.schema)
        if conduct.first == "schema":
            yield types.ReadRowsResponse(arrow_schema=head)
        elif conduct.first == "neither":
            yield types.ReadRowsResponse(throttle_state=types.ThrottleState(throttle_percent=0))
        for batch in messages(rows, offset, conduct.message_rows, conduct.message_bytes, seed):
            if conduct.message_seconds:
                time.sleep(conduct.message_seconds)
            self._check_time(session, name, context)
            fault = self._due(number, at, at + batch.num_rows)
            if fault is not None and fault.after > at:
                batch = batch.slice(0, fault.after - at)
            content = serialize(batch, session.codec)
            if fault is None or fault.after > at or fault.kind == "truncated":
                if fault is not None and fault.kind == "truncated":
                    content = content[: len(content) // 2]
                message = types.ReadRowsResponse(
                    row_count=batch.num_rows,
                    arrow_record_batch=types.ArrowRecordBatch(serialized_record_batch=content),
                )
                if not read.sent and conduct.first in ("schema and rows", "neither"):
                    message.arrow_schema = head
                read.sent.append(batch.num_rows)
                yield message
                at += batch.num_rows
            if fault is not None and fault.kind == "short":
                return
            if fault is not None and fault.kind == "expired":
                self.expire(name)
                self._check_time(session, name, context)
            if fault is not None and fault.kind != "truncated":
                fail(context, fault.kind)
        self._wait_here("ReadRows", "after")

    def _due(self, stream: int, start: int, end: int) -> Fault | None:
        """Return a fault that is due in these rows of the stream, and count it."""
        with self._guard:
            for fault in self.conduct.faults:
                if fault.times and fault.stream in (None, stream) and start <= fault.after < end:
                    fault.times -= 1
                    return fault
        return None

    def _check_time(self, session: Opened, name: str, context: grpc.ServicerContext) -> None:
        if self.now() >= session.expires:
            at = session.expires.isoformat(timespec="seconds")
            self._operating(context, name, f"session expired at {at}")

    def _operating(self, context: grpc.ServicerContext, name: str, words: str) -> NoReturn:
        context.abort(
            grpc.StatusCode.FAILED_PRECONDITION,
            f"there was an error operating on '{name}': {words}",
        )

    def _describe(self, path: str, context: grpc.ServicerContext) -> Described:
        """Return the description of a table given as projects/p/datasets/d/tables/t."""
        client: Any = self._clients.bigquery
        call = client._connection.api_request
        try:
            resource = call(method="GET", path=f"/{path}", timeout=TIMEOUT)
            listed = call(method="GET", path=f"/{path}/rowAccessPolicies", timeout=TIMEOUT)
        except exceptions.NotFound as exc:
            context.abort(grpc.StatusCode.NOT_FOUND, f"request failed: {exc.message}")
        except exceptions.BadRequest as exc:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"request failed: {exc.message}")
        return Described(resource, tuple(listed.get("rowAccessPolicies", ())))
