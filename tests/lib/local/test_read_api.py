"""The layer's Storage Read API over the wire: each rule of it fires, by Google's own client."""

import datetime as dt
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from google.api_core import exceptions
from google.cloud.bigquery_storage_v1 import types

from mlsys.cloud.tables import TableRef
from mlsys.local.stack import LocalStack
from rules import Rules
from rules.conduct import FAULTS, FIRST_MESSAGES, Fault
from scoring_cases import Lab

ROWS = 5_000


@pytest.fixture(scope="module")
def rules(stack: LocalStack) -> Iterator[Rules]:
    with Rules(stack) as made:
        yield made


@pytest.fixture(scope="module")
def lab(stack: LocalStack) -> Lab:
    return Lab(stack)


@pytest.fixture(scope="module")
def table(lab: Lab) -> str:
    words = [f"{'x' * 300}{n}" for n in range(ROWS)]  # enough bytes for several streams
    return lab.put(pd.DataFrame({"id": np.arange(ROWS), "a": np.arange(ROWS) / 7, "word": words}))


def opened(
    rules: Rules,
    table: str,
    streams: int = 1,
    snapshot: dt.datetime | None = None,
    preferred: int = 0,
    **options: Any,
) -> types.ReadSession:
    """Open a session on the table, by default for its column `id`."""
    options.setdefault("selected_fields", ["id"])
    session = types.ReadSession(
        table=TableRef.parse(table).path, data_format=types.DataFormat.ARROW, read_options=options
    )
    if snapshot:
        session.table_modifiers.snapshot_time = snapshot
    request = types.CreateReadSessionRequest(
        parent=f"projects/{rules.settings.project}",
        read_session=session,
        max_stream_count=streams,
        preferred_min_stream_count=preferred,
    )
    return rules.clients.bigquery_read.create_read_session(request, timeout=30)


def messages(rules: Rules, stream: Any, offset: int = 0) -> list[types.ReadRowsResponse]:
    """Return the messages of a stream."""
    name = getattr(stream, "name", stream)
    return list(rules.clients.bigquery_read.read_rows(name, offset, timeout=30))


def ids(session: types.ReadSession, received: list[types.ReadRowsResponse]) -> list[int]:
    """Return the values of `id` in the messages."""
    schema = pa.ipc.read_schema(pa.py_buffer(session.arrow_schema.serialized_schema))
    return [
        value
        for message in received
        if message.row_count
        for value in pa.ipc.read_record_batch(
            pa.py_buffer(message.arrow_record_batch.serialized_record_batch), schema
        )["id"].to_pylist()
    ]


@pytest.mark.parametrize(("most", "count"), [(1, 1), (3, 3), (None, 4), (50, 4)])
def test_a_session_has_at_most_the_streams_that_the_server_allows(
    rules: Rules, table: str, most: int | None, count: int
) -> None:
    with rules.read_api.choosing(streams=most):
        session = opened(rules, table, streams=4, preferred=2, selected_fields=["id", "word"])
    assert len(session.streams) == count
    record = rules.read_api.sessions[session.name]
    assert (record.wanted, record.preferred, len(record.streams)) == (4, 2, count)
    read = [value for s in session.streams for value in ids(session, messages(rules, s))]
    assert sorted(read) == list(range(ROWS))


def test_a_small_table_has_one_stream_and_an_empty_one_none(rules: Rules, table: str) -> None:
    assert len(opened(rules, table, streams=9).streams) == 1
    assert len(opened(rules, table, row_restriction="id < 0").streams) == 0


def test_streams_are_lopsided_or_empty_and_keep_their_rows(rules: Rules, table: str) -> None:
    with rules.read_api.choosing(streams=3, shares=(20, 1, 0)):
        session = opened(rules, table, streams=3)
        other = opened(rules, table, streams=3)
    read = [ids(session, messages(rules, s)) for s in session.streams]
    assert len(read[0]) > 5 * len(read[1])
    assert messages(rules, session.streams[2]) == []
    assert sorted(read[0] + read[1]) == list(range(ROWS))
    for _ in range(6):  # the rows of other sessions are kept instead
        messages(rules, opened(rules, table).streams[0])
    assert [ids(session, messages(rules, s)) for s in session.streams] == read
    assert ids(other, messages(rules, other.streams[0])) != read[0]


def test_an_offset_skips_exactly_the_rows_before_it(rules: Rules, table: str) -> None:
    with rules.read_api.choosing(message_rows=700):
        session = opened(rules, table)
        [stream] = session.streams
        whole = messages(rules, stream)
        for offset in (1, 699, 700, 2_500, ROWS - 1):
            part = messages(rules, stream, offset)
            assert ids(session, part) == ids(session, whole)[offset:]
            assert part[0].arrow_schema.serialized_schema
        sizes = {tuple(m.row_count for m in messages(rules, stream)) for _ in range(4)}
        assert len(sizes) == 4
        assert max(max(each) for each in sizes) <= 700
    last = rules.read_api.reads[-5]
    assert (last.stream, last.offset) == (stream.name, ROWS - 1)


