"""Tables in shared memory, and the validation of answers there."""

import datetime as dt
import os
import struct
from decimal import Decimal
from random import Random
from typing import Any

import pyarrow as pa
import pytest

from workers.sandbox.channel import Closed, Malformed
from workers.sandbox.memory import Mapped, Region
from workers.sandbox.tables import (
    END,
    Expected,
    one_batch,
    read_answer,
    stream_size,
    write_stream,
)

TABLE = pa.table(
    {
        "float": [1.5, None, 3.0],
        "text": ["a", "ö", None],
        "bytes": [b"a", None, b""],
        "int": pa.array([1, 2, None], pa.int64()),
        "flag": [True, None, False],
        "time": pa.array([dt.datetime(2024, 1, 2, tzinfo=dt.UTC)] * 3, pa.timestamp("us", "UTC")),
        "number": pa.array([Decimal("1.5"), None, Decimal(2)], pa.decimal128(38, 9)),
        "list": pa.array([[1.0], None, []], pa.list_(pa.float64())),
        "struct": pa.array([{"a": 1}, None, {"a": None}], pa.struct([("a", pa.int64())])),
    }
)
EXPECTED = Expected(TABLE.schema, 3)
NUMBERS = pa.table({"p": [1.0, 2.0, 3.0]})
NUMBER = Expected(NUMBERS.schema, 3)


