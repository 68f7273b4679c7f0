"""Runs over streams as BigQuery has them: few, unequal, long, broken, and of sessions that end.

Each ends with every row once, bit-equal to a clean run. `long` has the sizes that take minutes.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.tree import DecisionTreeClassifier

from kill_cases import differences, table_of
from mlsys.bq import TableRef
from mlsys.errors import RunInterrupted, TryAgain
from mlsys.local.stack import LocalStack
from rules.conduct import Fault
from rules.read_api import Read, ReadAPI
from scoring_cases import Lab, unique
from strict_stack import StrictStack
from workers.scoring.engines.run import execute
from workers.scoring.journal.outcomes import Result
from workers.scoring.journal.store import RunStore
from workers.scoring.planning.find_run import prepare
from workers.scoring.shards import read_session

pytestmark = [pytest.mark.usefixtures("environment"), pytest.mark.slow]

ROWS, LONG_ROWS = 200_000, 2_000_000
FEW_ROWS = 24_000
IDS = ["id", "word", "weight"]


@dataclass
class Case:
    """A table with a model, the rows that a clean run writes, and the server that it reads."""

    lab: Lab
    api: ReadAPI
    table: str
    model: str
    rows: int
    clean: pd.DataFrame
    seen: int = 0  # calls of ReadRows before the test

    def start(self) -> dict[str, Any]:
        """Return the parameters of a run that does not exist yet."""
        return self.lab.params(self.table, self.model, outputs="predict,predict_proba")

    def once(self, params: dict[str, str], run_id: str, **limits: Any) -> Result:
        """Work on the run as one request does."""
        prepared = prepare(self.lab.clients, self.lab.request(params), run_id)
        return execute(self.lab.clients, prepared, **limits)

    def finish(
        self, params: dict[str, str], run_id: str, limits: Callable[[], dict[str, Any]]
    ) -> tuple[Result, int, int]:
        """Repeat the request until it is done; return how often it was suspended and failed."""
        suspended = failed = 0
        while True:
            try:
                return self.once(params, run_id, **limits()), suspended, failed
            except RunInterrupted:
                suspended += 1
            except TryAgain:
                failed += 1
                assert failed < 5

    def check(self, result: Result, params: dict[str, str]) -> None:
        """Check that the output has every row once, with the clean run's values."""
        assert (result.rows, result.rows_read) == (self.rows, self.rows)
        assert differences(self.lab.rows(params["output_table"]), self.clean) == []

    def store(self, run_id: str) -> RunStore:
        return self.lab.store(run_id)

    def reads(self) -> list[Read]:
        """Return the calls of ReadRows on the input since the test began."""
        path = TableRef.parse(self.table).path
        sessions = {name for name, each in self.api.sessions.items() if each.table == path}
        reads = self.api.reads[self.seen :]
        return [read for read in reads if read.stream.rpartition("/streams/")[0] in sessions]


def made(stack: StrictStack, rows: int) -> Case:
    """Return a case with that number of rows, and the output of a run that nothing disturbs."""
    lab = Lab(stack)
    frame = table_of(rows, width=8)
    classes = np.array(["high", "low", "mid"])[np.digitize(frame["a"] + frame["b"], [-0.5, 0.8])]
    model = DecisionTreeClassifier(max_depth=8, random_state=0).fit(frame[["a", "b"]], classes)
    table = lab.put(frame)
    name = lab.upload(model, frame[["a", "b"]], id_columns=IDS)
    case = Case(lab, stack.rules.read_api, table, name, rows, frame)
    params = case.start()
    result = case.once(params, unique("clean"))
    case.clean = lab.rows(params["output_table"])
    assert len(case.clean) == result.rows == rows
    assert case.clean["prediction"].tolist() == model.predict(frame[["a", "b"]]).tolist()
    return case


@pytest.fixture(scope="module")
def environment_of_module(stack: LocalStack) -> Iterator[StrictStack]:
    """Point the environment at the stack, and return it."""
    assert isinstance(stack, StrictStack)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in stack.environment.items():
            patch.setenv(name, value)
        yield stack


@pytest.fixture(scope="module", params=[ROWS, pytest.param(LONG_ROWS, marks=pytest.mark.long)])
def large(request: pytest.FixtureRequest, environment_of_module: StrictStack) -> Case:
    return made(environment_of_module, request.param)


@pytest.fixture(scope="module", params=[FEW_ROWS, pytest.param(ROWS, marks=pytest.mark.long)])
def case(request: pytest.FixtureRequest, environment_of_module: StrictStack) -> Case:
    return made(environment_of_module, request.param)


