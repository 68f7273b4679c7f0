"""Read sessions: a fixed split of the input's snapshot into streams, one a shard.

A session lasts six hours (https://cloud.google.com/bigquery/docs/reference/storage). BigQuery does
not promise that a second session splits the rows alike, so the parts of a session belong to it
alone: when it has expired, the run goes on with a new session over the same snapshot and new parts.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from mlsys.clients import TIMEOUT, Clients
from mlsys.errors import TryAgain
from workers.scoring.plan import Plan
from workers.scoring.store import RunStore

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_PER_STREAM = 250_000  # what is lost at the most when a shard is interrupted
MAX_STREAMS = 1000  # https://cloud.google.com/bigquery/quotas#storage-limits
BATCH_ROWS = 65_536  # near the best for every estimator measured
MARGIN = dt.timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Session:
    """An open read session; `streams` are its streams' names, in the order of the shards."""

    number: int
    streams: tuple[str, ...]
    expires_at: str | None

    def expired(self, now: dt.datetime) -> bool:
        """Tell whether the session cannot be relied on any more at `now`."""
        if self.expires_at is None:  # the local BigQuery does not say
            return False
        return now > dt.datetime.fromisoformat(self.expires_at) - MARGIN


def current_session(clients: Clients, store: RunStore, plan: Plan) -> Session:
    """Return the run's latest session, opening one if there is none or it has expired.

    Raises:
        TryAgain: the sessions of the run kept expiring under our hands.
    """
    for number in range(MAX_STREAMS):
        name = f"session-{number}.json"
        found = store.read(name)
        if found is None:
            session = _open(clients, plan, number)
            if store.create(name, asdict(session)):
                return session
            found = store.read(name) or {}  # a twin was first: its session is the run's
        session = Session(number, tuple(found["streams"]), found["expires_at"])
        if not session.expired(dt.datetime.now(dt.UTC)):
            return session
    raise TryAgain(f"The read sessions of {plan.run_id} kept expiring")


def read_batches(clients: Clients, plan: Plan, stream: str) -> Iterator[pa.Table]:
    """Yield the rows of a stream in tables of about BATCH_ROWS rows, the columns as planned."""
    import pyarrow as pa

    held: list[pa.RecordBatch] = []
    schema = None
    rows = 0
    # A read call lasts as long as its stream does, so it has no deadline of its own; the client
    # reconnects at the row it had reached when the connection breaks.
    for message in clients.bigquery_read.read_rows(stream):
        if schema is None:  # the first message of a stream carries it
            schema = pa.ipc.read_schema(pa.py_buffer(message.arrow_schema.serialized_schema))
        if not message.row_count:
            continue
        content = pa.py_buffer(message.arrow_record_batch.serialized_record_batch)
        batch = pa.ipc.read_record_batch(content, schema)
        held.append(batch)
        rows += batch.num_rows
        if rows >= BATCH_ROWS:
            yield pa.Table.from_batches(held)
            held, rows = [], 0
    if held:
        yield pa.Table.from_batches(held)


def _open(clients: Clients, plan: Plan, number: int) -> Session:
    from google.cloud.bigquery_storage_v1 import types

    snapshot_at: Any = dt.datetime.fromisoformat(plan.snapshot_at)
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
    expires = opened.expire_time
    return Session(
        number=number,
        streams=tuple(stream.name for stream in opened.streams),
        expires_at=expires.isoformat() if expires else None,
    )
