"""Read sessions: a fixed split of the input's snapshot into streams, one a shard.

A session lasts six hours (https://cloud.google.com/bigquery/docs/reference/storage). BigQuery does
not promise that a second session splits the rows alike, so the parts belong to one session:
when it has expired, the run continues with a new session over the same snapshot and new parts.
"""

from __future__ import annotations

import datetime as dt
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

from mlsys.cloud.clients import Clients
from mlsys.cloud.messages import words_of
from mlsys.cloud.quotas import is_too_large
from mlsys.errors import Conflict, SchemaMismatch, SessionOver
from workers import machine
from workers.scoring.planning.plan import Plan
from workers.scoring.shards.materialized_view import check_rows, materialize
from workers.scoring.shards.open_session import open_session
from workers.scoring.shards.refusals import too_large
from workers.scoring.store import RunStore

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

ROWS_PER_STREAM = 250_000  # at most what is lost when a shard is interrupted
ROWS_FOR_A_CORE = 50_000  # worth a stream of their own
MAX_STREAMS = 1000  # https://cloud.google.com/bigquery/quotas#storage-limits
# Time travel ends after seven days at the latest, which is 28 sessions of six hours.
MAX_SESSIONS = 60
BATCH_ROWS = 65_536  # near the best for every estimator measured
BATCH_BYTES = 64 * 1024 * 1024  # of Arrow data; wide rows come in smaller batches
MARGIN = dt.timedelta(minutes=10)  # beyond the time that a request may last


@dataclass(frozen=True, slots=True)
class Session:
    """An open read session; `streams` are its streams' names, in the order of the shards."""

    number: int
    streams: tuple[str, ...]
    expires_at: str | None
    rows: int  # of the input, about, and before any filter

    @property
    def parts(self) -> int:
        """The number of parts of the run: one a stream, and an empty one without any stream."""
        return max(1, len(self.streams))

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """Read a `session-{k}.json`."""
        return cls(value["number"], tuple(value["streams"]), value["expires_at"], value["rows"])

    def expired(self, moment: dt.datetime) -> bool:
        """Tell whether the session is over at `moment`."""
        if self.expires_at is None:  # the local BigQuery does not set it
            return False
        return moment > dt.datetime.fromisoformat(self.expires_at)


def current_session(
    clients: Clients, store: RunStore, plan: Plan, stop: Callable[[], bool] = lambda: False
) -> Session:
    """Return the run's latest session, opening one if it has none or that has expired.

    Raises:
        TableNotFound: the input table was deleted.
        InvalidRequest: the Storage Read API refuses the filter.
        SchemaMismatch: the view cannot be queried, or BigQuery refuses to read the table.
        Conflict: the snapshot is older than BigQuery keeps, or than the table; or the sessions
            kept ending before the run did.
        RunInterrupted: `stop` returned True while rows were being copied.
        TryAgain: this machine's clock is ahead.
    """
    for number in range(MAX_SESSIONS):
        name = f"session-{number}.json"
        document = store.read(name)
        if document is None:
            session = _open(clients, store, plan, number, stop)
            if store.create(name, asdict(session)):
                return session
            document = store.read(name)  # another was first: its session is the run's
        if document is None:
            break
        session = store.parse(name, document, Session.from_dict)
        if store.read(_over(number)) is not None:
            continue
        lasts = dt.timedelta(seconds=clients.settings.request_timeout) + MARGIN
        if not session.expired(dt.datetime.now(dt.UTC) + lasts):
            return session
    raise Conflict(
        f"{MAX_SESSIONS} read sessions of {plan.run_id} ended before the run: pass a run_id of "
        "your own to start another run, on a larger machine or with a where that splits the input"
    )


def give_up(store: RunStore, session: Session) -> None:
    """Record that the session has ended early, so that no try continues with it."""
    store.create(_over(session.number), {"at": dt.datetime.now(dt.UTC).isoformat()})


def _over(number: int) -> str:
    return f"session-{number}-over.json"


