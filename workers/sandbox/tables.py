"""Tables as Arrow IPC streams, and how one that comes back from a sandbox is validated."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from workers.sandbox.channel import Malformed

if TYPE_CHECKING:
    import pyarrow as pa

MAX_TABLE = 256 * 2**20  # bytes of an answer's table, unless the caller says otherwise
END = b"\xff\xff\xff\xff\0\0\0\0"  # of an IPC stream
# Fields of the tables in Arrow's Message.fbs
# (https://github.com/apache/arrow/blob/main/format/Message.fbs)
HEADER_FIELD, COMPRESSION_FIELD = 2, 3


@dataclass(frozen=True, slots=True)
class Expected:
    """The table that an answer has to bring: these columns, this number of rows, at most this size.

    Columns have the plain types that BigQuery's columns have, or lists and structs of them; the
    schema has no metadata.
    """

    schema: pa.Schema
    rows: int
    max_bytes: int = MAX_TABLE

    def __post_init__(self) -> None:
        """Refuse a schema by which an answer could bring more than its rows."""
        _form(self.schema)


@lru_cache(maxsize=8)
def _form(schema: pa.Schema) -> tuple[bytes, tuple[int, ...]]:
    """Return how a stream of this schema begins, and which columns cannot be NULL."""
    if schema.metadata or not all(map(_is_plain, schema)):
        raise ValueError("Dictionaries, extensions, unions, views and metadata do not cross")
    strict = tuple(i for i, field in enumerate(schema) if not field.nullable)
    return schema.serialize().to_pybytes(), strict


def _is_plain(field: pa.Field) -> bool:
    import pyarrow as pa

    kind = field.type
    if field.metadata or isinstance(kind, pa.BaseExtensionType):
        return False
    if kind.num_fields:
        nested = pa.types.is_struct(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind)
        return nested and all(_is_plain(kind.field(i)) for i in range(kind.num_fields))
    ruled_out = (
        pa.types.is_dictionary,
        pa.types.is_union,
        pa.types.is_run_end_encoded,
        pa.types.is_string_view,
        pa.types.is_binary_view,
    )
    return not any(test(kind) for test in ruled_out)


def one_batch(table: pa.Table) -> pa.Table:
    """Return the table in the form that crosses: one chunk a column, and no metadata.

    Raises:
        ValueError: its text is longer than one chunk can hold.
    """
    whole = table.replace_schema_metadata(None).combine_chunks()
    if any(column.num_chunks > 1 for column in whole.columns):
        raise ValueError("A column has more text than one batch can hold")
    return whole


def stream_size(table: pa.Table) -> int:
    """Return the bytes of the table as an IPC stream."""
    import pyarrow as pa

    sink = pa.MockOutputStream()
    _write(table, sink)
    return sink.size()


def write_stream(table: pa.Table, room: Any) -> None:
    """Write the table as an IPC stream into writable memory, from its beginning."""
    import pyarrow as pa

    _write(table, pa.FixedSizeBufferWriter(pa.py_buffer(room)))


def _write(table: pa.Table, sink: Any) -> None:
    import pyarrow as pa

    with pa.ipc.new_stream(sink, table.schema) as writer:
        if table.num_rows:
            writer.write_table(table)
        else:  # `write_table` would write no batch
            empty = [pa.array([], field.type) for field in table.schema]
            writer.write_batch(pa.RecordBatch.from_arrays(empty, schema=table.schema))


def read_answer(content: pa.Buffer, expected: Expected) -> pa.Table:
    """Return the table of an IPC stream that anybody may have written.

    The stream has to begin with exactly the bytes of the expected schema, so no foreign schema is
    parsed. One uncompressed record batch follows, and the end.

    Raises:
        Malformed: it is another stream, or its buffers do not hold what they announce.
    """
    import pyarrow as pa

    beginning, strict = _form(expected.schema)
    if content[: len(beginning)].to_pybytes() != beginning:
        raise Malformed("its table has other columns than expected")
    rest = content.slice(len(beginning))
    try:
        reader = pa.BufferReader(rest)
        message = pa.ipc.read_message(reader)
        if message.type != "record batch" or _is_compressed(message.metadata.to_pybytes()):
            raise Malformed("its table is not one uncompressed batch")
        if rest.size - reader.tell() != len(END) or rest[-len(END) :].to_pybytes() != END:
            raise Malformed("its table does not end after one batch")
        batch = pa.ipc.read_record_batch(message, expected.schema)
        if batch.num_rows != expected.rows:
            raise Malformed(f"its table has {batch.num_rows} rows instead of {expected.rows}")
        batch.validate(full=True)
    except Malformed:
        raise
    except Exception as exc:  # whatever Arrow or FlatBuffers raise
        raise Malformed("its table is not valid Arrow") from exc
    if any(batch.column(i).null_count for i in strict):
        raise Malformed("its table has NULLs where none are expected")
    return pa.Table.from_batches([batch])


def _is_compressed(metadata: bytes) -> bool:
    """Return whether a record batch's message says that its buffers are compressed.

    Arrow has verified the offsets in the message (a FlatBuffer) while reading it, and allocates
    what a compressed buffer announces before it looks at the rest.
    """
    message = struct.unpack_from("<I", metadata)[0]
    header = _field(metadata, message, HEADER_FIELD)
    if header is None:
        return True  # the batch is missing
    batch = header + struct.unpack_from("<I", metadata, header)[0]
    return _field(metadata, batch, COMPRESSION_FIELD) is not None


def _field(content: bytes, table: int, number: int) -> int | None:
    """Return where a field of a FlatBuffer's table is, or None if it is absent.

    https://flatbuffers.dev/internals/#tables
    """
    vtable = table - struct.unpack_from("<i", content, table)[0]
    size = struct.unpack_from("<H", content, vtable)[0]
    entry = 4 + 2 * number
    offset = struct.unpack_from("<H", content, vtable + entry)[0] if entry + 2 <= size else 0
    return table + offset if offset else None