def stream(table: pa.Table, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    settings = pa.ipc.IpcWriteOptions(**options)
    with pa.ipc.new_stream(sink, table.schema, options=settings) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def read(content: bytes, expected: Expected) -> pa.Table:
    return read_answer(pa.py_buffer(content), expected)


@pytest.mark.parametrize(
    "table", [TABLE, TABLE.slice(1, 1), TABLE.slice(0, 0), pa.concat_tables([TABLE] * 3)]
)
def test_tables_are_exchanged_both_ways(table: pa.Table) -> None:
    region = Region()
    child = Mapped(region.fd, writable=True)
    for _ in range(2):
        assert child.table(region.put(table)).equals(table)
        whole = one_batch(table)
        size = stream_size(whole)
        write_stream(whole, child.view(size))
        answer = read_answer(region.copy(size), Expected(table.schema, table.num_rows))
        assert answer.equals(table)
    region.close()


def test_a_region_grows_and_earlier_views_stay_valid() -> None:
    region = Region()
    child = Mapped(region.fd, writable=False)
    first = child.table(region.put(NUMBERS))
    assert not any(buffer.is_mutable for buffer in first["p"].chunk(0).buffers() if buffer)
    large = pa.table({"x": range(10**6)})
    assert child.table(region.put(large)).num_rows == 10**6
    assert first.num_rows == 3  # the next table has overwritten its values
    assert region.size % 2**20 == 0
    region.close()
    with pytest.raises(Closed):
        region.put(NUMBERS)
    region.close()


def test_a_region_cannot_shrink_under_its_readers() -> None:
    region = Region()
    region.grow(10)
    with pytest.raises(PermissionError):
        os.ftruncate(region.fd, 0)
    region.close()


def test_a_copy_beyond_the_end_is_malformed() -> None:
    region = Region()
    with pytest.raises(Malformed, match="ends early"):
        region.copy(10)
    region.close()


def test_a_copy_does_not_change_with_the_memory() -> None:
    region = Region()
    size = region.put(NUMBERS)
    copy = region.copy(size)
    os.pwrite(region.fd, bytes(size), 0)
    assert read_answer(copy, NUMBER).equals(NUMBERS)
    region.close()


@pytest.mark.parametrize(
    "kind",
    [
        pa.dictionary(pa.int32(), pa.string()),
        pa.string_view(),
        pa.list_(pa.dictionary(pa.int32(), pa.string())),
        pa.run_end_encoded(pa.int32(), pa.int64()),
        pa.dense_union([pa.field("a", pa.int64())]),
        pa.map_(pa.string(), pa.int64()),
        pa.bool8(),
    ],
    ids=str,
)
def test_types_with_data_beyond_their_rows_cannot_be_expected(kind: pa.DataType) -> None:
    with pytest.raises(ValueError, match="do not cross"):
        Expected(pa.schema([("a", kind)]), 1)


def test_schema_metadata_cannot_be_expected_or_sent() -> None:
    with pytest.raises(ValueError, match="do not cross"):
        Expected(NUMBERS.schema.with_metadata({"a": "b"}), 1)
    with pytest.raises(ValueError, match="do not cross"):
        Expected(pa.schema([pa.field("a", pa.int64(), metadata={"a": "b"})]), 1)
    assert one_batch(NUMBERS.replace_schema_metadata({"a": "b"})).schema.metadata is None


OTHERS: dict[str, bytes] = {
    "nothing": b"",
    "only the schema": NUMBERS.schema.serialize().to_pybytes(),
    "no batch": stream(NUMBERS.slice(0, 0).slice(0, 0)),
    "another name": stream(NUMBERS.rename_columns(["q"])),
    "another type": stream(pa.table({"p": [1, 2, 3]})),
    "one more column": stream(NUMBERS.append_column("q", [[1, 2, 3]])),
    "not nullable": stream(NUMBERS.cast(pa.schema([pa.field("p", pa.float64(), False)]))),
    "metadata": stream(NUMBERS.replace_schema_metadata({"a": "b"})),
    "a dictionary": stream(pa.table({"p": pa.array(["a"] * 3).dictionary_encode()})),
    "nested": stream(pa.table({"p": pa.array([[[[[[1.0]]]]]] * 3)})),
    "fewer rows": stream(NUMBERS.slice(1)),
    "more rows": stream(pa.concat_tables([NUMBERS, NUMBERS]).combine_chunks()),
    "two batches": stream(pa.concat_tables([NUMBERS.slice(0, 1), NUMBERS.slice(1)])),
    "compressed": stream(pa.table({"p": [0.0] * 3}), compression="zstd"),
    "compressed with LZ4": stream(pa.table({"p": [0.0] * 3}), compression="lz4"),
    "bytes after the end": stream(NUMBERS) + b"\0" * 8,
    "no end": stream(NUMBERS).removesuffix(END),
    "a file": b"ARROW1\0\0" + stream(NUMBERS),
}


@pytest.mark.parametrize("content", OTHERS.values(), ids=OTHERS)
def test_other_streams_than_the_expected_one_are_malformed(content: bytes) -> None:
    with pytest.raises(Malformed):
        read(content, NUMBER)


def test_a_decompression_bomb_is_not_decompressed() -> None:
    content = bytearray(stream(pa.table({"p": [0.0] * 3}), compression="zstd"))
    at = content.index(b"\x28\xb5\x2f\xfd") - 8 if b"\x28\xb5\x2f\xfd" in content else len(content)
    content[at : at + 8] = struct.pack("<q", 2**46)  # the claimed decompressed size
    with pytest.raises(Malformed, match="uncompressed"):
        read(bytes(content), NUMBER)


def test_nulls_where_none_are_expected_are_malformed() -> None:
    strict = pa.schema([pa.field("p", pa.float64(), nullable=False)])
    table = pa.Table.from_batches(
        [pa.RecordBatch.from_arrays([pa.array([1.0, None])], schema=strict)]
    )
    with pytest.raises(Malformed, match="NULL"):
        read(stream(table), Expected(strict, 2))


def test_offsets_and_text_are_validated() -> None:
    """Offsets outside their buffer, decreasing ones, and those that split a character."""
    table = pa.table({"t": ["ab", "cd", "öö"]})
    good = stream(table)
    offsets = struct.pack("<4i", 0, 2, 4, 8)
    at = good.index(offsets)
    expected = Expected(table.schema, 3)
    assert read(good, expected).equals(table)
    for bad in [(0, 2, 4, 2**30), (0, 4, 2, 8), (-1, 2, 4, 8), (0, 2, 5, 8), (2**31 - 1,) * 4]:
        content = good[:at] + struct.pack("<4i", *bad) + good[at + len(offsets) :]
        with pytest.raises(Malformed):
            read(content, expected)


@pytest.mark.parametrize(("table", "expected"), [(TABLE, EXPECTED), (NUMBERS, NUMBER)])
def test_damaged_streams_are_malformed_or_valid(table: pa.Table, expected: Expected) -> None:
    """Whatever bytes change, the interpreter survives, and a table that is accepted is valid."""
    good, random = stream(table), Random(18)
    start = expected.schema.serialize().size
    for _ in range(3000):
        content = bytearray(good)
        for _ in range(random.choice((1, 1, 1, 2, 8))):
            at = random.randrange(start, len(good))
            content[at] = random.choice((0, 1, 0x7F, 0x80, 0xFF, random.randrange(256)))
        try:
            answer = read(bytes(content), expected)
        except Malformed:
            continue
        assert answer.num_rows == expected.rows
        times = [f.name for f in answer.schema if pa.types.is_timestamp(f.type)]
        answer.drop_columns(times).to_pydict()  # a time may be beyond Python's range


@pytest.mark.parametrize("cut", range(0, len(stream(NUMBERS)), 8))
def test_streams_that_end_early_are_malformed(cut: int) -> None:
    with pytest.raises(Malformed):
        read(stream(NUMBERS)[:cut], NUMBER)
