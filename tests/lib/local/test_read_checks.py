"""What the layer's Storage Read API refuses, and how it deals rows; no server is needed."""

import datetime as dt
from typing import Any

import grpc
import numpy as np
import pyarrow as pa
import pytest
from google.cloud.bigquery_storage_v1 import types

from rules.read_checks import TIME_TRAVEL, Described, why_refused
from rules.streams import MAX_STREAMS, SMALL, deal, messages, serialize, stream_count

NOW = dt.datetime(2026, 11, 28, 12, tzinfo=dt.UTC)
CREATED = NOW - dt.timedelta(days=1)
COLUMNS = ("id", "a", "day", "SUM")
RESOURCE = {
    "tableReference": {"projectId": "p", "datasetId": "d", "tableId": "t"},
    "type": "TABLE",
    "creationTime": str(int(CREATED.timestamp() * 1000)),
    "schema": {"fields": [{"name": name, "type": "INTEGER"} for name in COLUMNS]},
}
ROWS = pa.table({"id": range(10_000), "word": [f"w{i}" for i in range(10_000)]})


def refused(
    resource: dict[str, Any] | None = None,
    policies: tuple[str, ...] = (),
    snapshot: dt.datetime | None = None,
    streams: tuple[int, int] = (0, 0),
    **options: Any,
) -> tuple[grpc.StatusCode, str] | None:
    """Return the status and the words of a refusal, if the request is refused."""
    table = Described(
        RESOURCE | (resource or {}), tuple({"filterPredicate": text} for text in policies)
    )
    session = types.ReadSession(read_options=options)
    if snapshot:
        session.table_modifiers.snapshot_time = snapshot
    request = types.CreateReadSessionRequest(
        read_session=session, max_stream_count=streams[0], preferred_min_stream_count=streams[1]
    )
    refusal = why_refused(request, table, NOW)
    return None if refusal is None else (refusal.code, refusal.words)


@pytest.mark.parametrize(
    "where",
    [
        "",
        "id > 5",
        "a = 'SELECT max(x) FROM t; -- @p'",
        "a = \"it's \\\" COUNT(*)\" OR a = r'MAX('",
        "`SUM` > 1 AND `SUM`>2",
        "summary(a) > 1",
        "NOT counts (a)",
        "EXTRACT(YEAR FROM day) = 2026",
    ],
)
def test_a_filter_over_the_row_is_accepted(where: str) -> None:
    assert refused(row_restriction=where) is None


@pytest.mark.parametrize(
    "where",
    [
        "id = (SELECT MAX(id) FROM d.t)",
        "id IN (select 1)",
        "COUNT(*) > 1",
        "a > avg (a)",
        "APPROX_QUANTILES(a, 2)[OFFSET(0)] > 1",
        "HLL_COUNT.EXTRACT(a) > 1",
        "ROW_NUMBER() OVER (ORDER BY a) = 1",
        "id > 5; id > 6",
        "id > @id",
        "a = 'x' OR 'y' = (SELECT 'y')",
        "id >",
        "id > 5) OR (TRUE",
        "a = 'x",
    ],
)
def test_a_filter_with_a_subquery_or_an_aggregate_is_refused(where: str) -> None:
    code, words = refused(row_restriction=where) or (None, "")
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "Row filter for table p.d.t is invalid" in words


def test_a_filter_is_at_most_a_mebibyte() -> None:
    assert refused(row_restriction=f"a = '{'é' * 500_000}'") is None
    code, words = refused(row_restriction=f"a = '{'é' * 600_000}'") or (None, "")
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "exceeded maximum allowed length" in words


@pytest.mark.parametrize(
    ("snapshot", "words"),
    [
        (None, None),
        (NOW, None),
        (CREATED, None),
        (NOW + dt.timedelta(milliseconds=1), "in the future"),
        (CREATED - dt.timedelta(milliseconds=1), "was created"),
        (NOW - TIME_TRAVEL - dt.timedelta(seconds=1), "older than time travel"),
    ],
)
def test_a_snapshot_lies_between_the_tables_creation_and_now(
    snapshot: dt.datetime | None, words: str | None
) -> None:
    refusal = refused(snapshot=snapshot)
    assert (refusal is None) == (words is None)
    assert refusal is None or (refusal[0].name == "INVALID_ARGUMENT" and words in refusal[1])


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ([], None),
        (["ID", "a"], None),
        (["id", "b"], "do not exist in the table schema: b"),
        (["größe"], "do not exist"),
    ],
)
def test_the_selected_fields_exist(fields: list[str], word: str | None) -> None:
    refusal = refused(selected_fields=fields)
    assert (refusal and refusal[1].partition("schema: ")[2]) == (word and fields[-1])


def test_flexible_names_are_refused_where_they_are_selected() -> None:
    schema = {"fields": [{"name": "id"}, {"name": "first name"}]}
    for fields in ([], ["id"]):
        assert refused({"schema": schema}, selected_fields=fields) is None
    assert "first name" in str(refused({"schema": schema}, selected_fields=["id", "first name"]))


