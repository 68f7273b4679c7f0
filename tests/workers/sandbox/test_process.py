"""A sandbox from its requester's side: answers, errors, and every way to die.

The handlers run without walls here, so these tests show the channel's own protection.
"""

import contextlib
import os
import signal
import subprocess  # noqa: F401  these tests start processes
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from mlsys.errors import (
    InvalidRequest,
    MetadataInvalid,
    MlsysError,
    ModelUnusable,
    PredictionFailed,
    SchemaMismatch,
)
from workers.sandbox import nursery
from workers.sandbox.died import Cause, deaths
from workers.sandbox.process import Expected, Sandbox, SandboxDied
from workers.sandbox.spawned import Spawned

ROWS = 1000
BATCH = pa.table({name: np.arange(ROWS) * 1.0 for name in "abc"})
NUMBERS = Expected(pa.schema([("p", pa.float64())]), ROWS)
TEXTS = pa.schema([("t", pa.string())])
start = partial(Sandbox, "sandbox_handlers:HANDLERS", walls=None)


@pytest.fixture(scope="module", autouse=True)
def no_nursery_stays() -> Iterator[None]:
    yield
    nursery.close()


@pytest.fixture(scope="module")
def shared() -> Iterator[Sandbox]:
    """Yield one sandbox for the tests that do not change it."""
    sandbox = start()
    yield sandbox
    sandbox.close()


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """Yield a sandbox for one test."""
    made = start()
    yield made
    made.close()