def cut(case: Case, parts: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """Cut the table's rows into parts, begin the test's list of reads, and return a part's rows."""
    case.seen = len(case.api.reads)
    monkeypatch.setattr(read_session, "PART_ROWS", case.rows // parts)
    monkeypatch.setattr(read_session, "streams_to_request", lambda _: (2, 8))
    return case.rows // parts


@pytest.mark.parametrize(
    ("streams", "shares", "first"),
    [
        (1, (), "rows"),
        pytest.param(2, (20, 1), "schema", marks=pytest.mark.long),
        (3, (5, 0, 1), "neither"),
    ],
)
def test_few_and_unequal_streams_that_break(
    large: Case,
    monkeypatch: pytest.MonkeyPatch,
    streams: int,
    shares: tuple[float, ...],
    first: str,
) -> None:
    part = cut(large, 12, monkeypatch)
    kinds = ["unavailable", "throttled", "reset", "unavailable"]
    faults = [Fault(kind, after=(n + 1) * part // 3 + n) for n, kind in enumerate(kinds)]
    params, run_id = large.start(), unique("few")
    with large.api.choosing(
        streams=streams, shares=shares, first=first, message_rows=part // 7, faults=faults
    ):
        result = large.once(params, run_id)
    large.check(result, params)
    assert result.streams == streams
    assert [fault.times for fault in faults] == [0] * len(faults)
    assert sum(sum(read.sent) for read in large.reads()) == large.rows
    if streams == 1:
        assert result.shards == 12 + (large.rows % part > 0)


def test_a_stream_longer_than_the_time_of_a_push(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = cut(case, 12, monkeypatch)
    params, run_id = case.start(), unique("long")
    store = case.store(run_id)
    parts, seconds, idle = -1, 1.0, 0

    def a_push() -> dict[str, Any]:
        """Give a try a second, and more on a machine that finishes no part in it."""
        nonlocal parts, seconds, idle
        before, parts = parts, len(store.parts(0))
        if parts == before:
            seconds, idle = 2 * seconds, idle + 1
        return {"deadline": time.monotonic() + seconds}

    with case.api.choosing(streams=1, message_rows=part // 4, message_seconds=0.03):
        result, suspended, failed = case.finish(params, run_id, a_push)
    offsets = [read.offset for read in case.reads()]
    case.check(result, params)
    parts_needed = -(-case.rows // part)
    assert (suspended > 0, failed, result.shards) == (True, 0, parts_needed)
    assert offsets == sorted(offsets), offsets
    assert len(offsets) - len(set(offsets)) <= idle, offsets
    assert all(offset % part == 0 for offset in offsets), offsets


@pytest.mark.long
@pytest.mark.parametrize("most", [10, pytest.param(300, marks=pytest.mark.long)])
@pytest.mark.timeout(1800)
def test_a_run_that_is_suspended_again_and_again(
    case: Case, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    processes = 1 if case.rows == FEW_ROWS else 2  # each may write a part before it stops
    cut(case, processes * most + 2, monkeypatch)
    params, run_id = case.start(), unique("suspended")
    store = case.store(run_id)

    def one_part() -> dict[str, Any]:
        before = len(store.parts(0))
        return {"stopping": lambda: len(store.parts(0)) > before}

    with case.api.choosing(streams=2, shares=(3, 1)):
        result, suspended, failed = case.finish(params, run_id, one_part)
    case.check(result, params)
    assert (suspended >= most, failed) == (True, 0)
    assert result.attempts == suspended + 1
    reads = case.reads()
    repeated = len(reads) - len({(read.stream, read.offset) for read in reads})
    # The parts of the other processes, which end with the try, are read again.
    assert repeated <= suspended * (processes - 1)


@pytest.mark.long
@pytest.mark.parametrize("moment", ["between two tries", "in the middle of a stream"])
def test_a_session_that_ends_before_the_run(
    case: Case, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    cut(case, 12, monkeypatch)
    params, run_id = case.start(), unique("expires")
    store = case.store(run_id)
    faults = []
    if moment == "in the middle of a stream":
        faults = [Fault("expired", after=case.rows // 3)]
    with case.api.choosing(streams=2, shares=(5, 1), faults=faults):
        if not faults:
            with pytest.raises(RunInterrupted):
                case.once(params, run_id, stopping=lambda: len(store.parts(0)) > 2)
            case.api.expire(case.reads()[-1].stream)
        result, suspended, failed = case.finish(params, run_id, dict)
    case.check(result, params)
    assert (suspended, failed) == (0, 1)
    assert len({read.stream.rpartition("/streams/")[0] for read in case.reads()}) == 2
    assert store.read("session-0-over.json")
    assert all("parts/1/" in name for name in store.read("publish.json")["parts"])


def test_a_stream_that_ends_early_publishes_nothing(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut(case, 12, monkeypatch)
    params, run_id = case.start(), unique("short")
    with case.api.choosing(streams=1, faults=[Fault("short", after=case.rows // 2)]):
        with pytest.raises(TryAgain):
            case.once(params, run_id)
        assert not case.lab.exists(params["output_table"])
        result, _, _ = case.finish(params, run_id, dict)
    case.check(result, params)