@pytest.mark.parametrize(
    ("policies", "code"),
    [
        ((), None),
        (("a > 1",), grpc.StatusCode.PERMISSION_DENIED),
        (("a > 1", "true"), None),
        (("(TRUE)",), None),
    ],
)
def test_row_access_policies_need_full_access(
    policies: tuple[str, ...], code: grpc.StatusCode | None
) -> None:
    refusal = refused(policies=policies)
    assert (refusal and refusal[0]) == code


@pytest.mark.parametrize("partitioning", ["timePartitioning", "rangePartitioning"])
@pytest.mark.parametrize(
    ("where", "accepted"),
    [
        ("", False),
        ("a > 1", False),
        ("a = 'day'", False),
        ("day > 1", True),
        ("`Day` > 1 AND a = 2", True),
        ("day > 1 OR a = 2", False),
        ("day = 1 OR day = 2", True),
    ],
)
def test_a_required_partition_filter_names_the_column(
    partitioning: str, where: str, accepted: bool
) -> None:
    table = {partitioning: {"field": "day"}, "requirePartitionFilter": True}
    refusal = refused(table, row_restriction=where)
    assert (refusal is None) == accepted
    assert accepted or "without a filter over column(s) 'day'" in str(refusal)
    assert refused({partitioning: {"field": "day"}}, row_restriction=where) is None


def test_a_table_partitioned_by_ingestion_time_requires_its_pseudo_columns() -> None:
    table = {"timePartitioning": {"type": "DAY", "requirePartitionFilter": True}}
    assert "'_PARTITIONTIME'" in str(refused(table))
    assert refused(table, row_restriction="_PARTITIONDATE = '2026-01-01'") is None


@pytest.mark.parametrize(
    ("kind", "accepted"),
    [("TABLE", True), ("SNAPSHOT", True), ("VIEW", False), ("EXTERNAL", False)],
)
def test_views_are_refused(kind: str, accepted: bool) -> None:
    assert (refused({"type": kind}) is None) == accepted


@pytest.mark.parametrize(
    ("streams", "accepted"),
    [((0, 5), True), ((5, 5), True), ((4, 5), False), ((-1, 0), False), ((0, -1), False)],
)
def test_the_numbers_of_streams_agree(streams: tuple[int, int], accepted: bool) -> None:
    assert (refused(streams=streams) is None) == accepted


@pytest.mark.parametrize(
    ("wanted", "preferred", "size", "most", "count"),
    [
        (4, 0, SMALL - 1, None, 1),
        (4, 0, SMALL, None, 4),
        (0, 3, SMALL, None, 3),
        (0, 0, SMALL, None, 1),
        (5_000, 0, SMALL, None, MAX_STREAMS),
        (40, 20, SMALL, 3, 3),
        (2, 0, 10, 3, 2),
        (8, 0, 10, 8, 8),
    ],
)
def test_the_number_of_streams_is_the_servers(
    wanted: int, preferred: int, size: int, most: int | None, count: int
) -> None:
    assert stream_count(wanted, preferred, size, most) == count


@pytest.mark.parametrize("streams", [1, 3, 40])
@pytest.mark.parametrize("shares", [(), (1.0,), (8, 1, 0)])
def test_each_row_is_in_one_stream_and_always_in_the_same(
    streams: int, shares: tuple[float, ...]
) -> None:
    dealt = deal(ROWS, streams, shares, "one")
    ids = np.concatenate([part["id"].to_numpy() for part in dealt])
    assert sorted(ids) == list(range(ROWS.num_rows))
    assert [p.num_rows for p in deal(ROWS, streams, shares, "one")] == [p.num_rows for p in dealt]
    if streams > 1 and len(shares) == 3:
        other = [part.num_rows for part in deal(ROWS, streams, shares, "two")]
        assert other != [part.num_rows for part in dealt]
    if shares == (8, 1, 0) and streams > 2:
        assert dealt[0].num_rows > dealt[1].num_rows
        assert all(part.num_rows == 0 for part in dealt[2::3])


@pytest.mark.parametrize("offset", [0, 1, 9_998, 10_000])
@pytest.mark.parametrize("codec", [None, "lz4"])
def test_messages_hold_the_rows_from_the_offset_on(offset: int, codec: str | None) -> None:
    sizes = []
    for seed in ("one", "two"):
        batches = list(messages(ROWS, offset, 900, 1 << 20, seed))
        sizes.append([batch.num_rows for batch in batches])
        back = [
            pa.ipc.read_record_batch(pa.py_buffer(serialize(b, codec)), ROWS.schema)
            for b in batches
        ]
        assert pa.Table.from_batches(back, ROWS.schema).equals(ROWS.slice(offset))
    assert max(sizes[0], default=0) <= 900
    assert (sizes[0] == sizes[1]) == (offset > 9_000)


def test_a_message_has_a_bounded_size() -> None:
    batches = list(messages(ROWS, 0, 10_000, 20_000, "seed"))
    assert max(batch.nbytes for batch in batches) < 25_000
    assert sum(batch.num_rows for batch in batches) == ROWS.num_rows
    assert {b.num_rows for b in messages(ROWS, 9_990, 10, 1, "seed")} == {1}