def is_gone(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_body_is_echoed_unchanged(shared: Sandbox) -> None:
    body = {"text": "ä", "list": [1, None, 2.5], "object": {}}
    assert shared.call("echo", body, seconds=60).body == body
    assert shared.alive


def test_the_sandbox_is_another_process(shared: Sandbox) -> None:
    body = shared.call("pid", seconds=60).body
    assert body["pid"] == shared.pid and os.getpid() not in body.values()


def test_content_arrives_complete(shared: Sandbox) -> None:
    content = bytes(5 * 2**20) + b"\7"
    answer = shared.call("length", content=content, seconds=60)
    assert answer.body == {"length": len(content), "end": 7}


@pytest.mark.parametrize("rows", [ROWS, 1, 0])
def test_a_table_is_answered_with_a_table(shared: Sandbox, rows: int) -> None:
    expect = Expected(NUMBERS.schema, rows)
    answer = shared.call("dot", table=BATCH.slice(0, rows), expect=expect, seconds=60)
    assert answer.body == {"rows": rows}
    assert answer.table is not None
    assert answer.table["p"].to_pylist() == [3.0 * i for i in range(rows)]


def test_answers_may_have_any_size_within_the_bound(shared: Sandbox) -> None:
    for length in (1, 2**22, 10):
        expect = Expected(TEXTS, 2, max_bytes=2**24)
        answer = shared.call("rows", {"rows": 2, "length": length}, expect=expect, seconds=60)
        assert answer.table is not None and len(answer.table["t"][1].as_py()) == length


def test_tables_can_be_put_while_the_sandbox_computes(shared: Sandbox) -> None:
    """As in scoring, a thread fills one slot while the sandbox reads the other."""
    batches = [BATCH.set_column(0, "a", [np.full(ROWS, i * 1.0)]) for i in range(50)]
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(shared.put, batches[0])
        for i in range(50):
            slot = coming.result(60)
            if i < 49:
                coming = reader.submit(shared.put, batches[i + 1])
            table = shared.call("dot", table=slot, expect=NUMBERS, seconds=60).table
            assert table is not None and table["p"][0].as_py() == i


def test_a_table_can_be_sent_while_both_slots_are_full(shared: Sandbox) -> None:
    slots = [shared.put(BATCH), shared.put(BATCH)]
    half = Expected(NUMBERS.schema, ROWS // 2)
    assert shared.call("dot", table=BATCH.slice(ROWS // 2), expect=half, seconds=60).table
    for slot in slots:
        shared.call("dot", table=slot, expect=NUMBERS, seconds=60)
        slot.release()  # a second release does nothing
    assert len(shared._slots._free) == 2


def test_a_slot_of_a_dead_sandbox_can_be_sent_to_another_one(
    shared: Sandbox, sandbox: Sandbox
) -> None:
    before = sandbox.put(BATCH)
    sandbox.close()
    for slot in (before, sandbox.put(BATCH)):
        assert shared.call("dot", table=slot, expect=NUMBERS, seconds=60).table


def test_output_of_the_sandbox_is_discarded(
    shared: Sandbox, capfd: pytest.CaptureFixture[str]
) -> None:
    shared.call("print", seconds=60)
    assert capfd.readouterr() == ("", "")


def test_the_sandbox_has_only_its_channel_and_memory_open(shared: Sandbox) -> None:
    fds = shared.call("open", seconds=60).body["fds"]
    assert len(fds) == 3 + 1 + 4  # standard ones, channel, regions


@pytest.mark.parametrize(
    ("op", "kind", "text"),
    [
        ("ModelUnusable", ModelUnusable, r"not \\x1b\[31mfitted"),
        ("SchemaMismatch", SchemaMismatch, "They do not fit. a: is missing"),
        ("PredictionFailed", PredictionFailed, "1 row failed"),
        ("InvalidRequest", InvalidRequest, "model: is missing"),
        ("MetadataInvalid", MetadataInvalid, "not JSON"),
        ("Conflict", ModelUnusable, "raised Conflict: taken"),
        ("ValueError", ModelUnusable, "raised ValueError: first$"),
        ("SystemExit", ModelUnusable, "raised SystemExit: 3"),
        ("Odd", ModelUnusable, "raised Odd$"),
        ("nan", ModelUnusable, "raised ValueError"),
        ("object", ModelUnusable, "raised TypeError"),
        ("too long", ModelUnusable, "raised ValueError: The message has"),
        ("no such handler", ModelUnusable, "raised KeyError"),
    ],
)
def test_errors_of_handlers_reach_the_requester(
    shared: Sandbox, op: str, kind: type[MlsysError], text: str
) -> None:
    with pytest.raises(MlsysError, match=text) as caught:
        shared.call(op, seconds=60)
    assert type(caught.value) is kind
    assert shared.alive and shared.call("echo", seconds=60).body == {}


def test_errors_keep_only_their_details(shared: Sandbox) -> None:
    with pytest.raises(PredictionFailed) as failed:
        shared.call("PredictionFailed", seconds=60)
    assert failed.value.rows == [{"id": 1, "x": "nan"}]
    with pytest.raises(SchemaMismatch) as mismatch:
        shared.call("SchemaMismatch", seconds=60)
    assert mismatch.value.columns == (("a", "is missing"),)
    with pytest.raises(ModelUnusable) as long:
        shared.call("long", seconds=60)
    assert len(str(long.value)) < 5000


DEATHS: list[tuple[str, Cause, str]] = [
    ("segfault", "killed", r"killed by signal 11 \(SIGSEGV\)"),
    ("abort", "killed", r"killed by signal 6 \(SIGABRT\)"),
    ("stack overflow", "killed", r"killed by signal 11 \(SIGSEGV\)"),
    ("exit", "exited", "exited with 3"),
    ("out of memory", "over memory", "killed by the system"),
    ("over its time", "over time", "of the processor"),
    ("memory bomb", "over memory", "over memory"),
    ("flood", "malformed answer", "announces 1,094,795,585 bytes"),
    ("4 GiB", "malformed answer", "announces 4,294,967,295 bytes"),
    ("depth", "malformed answer", "levels deep"),
    ("garbage", "malformed answer", "not strict JSON"),
    ("empty", "malformed answer", "not strict JSON"),
]
FORMS = [
    "other number",
    "number as text",
    "no body",
    "body is a list",
    "unexpected table",
    "unexpected need",
    "negative need",
    "error without a kind",
    "error of a kind that does not cross",
    "error with a list for a text",
    "error with rows of lists",
]


@pytest.mark.parametrize(
    ("op", "cause", "text"),
    [*DEATHS, *((op, "malformed answer", "malformed answer: ") for op in FORMS)],
    ids=[*(op for op, _, _ in DEATHS), *FORMS],
)
def test_every_death_is_reported_with_its_cause(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture, op: str, cause: Cause, text: str
) -> None:
    before = deaths()
    with pytest.raises(SandboxDied, match=text) as caught:
        sandbox.call(op, {"n": 1}, seconds=60)
    assert caught.value.cause == cause
    assert deaths() == before | {cause: before[cause] + 1}
    assert [r.getMessage() for r in caplog.records] == [
        f"Sandbox {sandbox.pid} died in {op}: {caught.value.detail}"
    ]
    assert is_gone(sandbox.pid) and not sandbox.alive
    with pytest.raises(SandboxDied, match=text):
        sandbox.call("echo", seconds=60)
    with pytest.raises(SandboxDied, match=text):
        sandbox.call("dot", table=sandbox.put(BATCH), expect=NUMBERS, seconds=60)
    assert deaths()[cause] == before[cause] + 1


@pytest.mark.parametrize("op", ["sleep", "busy", "stop"])
def test_a_call_ends_in_time(sandbox: Sandbox, op: str) -> None:
    began = time.monotonic()
    with pytest.raises(SandboxDied, match=r"over time \(0.1 s\)") as caught:
        sandbox.call(op, seconds=0.1)
    assert caught.value.cause == "over time"
    assert time.monotonic() - began < 30
    assert is_gone(sandbox.pid)


def test_a_process_that_closes_its_channel_is_ended(sandbox: Sandbox) -> None:
    with pytest.raises(SandboxDied, match="closed its channel"):
        sandbox.call("shut", seconds=60)
    assert is_gone(sandbox.pid)


@pytest.mark.parametrize("op", ["late", "twice"])
def test_a_second_answer_is_detected(sandbox: Sandbox, op: str) -> None:
    with contextlib.suppress(SandboxDied):  # both answers may arrive at once
        sandbox.call(op, {"n": 1}, seconds=60)
    deadline = time.monotonic() + 10
    while sandbox.alive and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not sandbox.alive
    with pytest.raises(SandboxDied, match="before the whole question|more than one") as caught:
        sandbox.call("echo", seconds=60)
    assert caught.value.cause == "malformed answer"


@pytest.mark.parametrize(
    ("expect", "text"),
    [
        (None, "other parts"),
        (Expected(pa.schema([("q", pa.float64())]), ROWS), "other columns"),
        (Expected(NUMBERS.schema, ROWS + 1), "1000 rows instead of 1001"),
        (Expected(NUMBERS.schema, ROWS, max_bytes=100), "larger than"),
    ],
)
def test_another_table_than_expected_is_malformed(
    sandbox: Sandbox, expect: Expected | None, text: str
) -> None:
    sandbox._output.grow(2**20)
    with pytest.raises(SandboxDied, match=text) as caught:
        sandbox.call("dot", table=BATCH, expect=expect, seconds=60)
    assert caught.value.cause == "malformed answer"


def test_an_answer_without_the_expected_table_is_malformed(sandbox: Sandbox) -> None:
    with pytest.raises(SandboxDied, match="other parts"):
        sandbox.call("echo", expect=NUMBERS, seconds=60)


def test_an_answer_beyond_the_bound_is_refused(sandbox: Sandbox) -> None:
    expect = Expected(TEXTS, 1, max_bytes=2**20)
    with pytest.raises(SandboxDied, match="larger than"):
        sandbox.call("rows", {"rows": 1, "length": 2**22}, expect=expect, seconds=60)
    assert sandbox._output.size == 0


def test_a_forged_stream_is_malformed(sandbox: Sandbox) -> None:
    sandbox._output.grow(2**20)
    good = pa.BufferOutputStream()
    with pa.ipc.new_stream(good, NUMBERS.schema) as writer:
        writer.write_table(pa.table({"p": [1.0] * ROWS}))
    stream = good.getvalue().to_pybytes()
    answer = sandbox.call("forged", {"n": 1}, content=stream, expect=NUMBERS, seconds=60)
    assert answer.table is not None
    with pytest.raises(SandboxDied, match="malformed answer"):
        sandbox.call("forged", {"n": 2}, content=stream[:-100], expect=NUMBERS, seconds=60)


def test_an_answer_that_keeps_changing_is_read_once() -> None:
    """The requester validates and returns its own copy, or refuses it."""
    outcomes = set()
    for _ in range(5):
        sandbox = start()
        try:
            sandbox.call("dot", table=BATCH, expect=NUMBERS, seconds=60)
            table = sandbox.call("restless", table=BATCH, expect=NUMBERS, seconds=60).table
            assert table is not None
            first = table["p"].to_numpy().tobytes()
            time.sleep(0.05)
            assert table["p"].to_numpy().tobytes() == first
            table.validate(full=True)
            outcomes.add("answered")
        except SandboxDied as exc:
            outcomes.add(exc.cause)
        finally:
            sandbox.close()
    assert outcomes <= {"answered", "malformed answer"}


def test_closing_ends_a_call_in_another_thread(sandbox: Sandbox) -> None:
    before = deaths()
    threading.Timer(0.1, sandbox.close).start()
    with pytest.raises(SandboxDied) as caught:
        sandbox.call("sleep", seconds=60)
    assert caught.value.cause == "closed"
    assert deaths() == before


def test_closing_ends_a_thread_that_waits_for_a_slot(sandbox: Sandbox) -> None:
    sandbox.put(BATCH)
    sandbox.put(BATCH)
    threading.Timer(0.1, sandbox.close).start()
    assert sandbox.put(BATCH).table is BATCH


def test_the_sandbox_is_alive_during_a_call(sandbox: Sandbox) -> None:
    with ThreadPoolExecutor(1) as thread:
        call = thread.submit(sandbox.call, "sleep", seconds=0.3)
        while not call.running():
            time.sleep(0.01)
        assert sandbox.alive
        assert isinstance(call.exception(60), SandboxDied)
    assert not sandbox.alive


def test_a_question_that_cannot_be_sent_does_not_end_the_sandbox(shared: Sandbox) -> None:
    with pytest.raises(ValueError, match="not both"):
        shared.call("echo", table=BATCH, content=b"x", seconds=60)
    for body in ({"x": float("nan")}, {"x": "x" * 2**24}):
        with pytest.raises(ValueError, match="not JSON compliant|The message has"):
            shared.call("echo", body, seconds=60)
    with pytest.raises(TypeError):
        shared.call("echo", {"x": object()}, seconds=60)
    assert shared.call("echo", seconds=60).body == {}


class Interrupted(BaseException):
    """An exception that ends a call from outside."""


def test_an_interrupted_call_ends_the_sandbox(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise its answer would be taken for the next question's."""

    def interrupt(deadline: float) -> Any:
        raise Interrupted

    monkeypatch.setattr(sandbox._channel, "receive", interrupt)
    with pytest.raises(Interrupted):
        sandbox.call("echo", seconds=60)
    assert not sandbox.alive and is_gone(sandbox.pid)


def test_walls_are_in_place_before_the_first_question() -> None:
    sandbox = start(walls="sandbox_handlers:fenced", memory=7)
    assert sandbox.walls == {"kept": 5, "memory": 7}
    sandbox.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has the filter")
def test_everything_works_behind_the_real_walls() -> None:
    sandbox = Sandbox("sandbox_handlers:HANDLERS", memory=2**30)
    assert sandbox.walls["filter"] and "memory" in sandbox.walls["limits"]
    for rows in (10, 10**6, 10):  # the memory is mapped again as it grows
        table = pa.table({"a": np.arange(rows) * 1.0})
        expect = Expected(NUMBERS.schema, rows)
        answer = sandbox.call("dot", table=sandbox.put(table), expect=expect, seconds=60)
        assert answer.table is not None and answer.table["p"].equals(table["a"])
    length = sandbox.call("length", content=bytes(2**24), seconds=60).body["length"]
    assert length == 2**24
    sandbox.call("print", seconds=60)
    with pytest.raises(SandboxDied) as caught:
        sandbox.call("wants memory", {"bytes": 2**31}, seconds=60)
    assert caught.value.cause == "over memory"


@pytest.mark.parametrize(
    ("handlers", "walls", "text"),
    [
        (
            "sandbox_handlers:HANDLERS",
            "sandbox_handlers:fallen",
            "it did not start. Starting it raised RuntimeError: no walls here.$",
        ),
        ("no_such_module:HANDLERS", None, "Starting it raised ModuleNotFoundError"),
    ],
)
def test_a_sandbox_that_does_not_start_is_reported_with_the_cause(
    handlers: str, walls: str | None, text: str
) -> None:
    with pytest.raises(SandboxDied, match=text) as caught:
        Sandbox(handlers, walls=walls)
    assert caught.value.cause == "exited"


def test_a_sandbox_killed_from_outside_is_detected(sandbox: Sandbox) -> None:
    os.kill(sandbox.pid, signal.SIGTERM)
    with pytest.raises(SandboxDied, match="SIGTERM"):
        sandbox.call("echo", seconds=60)


def test_a_spawned_process_answers_like_a_forked_one() -> None:
    """Processes are spawned on macOS; the same code runs here."""
    sandbox = start(start=Spawned)
    try:
        answer = sandbox.call("dot", table=BATCH, expect=NUMBERS, seconds=60)
        assert answer.table is not None and answer.table.num_rows == ROWS
        with pytest.raises(SandboxDied, match="exited with 3"):
            sandbox.call("exit", seconds=60)
    finally:
        sandbox.close()
