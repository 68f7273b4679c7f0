"""The batches of a stream are cut by the place of their rows, wherever a reader begins."""

import base64
from collections.abc import Iterator
from random import Random
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from mlsys.errors import SessionOver
from workers.scoring.shards.read_rows import read_batches
from workers.scoring.shards.session import Session

ROWS, PART = 1_000, 256
TABLE = pa.table({"id": range(ROWS), "c0": [float(n) for n in range(ROWS)]})
SCHEMA = TABLE.schema.serialize().to_pybytes()


class Streams:
    """A client of the Storage Read API that packs a stream's rows into messages at random."""

    def __init__(self, seed: int, schema: bytes = SCHEMA, empty: int = 0) -> None:
        self.random, self.schema, self.empty = Random(seed), schema, empty

    def read_rows(self, stream: str, offset: int) -> Iterator[Any]:
        for _ in range(self.empty):
            yield self.message(TABLE.slice(0, 0), self.schema)
        first = not self.empty
        while offset < ROWS:
            rows = self.random.randint(1, 300)
            yield self.message(TABLE.slice(offset, rows), self.schema if first else b"")
            first, offset = False, offset + rows

    def message(self, rows: pa.Table, schema: bytes) -> Any:
        content = b""
        if rows.num_rows:
            [batch] = rows.combine_chunks().to_batches()
            content = batch.serialize().to_pybytes()
        return SimpleNamespace(
            arrow_schema=SimpleNamespace(serialized_schema=schema),
            arrow_record_batch=SimpleNamespace(serialized_record_batch=content),
            row_count=rows.num_rows,
        )


def session(schema: bytes = b"") -> Session:
    return Session(0, ("s",), None, ROWS, PART, schema=base64.b64encode(schema).decode())


def read(streams: Streams, offset: int = 0, most: int = 100, opened: Session | None = None) -> Any:
    clients: Any = SimpleNamespace(bigquery_read=streams)
    return list(read_batches(clients, opened or session(), 0, offset, most))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("most", [7, 64, 100, 256, 65_536])
def test_a_reader_that_resumes_cuts_the_batches_as_one_that_did_not(seed: int, most: int) -> None:
    whole = read(Streams(seed), 0, most)
    assert pa.concat_tables(whole)["id"].to_pylist() == list(range(ROWS))
    starts = [batch["id"][0].as_py() for batch in whole]
    assert all(start in starts for start in range(0, ROWS, PART))
    for number, start in enumerate(starts):
        resumed = read(Streams(seed + 100), start, most)
        assert [b.num_rows for b in resumed] == [b.num_rows for b in whole[number:]]
        assert pa.concat_tables(resumed) == TABLE.slice(start)


def test_an_empty_stream_has_no_batches() -> None:
    assert read(Streams(0), ROWS) == []
    assert read(Streams(0, empty=2), ROWS) == []


@pytest.mark.parametrize("empty", [0, 2])
def test_rows_without_a_schema_have_the_sessions(empty: int) -> None:
    """BigQuery sends some so: https://github.com/googleapis/python-bigquery-storage/issues/733."""
    rows = read(Streams(0, schema=b"", empty=empty), opened=session(SCHEMA))
    assert pa.concat_tables(rows) == TABLE


def test_rows_of_a_session_that_an_older_release_opened_need_a_schema() -> None:
    with pytest.raises(SessionOver, match="schema"):
        read(Streams(0, schema=b""))


def test_the_schema_of_a_message_without_rows_counts() -> None:
    assert pa.concat_tables(read(Streams(0, empty=1))) == TABLE