def test_an_offset_at_the_end_has_no_rows_and_one_beyond_it_is_refused(
    rules: Rules, table: str
) -> None:
    [stream] = opened(rules, table).streams
    assert messages(rules, stream, ROWS) == []
    for offset in (ROWS + 1, -1):
        with pytest.raises(exceptions.FailedPrecondition, match="has not been allocated yet"):
            messages(rules, stream, offset)


def test_a_session_expires_also_in_the_middle_of_a_stream(rules: Rules, table: str) -> None:
    with rules.read_api.choosing(lasts=0.6, message_rows=100, message_seconds=0.05):
        session = opened(rules, table)
        assert abs(session.expire_time.timestamp() - time.time()) < 2
        with pytest.raises(exceptions.FailedPrecondition, match="session expired at 20"):
            messages(rules, session.streams[0])
        assert rules.read_api.reads[-1].sent
        with pytest.raises(exceptions.FailedPrecondition, match="session expired at 20"):
            messages(rules, session.streams[0])
    left = opened(rules, table).expire_time - dt.datetime.now(dt.UTC)
    assert dt.timedelta(hours=5.9) < left < dt.timedelta(hours=6.1)
    with pytest.raises(exceptions.NotFound):
        messages(rules, f"{session.name}x/streams/0")


@pytest.mark.parametrize("first", FIRST_MESSAGES)
def test_a_first_message_may_lack_its_schema_or_rows(rules: Rules, table: str, first: str) -> None:
    with rules.read_api.choosing(first=first, message_rows=2_000):
        session = opened(rules, table)
        received = messages(rules, session.streams[0])
    head = received[0]
    has = (bool(head.arrow_schema.serialized_schema), head.row_count > 0)
    assert has == ("schema" in first, "rows" in first)
    with_schema = sum(bool(m.arrow_schema.serialized_schema) for m in received)
    assert with_schema == (first != "rows")
    assert ids(session, received) == list(range(ROWS))


@pytest.mark.parametrize("kind", ["unavailable", "reset", "throttled"])
def test_the_client_resumes_a_broken_stream_at_its_offset(
    rules: Rules, table: str, kind: str
) -> None:
    at = [1, 1_700, ROWS - 1] if kind == "reset" else [0, 1, 1_700, ROWS - 1]
    faults = [Fault(kind, after=after) for after in at]
    with rules.read_api.choosing(faults=faults, message_rows=600):
        session = opened(rules, table)
        before = len(rules.read_api.reads)
        assert ids(session, messages(rules, session.streams[0])) == list(range(ROWS))
    offsets = [read.offset for read in rules.read_api.reads[before:]]
    assert offsets == [0, *at]


@pytest.mark.parametrize(
    ("kind", "error"),
    [("exhausted", exceptions.ResourceExhausted), ("denied", exceptions.PermissionDenied)],
)
def test_the_client_does_not_resume_after_other_errors(
    rules: Rules, table: str, kind: str, error: type[Exception]
) -> None:
    with rules.read_api.choosing(faults=[Fault(kind, after=900)]):
        session = opened(rules, table)
        with pytest.raises(error):
            messages(rules, session.streams[0])
    assert rules.read_api.reads[-1].sent == [900]


def test_a_stream_can_end_early_and_a_message_can_be_cut(rules: Rules, table: str) -> None:
    with rules.read_api.choosing(faults=[Fault("short", 900), Fault("truncated", 900)]):
        session = opened(rules, table)
        assert ids(session, messages(rules, session.streams[0])) == list(range(900))
        received = messages(rules, session.streams[0])
        with pytest.raises((pa.ArrowInvalid, OSError)):
            ids(session, received)
    assert set(FAULTS) >= {"short", "truncated"}


def test_a_fault_can_belong_to_one_stream_and_come_several_times(rules: Rules, table: str) -> None:
    fault = Fault("exhausted", times=2, stream=1)
    with rules.read_api.choosing(streams=2, faults=[fault]):
        session = opened(rules, table, streams=2)
        messages(rules, session.streams[0])
        for _ in range(2):
            with pytest.raises(exceptions.ResourceExhausted):
                messages(rules, session.streams[1])
        assert messages(rules, session.streams[1])


