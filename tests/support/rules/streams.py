"""Deal a session's rows into streams, and a stream's rows into messages.

- "The number of streams may be lower than the requested number, depending on the amount parallelism
  that is reasonable for the table"; preferred_min_stream_count is only a wish
  (https://cloud.google.com/bigquery/docs/reference/storage/rpc/google.cloud.bigquery.storage.v1).
  500 MB gave one stream (https://github.com/googleapis/google-cloud-python/issues/8569), 26 GB gave
  25 of 15 to 20 requested (https://github.com/googleapis/java-bigquerystorage/issues/531).
- Streams can be empty or of unequal length, above all with a filter
  (https://github.com/googleapis/python-bigquery-storage/issues/733). A table without rows has none.
- Nothing promises that another session deals the rows alike, or that another call sends them in
  messages of the same size. Here messages differ with each call, and the rows of a stream with
  each session if it has shares.
- A message has at most 128 MB (the comment of ReadRows in storage.proto).
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

MAX_STREAMS = 1000  # https://cloud.google.com/bigquery/quotas#storage-limits
SMALL = 1_000_000  # bytes of a table with one stream; a hundredth of BigQuery's, for small tests
MAX_MESSAGE = 128 << 20
BLOCKS = 8  # for each stream, where the shares are not equal


def stream_count(wanted: int, preferred: int, size: int, most: int | None) -> int:
    """Return how many streams a session over `size` bytes of rows gets.

    `wanted` is max_stream_count and `preferred` preferred_min_stream_count, 0 if unset; `most` is
    what is reasonable for the table, whatever was requested (None: it follows from its size).
    """
    limit = min(wanted or max(preferred, 1), MAX_STREAMS)
    if most is None:
        most = 1 if size < SMALL else MAX_STREAMS
    return min(limit, most)


def deal(table: pa.Table, streams: int, shares: Sequence[float], seed: str) -> list[pa.Table]:
    """Return the rows of each stream: each row once, in an order that depends on `seed` alone.

    Without `shares` the streams are consecutive and of equal length. With them the rows come
    in blocks, and each block goes to one stream with that probability: a share of 0 is an empty
    stream. Shares are repeated where there are more streams.
    """
    rows = table.num_rows
    if not shares:
        cuts = [rows * n // streams for n in range(streams + 1)]
        return [table.slice(a, b - a) for a, b in itertools.pairwise(cuts)]
    rng = random.Random(seed)
    weights = [shares[n % len(shares)] for n in range(streams)]
    dealt: list[list[pa.Table]] = [[table.slice(0, 0)] for _ in weights]
    block = max(1, rows // (BLOCKS * streams))
    for start in range(0, rows, block):
        [stream] = rng.choices(range(streams), weights)
        dealt[stream].append(table.slice(start, block))
    return [pa.concat_tables(blocks) for blocks in dealt]


def messages(
    rows: pa.Table, offset: int, most: int, limit: int, seed: str
) -> Iterator[pa.RecordBatch]:
    """Yield the rows from `offset` on, in batches of a quarter to all of `most` rows.

    No batch has more than about `limit` bytes, unless one row has. The sizes depend on `seed`.
    """
    rng = random.Random(seed)
    while offset < rows.num_rows:
        part = rows.slice(offset, rng.randint(max(1, most // 4), max(1, most)))
        if part.nbytes > limit:
            part = part.slice(0, max(1, part.num_rows * limit // part.nbytes))
        offset += part.num_rows
        columns = [_one_chunk(column) for column in part.columns]
        yield pa.RecordBatch.from_arrays(columns, schema=rows.schema)


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def serialize(batch: pa.RecordBatch, codec: str | None) -> bytes:
    """Return the batch as one message of Arrow's IPC format, compressed as the session wants."""
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=codec)
    with pa.ipc.new_stream(sink, batch.schema, options=options) as writer:
        writer.write_batch(batch)
    reader: Any = pa.ipc.MessageReader.open_stream(sink.getvalue())
    reader.read_next_message()  # the schema
    return reader.read_next_message().serialize().to_pybytes()
