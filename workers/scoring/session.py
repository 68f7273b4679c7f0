"""Read sessions: a fixed split of the input's snapshot into streams, one a shard.

A session lasts six hours (https://cloud.google.com/bigquery/docs/reference/storage). BigQuery does
not promise that a second session splits the rows alike, so the parts of a session belong to it
alone: when it has expired, the run goes on with a new session over the same snapshot and new parts.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

from mlsys.clients import TIMEOUT, Clients
from mlsys.errors import Conflict, TableNotFound, TryAgain
from workers.scoring.plan import Plan
from workers.scoring.store import RunStore

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_PER_STREAM = 250_000  # what is lost at the most when a shard is interrupted
MAX_STREAMS = 1000  # https://cloud.google.com/bigquery/quotas#storage-limits
MAX_SESSIONS = 1000
BATCH_ROWS = 65_536  # near the best for every estimator measured
BATCH_BYTES = 64 * 1024 * 1024  # of Arrow data; wide rows come in smaller batches
TIME_TRAVEL = dt.timedelta(days=2)  # at the least
MARGIN = dt.timedelta(minutes=10)  # beyond the time that a request may last


@dataclass(frozen=True, slots=True)
class Session:
    """An open read session; `streams` are its streams' names, in the order of the shards."""

    number: int
    streams: tuple[str, ...]
    expires_at: str | None

    @property
    def parts(self) -> int:
        """The parts that make up the run: one a stream, and one without rows for no stream."""
        return max(1, len(self.streams))

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """Read a `session-{k}.json`."""
        return cls(value["number"], tuple(value["streams"]), value["expires_at"])

    def expired(self, moment: dt.datetime) -> bool:
        """Tell whether the session is over at `moment`."""
        if self.expires_at is None:  # the local BigQuery does not say
            return False
        return moment > dt.datetime.fromisoformat(self.expires_at)


def current_session(clients: Clients, store: RunStore, plan: Plan) -> Session:
    """Return the run's latest session, opening one if there is none or it has expired.

    Raises:
        TableNotFound: the input table is gone.
        Conflict: the snapshot is older than BigQuery keeps.
        TryAgain: the sessions of the run kept expiring, or this machine's clock is ahead.
    """
    for number in range(MAX_SESSIONS):
        name = f"session-{number}.json"
        found = store.read(name)
        if found is None:
            session = _open(clients, plan, number)
            if store.create(name, asdict(session)):
                return session
            found = store.read(name)  # a twin was first: its session is the run's
        if found is None:
            break
        session = Session.from_dict(found)
        lasts = dt.timedelta(seconds=clients.settings.request_timeout) + MARGIN
        if not session.expired(dt.datetime.now(dt.UTC) + lasts):
            return session
    raise TryAgain(f"The read sessions of {plan.run_id} kept expiring")


def latest_session(store: RunStore) -> Session | None:
    """Return the session that was opened last, if any was."""
    session = None
    for number in range(MAX_SESSIONS):
        found = store.read(f"session-{number}.json")
        if found is None:
            break
        session = Session.from_dict(found)
    return session


def read_batches(clients: Clients, plan: Plan, stream: str) -> Iterator[pa.Table]:
    """Yield the rows of a stream in tables of about BATCH_ROWS rows, at most BATCH_BYTES large.

    Raises:
        TryAgain: the session is over; the next try opens another one.
    """
    import pyarrow as pa

    held: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in _messages(clients, stream):
        for start in range(0, batch.num_rows, _rows_that_fit(batch)):
            part = batch.slice(start, _rows_that_fit(batch))
            held.append(part)
            rows, size = rows + part.num_rows, size + part.nbytes
            if rows >= BATCH_ROWS or size >= BATCH_BYTES:
                yield pa.Table.from_batches(held)
                held, rows, size = [], 0, 0
    if held:
        yield pa.Table.from_batches(held)


def _messages(clients: Clients, stream: str) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa
    from google.api_core import exceptions

    schema = None
    try:
        # A read call lasts as long as its stream does, so it has no deadline of its own; the
        # client reconnects at the row it had reached when the connection breaks.
        for message in clients.bigquery_read.read_rows(stream):
            if schema is None:  # the first message of a stream carries it
                schema = pa.ipc.read_schema(pa.py_buffer(message.arrow_schema.serialized_schema))
            if message.row_count:
                content = pa.py_buffer(message.arrow_record_batch.serialized_record_batch)
                yield pa.ipc.read_record_batch(content, schema)
    except (exceptions.NotFound, exceptions.FailedPrecondition) as exc:
        raise TryAgain(f"The read session is over: {stream}") from exc


def _rows_that_fit(batch: pa.RecordBatch) -> int:
    """How many rows of the message make a batch of at most BATCH_BYTES, one at the least."""
    return max(1, batch.num_rows * BATCH_BYTES // max(batch.nbytes, BATCH_BYTES))


def _open(clients: Clients, plan: Plan, number: int) -> Session:
    from google.api_core import exceptions
    from google.cloud.bigquery_storage_v1 import types

    snapshot_at: Any = dt.datetime.fromisoformat(plan.snapshot_at)
    try:
        opened = clients.bigquery_read.create_read_session(
            parent=f"projects/{clients.settings.project}",
            read_session=types.ReadSession(
                table=plan.input_table.path,
                data_format=types.DataFormat.ARROW,
                table_modifiers=types.ReadSession.TableModifiers(snapshot_time=snapshot_at),
                read_options=types.ReadSession.TableReadOptions(selected_fields=plan.read_columns),
            ),
            max_stream_count=min(MAX_STREAMS, 1 + plan.rows_expected // ROWS_PER_STREAM),
            timeout=TIMEOUT,
        )
    except exceptions.NotFound as exc:
        raise TableNotFound(f"The input table {plan.input_table} is gone") from exc
    except exceptions.InvalidArgument as exc:
        # Time travel ends after two to seven days, by the dataset's setting:
        # https://cloud.google.com/bigquery/docs/time-travel. A younger snapshot that is refused
        # lies in the future by BigQuery's clock, and will not for long.
        if dt.datetime.now(dt.UTC) - snapshot_at < TIME_TRAVEL:
            raise TryAgain(
                f"{plan.input_table} cannot be read as of {plan.snapshot_at} yet"
            ) from exc
        raise Conflict(
            f"{plan.input_table} as it was at {plan.snapshot_at} can no longer be read, and the "
            f"run {plan.run_id} cannot be finished: pass a run_id of your own to start another one"
        ) from exc
    expires = opened.expire_time
    return Session(
        number=number,
        streams=tuple(stream.name for stream in opened.streams),
        expires_at=expires.isoformat() if expires else None,
    )
