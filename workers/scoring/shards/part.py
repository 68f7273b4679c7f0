"""Parquet parts in Cloud Storage, which can only be created, never changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Self

from mlsys.errors import TryAgain
from workers.monitoring.contract import ContractCounts
from workers.scoring.journal.decisions import Counts
from workers.scoring.shards.overlap import Behind

if TYPE_CHECKING:
    import pyarrow as pa
    from google.cloud.storage import Blob

CHUNK_BYTES = 2 * 1024 * 1024  # of one upload request, held twice; a multiple of 256 KiB
# Readers of Parquet work on a row group at once: some 100,000 rows suit them best.
GROUP_ROWS, GROUP_BYTES = 131_072, 16 * 1024 * 1024
FOOTERS_AT_ONCE = 16
REJECTS, PATH, STREAM = "mlsys.rejects", "mlsys.path", "mlsys.stream"
OFFSET, LAST = "mlsys.offset", "mlsys.last"
PROFILE = "mlsys.profile"
SHADOW, SHADOW_REJECTED, ASIDE = "mlsys.shadow", "mlsys.shadow_rejected", "mlsys.aside"
CONTRACT = "mlsys.contract"


class PartWriter:
    """A Parquet file that streams to Cloud Storage and is published if the block raises nothing.

    A separate thread encodes and sends the rows. If the file exists already (a concurrent or an
    earlier try wrote it), this one is dropped silently: both hold the same rows.
    """

    def __init__(self, blob: Blob, schema: pa.Schema) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._upload = blob.open("wb", chunk_size=CHUNK_BYTES, if_generation_match=0)
        self._parquet = pq.ParquetWriter(
            self._upload,
            schema,
            compression="zstd",
            # Numbers hardly repeat: a dictionary of them costs time, and space as well.
            use_dictionary=[f.name for f in schema if not pa.types.is_primitive(f.type)],
            write_statistics=False,  # a load reads every row
            store_schema=False,
        )
        self._taken = False  # the file exists already
        self._thread = Behind()
        self._held: list[pa.Table] = []
        self._notes: dict[str, str] = {}

    def __enter__(self) -> PartWriter:
        return self

    def write(self, rows: pa.Table) -> None:
        """Append rows."""
        self._held.append(rows)
        if (
            sum(table.num_rows for table in self._held) >= GROUP_ROWS
            or sum(table.nbytes for table in self._held) >= GROUP_BYTES
        ):
            self._flush()

    @property
    def taken(self) -> bool:
        """Whether the file existed already; known once the block has ended."""
        return self._taken

    def note(self, footer: Footer) -> None:
        """Put the part's record into its footer."""
        self._notes = footer.notes()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._flush()
                self._thread.wait()
                self._unless_taken(self._close)
        finally:
            self._thread.close()
            if not self._upload.closed:
                # Both would be closed as they are collected, and so publish what was written.
                self._parquet.is_open = False
                self._upload.terminate()

    def _flush(self) -> None:
        import pyarrow as pa

        if self._held:
            # In one piece: each write is a row group. Also a copy: ids lie in the messages they
            # came in, with all the other columns.
            rows = pa.concat_tables(self._held).combine_chunks()
            self._held = []
            self._thread.do(lambda: self._unless_taken(lambda: self._parquet.write_table(rows)))

    def _close(self) -> None:
        self._parquet.add_key_value_metadata(self._notes)
        self._parquet.close()
        self._upload.close()

    def _unless_taken(self, do: Callable[[], None]) -> None:
        from google.api_core.exceptions import from_http_response
        from google.cloud.storage.exceptions import InvalidResponse

        if self._taken:
            return
        try:
            do()
        except InvalidResponse as exc:
            # Any chunk of a large part may get the answer that it exists.
            if exc.response.status_code != 412:
                raise from_http_response(exc.response) from exc
            self._taken = True