def test_columns_come_in_the_tables_order_and_compressed(rules: Rules, table: str) -> None:
    codec = types.ArrowSerializationOptions.CompressionCodec.LZ4_FRAME
    options = types.ArrowSerializationOptions(buffer_compression=codec)
    sizes = []
    for more in ({}, {"arrow_serialization_options": options}):
        session = opened(rules, table, selected_fields=["word", "id"], **more)
        schema = pa.ipc.read_schema(pa.py_buffer(session.arrow_schema.serialized_schema))
        assert schema.names == ["id", "word"]
        [message] = messages(rules, session.streams[0])
        sizes.append(len(message.arrow_record_batch.serialized_record_batch))
        assert ids(session, [message]) == list(range(ROWS))
    assert sizes[1] < sizes[0] / 4


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"row_restriction": "id = (SELECT 1)"}, "Row filter for table"),
        ({"row_restriction": "nothing > 1"}, "Row filter for table"),
        ({"row_restriction": "id >"}, "Row filter for table"),
        ({"row_restriction": "id > 1) OR (TRUE"}, "Row filter for table"),
        ({"selected_fields": ["b"]}, "do not exist in the table schema: b"),
        ({"streams": 1, "preferred": 2}, "max_stream_count"),
        ({"snapshot": dt.datetime(2020, 1, 1, tzinfo=dt.UTC)}, "older than time travel"),
    ],
)
def test_a_session_is_refused_with_bigquerys_words(
    rules: Rules, table: str, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(exceptions.InvalidArgument, match=words):
        opened(rules, table, **options)


def test_a_missing_table_is_not_found(rules: Rules, table: str) -> None:
    with pytest.raises(exceptions.NotFound):
        opened(rules, f"{table}_missing")


def test_a_recreated_table_has_no_earlier_snapshot(rules: Rules, lab: Lab) -> None:
    data = pd.DataFrame({"id": range(3)})
    table = lab.put(data)
    then = dt.datetime.now(dt.UTC)
    assert opened(rules, table, snapshot=then)
    time.sleep(0.002)
    lab.clients.bigquery.delete_table(table, timeout=30)
    lab.put(data, table)
    with pytest.raises(exceptions.InvalidArgument, match="it was created at"):
        opened(rules, table, snapshot=then)


def test_a_clock_that_is_ahead_makes_snapshots_of_the_future(rules: Rules, table: str) -> None:
    with rules.read_api.choosing(clock_ahead=5.0):
        now = dt.datetime.now(dt.UTC)
        with pytest.raises(exceptions.InvalidArgument, match="in the future"):
            opened(rules, table, snapshot=now)
        assert opened(rules, table)


def test_row_access_policies_without_full_access_deny_reading(rules: Rules, lab: Lab) -> None:
    table = lab.put(pd.DataFrame({"id": range(3)}))

    def policy(name: str, condition: str) -> None:
        sql = f"CREATE ROW ACCESS POLICY {name} ON `{table}` GRANT TO ('allUsers') FILTER USING "
        lab.clients.bigquery.query(sql + f"({condition})").result(timeout=30)

    policy("some", "id > 1")
    with pytest.raises(exceptions.PermissionDenied, match="full access"):
        opened(rules, table)
    policy("all_rows", "TRUE")
    assert opened(rules, table)


def test_a_required_partition_filter_is_required(rules: Rules, lab: Lab) -> None:
    name = lab.name()
    lab.clients.bigquery.query(
        f"CREATE TABLE `{name}` (day DATE, other DATE) PARTITION BY day "
        "OPTIONS (require_partition_filter = TRUE)"
    ).result(timeout=30)
    lab.clients.bigquery.query(f"INSERT `{name}` VALUES ('2026-02-01', NULL)").result(timeout=30)
    for where in ("", "other > '2026-01-01'"):
        with pytest.raises(exceptions.InvalidArgument, match="'day' that can be used for"):
            opened(rules, name, row_restriction=where, selected_fields=["day"])
    assert opened(rules, name, row_restriction="day > '2026-01-01'", selected_fields=["day"])


def test_a_held_call_waits(rules: Rules, table: str) -> None:
    session = opened(rules, table)
    with ThreadPoolExecutor(1) as pool, rules.holding("ReadRows") as held:
        reading = pool.submit(messages, rules, session.streams[0])
        assert held.reached.wait(10)
        time.sleep(0.1)
        assert not reading.done()
        held.release.set()
        assert sum(message.row_count for message in reading.result(30)) == ROWS


def test_other_methods_are_unimplemented(rules: Rules, table: str) -> None:
    session = opened(rules, table)
    with pytest.raises(exceptions.MethodNotImplemented):
        rules.clients.bigquery_read.split_read_stream(
            types.SplitReadStreamRequest(name=session.streams[0].name, fraction=0.5), timeout=30
        )
