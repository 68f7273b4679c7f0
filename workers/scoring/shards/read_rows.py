"""Read the rows of a stream, from an offset on, in batches whose cuts depend on their place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from mlsys.cloud.clients import Clients
from mlsys.cloud.messages import words_of
from mlsys.cloud.quotas import is_too_large
from mlsys.errors import SchemaMismatch, SessionOver
from workers.scoring.planning.plan import Plan
from workers.scoring.shards.refusals import too_large
from workers.scoring.shards.session import Session

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 65_536  # near the best for every estimator measured
BATCH_BYTES = 64 * 1024 * 1024  # of Arrow data; wide rows come in smaller batches


def batch_rows(plan: Plan, rows_at_once: int = BATCH_ROWS) -> int:
    """Return how many rows are scored at once: fewer if each of them gives a thousand numbers.

    `rows_at_once` is how many the model may be given.
    """
    return max(1, min(BATCH_ROWS, rows_at_once, BATCH_BYTES // (8 * len(plan.output.columns))))


def read_batches(
    clients: Clients,
    session: Session,
    shard: int,
    offset: int,
    most: int,
    aliases: Mapping[str, str] | None = None,
) -> Iterator[pa.Table]:
    """Yield the rows of a stream from `offset` on, in tables of at most `most` rows.

    Columns whose names are aliases in `aliases` get their original names.

    A table ends at every multiple of `session.part_rows`, where the cuts start again: wherever a
    reader resumes, it cuts as one that reads the stream from its start. `offset` is 0 or a cut.

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
    for batch in _messages(clients, session, shard, offset):
        start = 0
        while start < batch.num_rows:
            room = session.part_rows - offset % session.part_rows  # until the part's end
            part = batch.slice(start, min(_rows_that_fit(batch), most - rows, room))
            start += part.num_rows
            offset += part.num_rows
            held.append(part)
            rows, size = rows + part.num_rows, size + part.nbytes
            if rows >= most or size >= BATCH_BYTES or part.num_rows == room:
                yield table(held)
                held, rows, size = [], 0, 0
    if held:
        yield table(held)


def _messages(
    clients: Clients, session: Session, shard: int, offset: int
) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa
    from google.api_core import exceptions

    schema = None
    try:
        # A read call lasts as long as its stream does, so it has no deadline of its own; the
        # client reconnects at the row it had reached when the connection breaks.
        for message in clients.bigquery_read.read_rows(session.stream(shard), offset):
            # The first message of a stream carries the schema; an empty one may come without it
            # (https://github.com/googleapis/python-bigquery-storage/issues/733).
            if serialized := message.arrow_schema.serialized_schema:
                schema = pa.ipc.read_schema(pa.py_buffer(serialized))
            if message.row_count:
                schema = schema or session.arrow_schema()
                if schema is None:
                    raise SessionOver(
                        "A stream came without its schema: the next try opens another"
                    )
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