def latest_session(store: RunStore) -> Session | None:
    """Return the session that was opened last, if any was."""
    session = None
    for number in range(MAX_SESSIONS):
        name = f"session-{number}.json"
        document = store.read(name)
        if document is None:
            break
        session = store.parse(name, document, Session.from_dict)
    return session


def batch_rows(plan: Plan, rows_at_once: int = BATCH_ROWS) -> int:
    """Return how many rows are scored at once: fewer if each of them gives a thousand numbers.

    `rows_at_once` is how many the model may be given.
    """
    return max(1, min(BATCH_ROWS, rows_at_once, BATCH_BYTES // (8 * len(plan.output.columns))))


def read_batches(
    clients: Clients, stream: str, most: int, aliases: Mapping[str, str] | None = None
) -> Iterator[pa.Table]:
    """Yield the rows of a stream in tables of `most` rows, the last one of fewer.

    Columns whose names are aliases in `aliases` get their original names.

    Up to 1 KiB a row the cut does not depend on how the rows were packed into messages, which may
    change when a connection breaks: the last bits of a prediction can depend on the size of the
    batch. Wider rows are cut at about BATCH_BYTES.

    Raises:
        SessionOver: BigQuery no longer knows the session.
        SchemaMismatch: BigQuery refuses to send the rows.
    """
    import pyarrow as pa

    def table(batches: list[pa.RecordBatch]) -> pa.Table:
        out = pa.Table.from_batches(batches)
        if not aliases:
            return out
        return out.rename_columns([aliases.get(name, name) for name in out.column_names])

    held: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in _messages(clients, stream):
        start = 0
        while start < batch.num_rows:
            part = batch.slice(start, min(_rows_that_fit(batch), most - rows))
            start += part.num_rows
            held.append(part)
            rows, size = rows + part.num_rows, size + part.nbytes
            if rows >= most or size >= BATCH_BYTES:
                yield table(held)
                held, rows, size = [], 0, 0
    if held:
        yield table(held)


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
                del message  # it has a copy of its own
                yield pa.ipc.read_record_batch(content, schema)
                del content
    except (exceptions.NotFound, exceptions.FailedPrecondition) as exc:
        raise SessionOver(
            "BigQuery has ended the read session: the next try opens another"
        ) from exc
    except exceptions.BadRequest as exc:
        raise SchemaMismatch(f"BigQuery refuses to send the rows ({words_of(exc)}).") from exc
    except exceptions.ResourceExhausted as exc:
        if is_too_large(exc):
            raise too_large() from exc
        raise


def _rows_that_fit(batch: pa.RecordBatch) -> int:
    """Return how many rows of the message make a batch of at most BATCH_BYTES, at least one."""
    return max(1, batch.num_rows * BATCH_BYTES // max(batch.nbytes, BATCH_BYTES))


def _open(
    clients: Clients, store: RunStore, plan: Plan, number: int, stop: Callable[[], bool]
) -> Session:
    table, rows = plan.input_table, plan.rows_expected or 0
    if plan.is_copied:
        table, rows = materialize(clients, store.env, plan, stop)
    opened = open_session(clients, plan, table, _streams(rows))
    expires = opened.expire_time
    return Session(
        number=number,
        streams=tuple(stream.name for stream in opened.streams),
        expires_at=expires.isoformat() if expires else None,
        rows=rows,
    )


def _streams(rows: int) -> int:
    """Return the number of streams for `rows` rows: several are a multiple of the cores."""
    cores = machine.cores()
    if rows < cores * ROWS_PER_STREAM:
        return max(math.ceil(rows / ROWS_PER_STREAM), min(cores, rows // ROWS_FOR_A_CORE), 1)
    return min(MAX_STREAMS, math.ceil(rows / ROWS_PER_STREAM / cores) * cores)


def probe(clients: Clients, plan: Plan) -> None:
    """Check that BigQuery would read the input as planned; nothing is read.

    Raises:
        MlsysError: as `open_session` or `check_copy` do, which a run would meet after its plan.
    """
    if plan.is_copied:
        check_rows(clients, plan)
    else:
        open_session(clients, plan, plan.input_table, 1, without_rows=True)
