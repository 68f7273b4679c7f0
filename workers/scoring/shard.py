"""Score one stream into one Parquet part, which can only be created, never changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from mlsys.clients import Clients
from mlsys.errors import RunInterrupted
from workers.scoring.predictor import Predictor
from workers.scoring.session import Session, read_batches
from workers.scoring.store import RunStore

if TYPE_CHECKING:
    import pyarrow as pa
    from google.cloud.storage import Blob

CHUNK_BYTES = 8 * 1024 * 1024  # of one upload request; a multiple of 256 KiB
FOOTERS_AT_ONCE = 16
ROWS_READ = "mlsys.rows_read"


def score_shard(
    clients: Clients,
    store: RunStore,
    session: Session,
    shard: int,
    predictor: Predictor,
    *,
    stop: Callable[[], bool] = lambda: False,
    on_rows: Callable[[int], None] = lambda rows: None,
) -> int:
    """Write the part of stream number `shard` and return its rows.

    The part appears as a whole, with the last byte of its upload, or not at all. If it is there
    already (a twin was faster), ours is dropped: both hold the same rows. Memory is bounded by a
    few batches. `stop` is asked between batches; `on_rows` hears how many rows each one had.

    Raises:
        RunInterrupted: `stop` said so; nothing was written.
        PredictionFailed, SchemaMismatch: see `Predictor.score`; nothing was written.
    """
    streams = session.streams[shard : shard + 1]  # none: the input is empty, and so is the part
    rows = 0
    with PartWriter(store.blob(store.part_name(session.number, shard)), predictor.schema) as part:
        for stream in streams:
            for batch in read_batches(clients, predictor.plan, stream):
                if stop():
                    raise RunInterrupted("The run was stopped between two batches")
                part.write(predictor.score(batch), rows_read=batch.num_rows)
                rows += batch.num_rows
                on_rows(batch.num_rows)
    return rows


class PartWriter:
    """A Parquet file that streams to Cloud Storage and is published when the block ends well."""

    def __init__(self, blob: Blob, schema: pa.Schema) -> None:
        import pyarrow.parquet as pq

        self._upload = blob.open("wb", chunk_size=CHUNK_BYTES, if_generation_match=0)
        self._parquet = pq.ParquetWriter(self._upload, schema, compression="zstd")
        self._rows_read = 0

    def __enter__(self) -> PartWriter:
        return self

    def write(self, rows: pa.Table, *, rows_read: int) -> None:
        """Append a batch of output rows that came from `rows_read` input rows."""
        self._rows_read += rows_read
        self._parquet.write_table(rows)

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, _: object
    ) -> bool:
        from google.api_core.exceptions import from_http_response
        from google.cloud.storage.exceptions import InvalidResponse

        try:
            if exc is None:
                self._parquet.add_key_value_metadata({ROWS_READ: str(self._rows_read)})
                self._parquet.close()
                self._upload.close()
        except InvalidResponse as refused:
            exc = refused
        finally:
            if not self._upload.closed:
                # Both would be closed as they are collected, and so publish what was written.
                self._parquet.is_open = False
                self._upload.terminate()
        if not isinstance(exc, InvalidResponse):
            return False
        if exc.response.status_code == 412:  # any chunk of a large part may be the one to hear it
            return True  # the part is there already: a twin or an earlier try wrote the same rows
        raise from_http_response(exc.response) from exc


def count_rows(parts: Iterable[Blob]) -> tuple[int, int]:
    """Return (rows read, rows scored) of all the parts together, from their footers."""
    with ThreadPoolExecutor(FOOTERS_AT_ONCE) as pool:
        counts = list(pool.map(_part_rows, parts))
    return sum(read for read, _ in counts), sum(scored for _, scored in counts)


def _part_rows(blob: Blob) -> tuple[int, int]:
    import pyarrow.parquet as pq

    with blob.open("rb", chunk_size=256 * 1024) as file:
        footer = pq.read_metadata(file)
    read = int((footer.metadata or {}).get(ROWS_READ.encode(), -1))
    return read, footer.num_rows