@dataclass(frozen=True, slots=True)
class Footer:
    """A part's record of its rows: the counts, and the name of the rejects if it has some.

    `path` is its rows' path to the model (`Predictor.path`), `stream` the one that they were read
    from, `offset` the number of the stream's rows before them; `last` says that none follow.
    `shadow` is the name of the challenger's rows, None without a challenger, and `shadow_rejected`
    how many it could not score. Those rows note in `aside` which ones, by their places in the
    part, the run's model and the challenger could not score. `profile` are the counts of its
    columns as text (`Tally`), "" if the run counts nothing; `contract` is what the clauses of the
    model's contract counted, None without one.
    """

    counts: Counts
    rejects: str | None
    path: str = ""
    stream: str = ""
    offset: int = 0
    last: bool = True
    shadow: str | None = None
    shadow_rejected: int = 0
    aside: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
    profile: str = ""
    contract: ContractCounts | None = None

    def notes(self) -> dict[str, str]:
        """Return the metadata of the Parquet file."""
        counts = {f"mlsys.{name}": str(count) for name, count in asdict(self.counts).items()}
        place = {OFFSET: str(self.offset), LAST: str(int(self.last))}
        notes = {REJECTS: self.rejects or "", PATH: self.path, STREAM: self.stream}
        if self.shadow is not None:
            notes |= {SHADOW: self.shadow, SHADOW_REJECTED: str(self.shadow_rejected)}
        notes |= {ASIDE: json.dumps(self.aside)} if any(self.aside) else {}
        notes |= {PROFILE: self.profile} if self.profile else {}
        if self.contract is not None:
            notes[CONTRACT] = json.dumps(self.contract.to_dict())
        return counts | place | notes

    @classmethod
    def of_notes(cls, metadata: Mapping[bytes, bytes]) -> Self:
        """Read the metadata of a Parquet file.

        Raises:
            KeyError, ValueError: it is not a part.
        """
        notes = {key.decode(): value.decode() for key, value in metadata.items()}
        first, second = json.loads(notes.get(ASIDE, "[[], []]"))
        contract = notes.get(CONTRACT)
        return cls(
            Counts(*(int(notes[f"mlsys.{f.name}"]) for f in fields(Counts))),
            notes[REJECTS] or None,
            notes[PATH],
            notes[STREAM],
            int(notes[OFFSET]),
            bool(int(notes[LAST])),
            notes.get(SHADOW),
            int(notes.get(SHADOW_REJECTED, "0")),
            (tuple(first), tuple(second)),
            notes.get(PROFILE, ""),
            None if contract is None else ContractCounts.from_dict(json.loads(contract)),
        )


class PartGone(TryAgain):
    """A part was deleted while the run was working; the next try scores its rows again."""


class PartDamaged(TryAgain):
    """A part is not what was written; the next try reads all rows again, in another session."""


def read_footers(parts: Iterable[Blob]) -> list[Footer]:
    """Return the footers of the parts, in their order.

    Raises:
        PartGone, PartDamaged: one of them cannot be read.
    """
    with ThreadPoolExecutor(FOOTERS_AT_ONCE) as pool:
        return list(pool.map(_footer, parts))


def readable_footers(parts: Iterable[Blob]) -> list[Footer]:
    """Return the footers of those parts that can be read."""

    def footer(blob: Blob) -> Footer | None:
        try:
            return _footer(blob)
        except (PartGone, PartDamaged):
            return None

    with ThreadPoolExecutor(FOOTERS_AT_ONCE) as pool:
        return [read for read in pool.map(footer, parts) if read is not None]


def _footer(blob: Blob) -> Footer:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from google.api_core.exceptions import NotFound, RequestRangeNotSatisfiable

    try:
        with blob.open("rb", chunk_size=256 * 1024) as file:
            return Footer.of_notes(pq.read_metadata(file).metadata)
    except NotFound as exc:
        raise PartGone(f"{blob.name} was deleted. Repeat the request to score it again.") from exc
    except (
        *(pa.ArrowException, KeyError, ValueError, RequestRangeNotSatisfiable),
        AttributeError,  # the metadata is None
    ) as exc:
        raise PartDamaged(f"{blob.name} is damaged. Repeat the request to score it again.") from exc
