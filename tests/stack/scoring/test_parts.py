"""A stream is scored in parts, and only the rows that have no part are read again."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from google.cloud.bigquery_storage_v1 import types
from sklearn.linear_model import LinearRegression

from mlsys.errors import Conflict, RunInterrupted, TryAgain
from mlsys.local.stack import LocalStack
from scoring_cases import Lab, unique
from workers.scoring.engines.run import execute
from workers.scoring.planning.find_run import Prepared, prepare
from workers.scoring.planning.model_pin import load_pinned
from workers.scoring.request.parsed import MaxRejects
from workers.scoring.shards import read_session, shard
from workers.scoring.shards.chain import Chain
from workers.scoring.shards.part import read_footers
from workers.scoring.shards.read_session import current_session
from workers.scoring.shards.scorer import Scorer
from workers.scoring.shards.shard import score_shard

pytestmark = pytest.mark.usefixtures("environment")

PART = 1_000
ROWS = 4 * PART + 500
DATA = pd.DataFrame(np.random.default_rng(1).random((ROWS, 2)), columns=["a", "b"])
DATA = DATA.assign(id=range(ROWS))
LONGER = pd.DataFrame({"a": 1.0, "b": np.arange(70_000) / 7, "id": range(70_000)})
MODEL = LinearRegression().fit(DATA[["a", "b"]], DATA["a"] * DATA["b"])


class Reads:
    """What is requested of the Storage Read API, and how many rows it sends."""

    def __init__(self, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
        self.client = lab.clients.bigquery_read
        self.create, self.read = self.client.create_read_session, self.client.read_rows
        self.offsets: list[int] = []
        self.rows = 0
        self.added = 0  # empty streams after the others
        self.without_schema = False
        self.short = 0  # streams that end after their first message
        monkeypatch.setattr(self.client, "create_read_session", self.open)
        monkeypatch.setattr(self.client, "read_rows", self.read_rows)

    def open(self, request: types.CreateReadSessionRequest | None = None, **options: Any) -> Any:
        if request is None:  # the test's own
            return self.create(**options)
        self.requested = (request.preferred_min_stream_count, request.max_stream_count)
        opened = self.create(request, **options)
        for number in range(self.added):
            opened.streams.append(types.ReadStream(name=f"{opened.name}/streams/empty{number}"))
        return opened

    def read_rows(self, stream: str, offset: int | None = None, **options: Any) -> Iterator[Any]:
        if offset is None:  # the test's own
            yield from self.read(stream, **options)
            return
        self.offsets.append(offset)
        if "/streams/empty" in stream:
            return
        for message in self.read(stream, offset):
            if self.without_schema:
                message.arrow_schema.serialized_schema = b""
            self.rows += message.row_count
            yield message
            if self.short:
                self.short -= 1
                return


@pytest.fixture(scope="module")
def lab(stack: LocalStack) -> Lab:
    return Lab(stack)


@pytest.fixture
def model(lab: Lab) -> str:
    return lab.upload(MODEL, DATA[["a", "b"]])


@pytest.fixture(scope="module")
def table(lab: Lab) -> str:
    """Return a table of one stream: the local BigQuery splits none below 1 MB."""
    return lab.put(DATA)


@pytest.fixture
def reads(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Reads:
    monkeypatch.setattr(read_session, "PART_ROWS", PART)
    return Reads(lab, monkeypatch)


def planned(lab: Lab, table: str, model: str, **more: str) -> tuple[Prepared, dict[str, str]]:
    params = lab.params(table, model, **more)
    return prepare(lab.clients, lab.request(params), unique("parts")), params


def stopped_after(parts: int, prepared: Prepared) -> Callable[[], bool]:
    return lambda: len(prepared.store.parts(0)) >= parts


def stop_after(lab: Lab, parts: int, prepared: Prepared) -> dict[str, int]:
    """Interrupt the run after `parts` parts; return their generations."""
    with pytest.raises(RunInterrupted):
        execute(lab.clients, prepared, stopping=stopped_after(parts, prepared))
    return {name: blob.generation for name, blob in prepared.store.parts(0).items()}


def resumed(lab: Lab, prepared: Prepared) -> Any:
    prepared.close()
    return execute(lab.clients, dataclasses.replace(prepared, model=None))


def assert_scored(lab: Lab, params: dict[str, str], data: pd.DataFrame = DATA) -> None:
    rows = lab.rows(params["output_table"])
    assert rows["id"].tolist() == data["id"].tolist()
    np.testing.assert_array_equal(rows["prediction"], MODEL.predict(data[["a", "b"]]))


def test_a_resumed_stream_is_read_after_its_last_part(
    lab: Lab, table: str, model: str, reads: Reads
) -> None:
    prepared, params = planned(lab, table, model)
    kept = stop_after(lab, 2, prepared)
    assert sorted(kept) == [f"parts/0/00000-{n * PART:012d}.parquet" for n in range(2)]
    reads.rows = 0
    result = resumed(lab, prepared)
    assert reads.offsets == [0, 2 * PART]
    assert reads.rows == ROWS - 2 * PART
    parts = prepared.store.parts(0)
    assert {name: parts[name].generation for name in kept} == kept
    assert (result.shards, result.streams, result.rows_read) == (5, 1, ROWS)
    footers = read_footers(parts[name] for name in sorted(parts))
    assert [f.offset for f in footers] == [n * PART for n in range(5)]
    assert [f.last for f in footers] == [False] * 4 + [True]
    assert_scored(lab, params)


@pytest.mark.slow
@pytest.mark.parametrize("rows", [PART, 2 * PART])
def test_rows_that_end_at_a_boundary_need_no_empty_part(
    lab: Lab, model: str, reads: Reads, rows: int
) -> None:
    prepared, params = planned(lab, lab.put(DATA[:rows]), model)
    assert execute(lab.clients, prepared).shards == rows // PART
    parts = prepared.store.parts(0)
    footers = read_footers(parts[name] for name in sorted(parts))
    assert [f.last for f in footers] == [*([False] * (rows // PART - 1)), True]
    assert reads.offsets == [0]
    assert_scored(lab, params, DATA[:rows])


@pytest.mark.slow
def test_empty_streams_and_messages_without_a_schema_are_read(
    lab: Lab, table: str, model: str, reads: Reads
) -> None:
    reads.added, reads.without_schema = 2, True
    prepared, params = planned(lab, table, model, where="id < 1500")
    result = execute(lab.clients, prepared)
    assert (result.streams, result.streams_requested) == (3, reads.requested[1])
    assert (result.shards, result.rows) == (4, 1_500)
    assert_scored(lab, params, DATA[:1_500])


def test_an_input_without_rows_has_one_empty_part(
    lab: Lab, table: str, model: str, reads: Reads
) -> None:
    prepared, params = planned(lab, table, model, where="id < 0")
    result = execute(lab.clients, prepared)
    assert (result.streams, result.shards, result.rows) == (0, 1, 0)
    assert reads.offsets == []
    assert lab.count(params["output_table"]) == 0


def test_a_deleted_part_is_scored_again_and_the_parts_behind_it_are_skipped(
    lab: Lab, table: str, model: str, reads: Reads
) -> None:
    prepared, params = planned(lab, table, model)
    stop_after(lab, 4, prepared)
    parts = prepared.store.parts(0)
    parts[prepared.store.part_name(0, 0, PART)].delete(timeout=30)
    kept = {n: b.generation for n, b in prepared.store.parts(0).items()}
    resumed(lab, prepared)
    assert reads.offsets == [0, PART, 4 * PART]
    parts = prepared.store.parts(0)
    assert {name: parts[name].generation for name in kept} == kept
    assert_scored(lab, params)


def test_a_try_skips_the_parts_that_another_one_has_written_meanwhile(
    lab: Lab, table: str, model: str, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard, "LOOK_EVERY", 1)
    prepared, params = planned(lab, table, model)
    session = current_session(lab.clients, prepared.store, prepared.plan)
    plan = prepared.plan
    scorer = Scorer(plan, lambda: load_pinned(lab.clients, plan.model), prepared.model)
    args = (lab.clients, prepared.store, session, Chain(0), scorer, MaxRejects())
    twins: list[int] = []

    def twin_is_faster(footer: Any) -> None:
        if not twins:
            twins.append(footer.offset)
            execute(lab.clients, dataclasses.replace(prepared, model=None))

    counts = score_shard(*args, on_part=twin_is_faster)
    scorer.close()
    assert counts.read == PART
    assert_scored(lab, params)


@pytest.mark.slow
def test_slow_parts_are_closed_between_batches(
    lab: Lab, table: str, model: str, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard, "PART_SECONDS", 0.0)
    monkeypatch.setattr(shard, "batch_rows", lambda *_: 300)
    prepared, params = planned(lab, table, model)
    stop_after(lab, 6, prepared)
    resumed(lab, prepared)
    parts = prepared.store.parts(0)
    footers = read_footers(parts[name] for name in sorted(parts))
    of_a_part = [300, 300, 300, 100]
    assert [f.counts.read for f in footers] == [*(of_a_part * 4), 300, 200]
    assert_scored(lab, params)


@pytest.fixture(scope="module")
def longer(lab: Lab) -> str:
    """Return a table whose stream comes in two messages."""
    return lab.put(LONGER)


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 2])
def test_a_stream_that_ends_early_publishes_nothing(
    lab: Lab, longer: str, model: str, reads: Reads, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    monkeypatch.setattr(read_session, "PART_ROWS", 50_000)
    monkeypatch.setattr(read_session, "streams_to_request", lambda _: (1, 1))
    prepared, params = planned(lab, longer, model)
    reads.short = times
    with pytest.raises(TryAgain, match=r"sent [\d,]+ of 70,000 rows"):
        execute(lab.clients, prepared)
    if times == 2:
        with pytest.raises(Conflict, match="run_id of your own"):
            resumed(lab, prepared)
        assert not lab.exists(params["output_table"])
        return
    result = resumed(lab, prepared)
    assert result.rows == len(LONGER)
    assert "rows were read again" in " ".join(result.warnings)
    assert lab.count(params["output_table"]) == len(LONGER)


@pytest.mark.slow
def test_rows_read_twice_publish_nothing(
    lab: Lab, table: str, model: str, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that ignores the offset sends rows again that have parts."""
    prepared, params = planned(lab, table, model)
    stop_after(lab, 2, prepared)
    read = reads.read
    with monkeypatch.context() as patch:
        patch.setattr(reads, "read", lambda stream, _: read(stream, 0))
        with pytest.raises(TryAgain, match=f"sent {ROWS + 2 * PART:,} of {ROWS:,} rows"):
            resumed(lab, prepared)
    assert resumed(lab, prepared).rows == ROWS
    assert_scored(lab, params)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_two_million_rows_in_one_stream(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    rows = 2_000_000
    data = pd.DataFrame(np.random.default_rng(2).random((rows, 2)), columns=["a", "b"])
    data = data.assign(id=range(rows))
    reads = Reads(lab, monkeypatch)
    monkeypatch.setattr(read_session, "streams_to_request", lambda _: (1, 1))
    prepared, params = planned(lab, lab.put(data), model)
    stop_after(lab, 3, prepared)
    reads.rows = 0
    result = resumed(lab, prepared)
    assert reads.rows == rows - 3 * read_session.PART_ROWS
    assert (result.streams, result.shards) == (1, 8)
    assert_scored(lab, params, data)
