"""The engine `beam` writes the same bits, by Beam's own runner in several processes.

`make beam` makes its environment from requirements-beam.lock; where that fails, these are skipped.
`tests/stack/scoring/test_engines.py` calls the pipeline's functions without Beam.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest

from kill_cases import BAD, SCORED, Bench, differences, open_bench
from mlsys.cloud.clients import Clients
from mlsys.local.stack import LocalStack
from mlsys.settings import Settings
from task_cases import planned
from workers.scoring.journal.outcomes import read_failure, read_result
from workers.scoring.journal.store import RunStore
from workers.scoring.planning.plan import Plan
from workers.scoring.shards import read_session

pytestmark = [pytest.mark.long, pytest.mark.process, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-beam" / "bin" / "python"
# `DirectRunner` would look for Prism first, which it downloads.
OPTIONS = (
    "--runner=FnApiRunner",
    "--direct_num_workers=2",
    "--direct_running_mode=multi_processing",
)
SECONDS = 180


@pytest.fixture(scope="module", autouse=True)
def installed() -> None:
    made = subprocess.run(["make", "beam"], cwd=ROOT, capture_output=True, text=True, timeout=500)
    if made.returncode:
        pytest.skip(f"Apache Beam cannot be installed here: {made.stderr[-300:]}")


@pytest.fixture(scope="module")
def bench(stack: LocalStack) -> Iterator[Bench]:
    with open_bench(stack) as made:
        yield made


@pytest.fixture
def planned_run(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> tuple[RunStore, str]:
    """Return a planned run with four streams of several parts, and its output table."""
    bench.rules.job_seconds = 0.0
    monkeypatch.setattr(read_session, "PART_ROWS", 400)
    monkeypatch.setattr(read_session, "streams_to_request", lambda *_: (4, 4))
    output = bench.output()
    store = planned(bench, output)
    plan = store.parse("plan.json", store.read("plan.json") or {}, Plan.from_dict)
    clients = Clients(Settings.from_env(bench.rules.environment))  # as the workers reach it
    session = read_session.current_session(clients, store, plan)
    assert session.shards == 4
    return store, output


def start(bench: Bench, command: Sequence[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(PYTHON), *command],
        cwd=ROOT,
        env=os.environ | bench.rules.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def end(process: subprocess.Popen[str], seconds: float = SECONDS) -> str:
    """Wait for the process, end what it left, and return its output."""
    try:
        output, _ = process.communicate(timeout=seconds)
        return output
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def command_for(run_id: str, max_rejects: int = len(BAD)) -> list[str]:
    module = "workers.scoring.engines.beam"
    return ["-m", module, run_id, "--env=dev", f"--max-rejects={max_rejects}", *OPTIONS]


def driver_for(run_id: str, streams: Sequence[int]) -> list[str]:
    driver = str(ROOT / "tests" / "support" / "beam_driver.py")
    return [driver, run_id, json.dumps(list(streams)), str(len(BAD)), *OPTIONS]


def check(bench: Bench, store: RunStore, output: str) -> None:
    result = read_result(store)
    assert result is not None
    assert (result.rows, result.rows_rejected, result.engine) == (SCORED, len(BAD), "beam")
    assert bench.problems(output) == []


def test_the_command_writes_the_same_bits(bench: Bench, planned_run: tuple[RunStore, str]) -> None:
    store, output = planned_run
    process = start(bench, command_for(store.run_id))
    text = end(process)
    assert process.returncode == 0, text[-3000:]
    assert f"{store.run_id}: {SCORED:,} rows in {output}" in text
    check(bench, store, output)
    assert differences(bench.lab.rows(output), bench.clean) == []
    again = start(bench, command_for(store.run_id))  # nothing is left
    text = end(again)
    assert again.returncode == 0, text[-3000:]
    assert bench.problems(output) == []


@pytest.mark.parametrize("streams", [(3, 2, 1, 0), (0, 0, 1, 1, 2, 2, 3, 3), (3, 1, 2, 0, 3, 1)])
def test_streams_in_any_order_and_more_than_once_are_written_once(
    bench: Bench, planned_run: tuple[RunStore, str], streams: tuple[int, ...]
) -> None:
    store, output = planned_run
    process = start(bench, driver_for(store.run_id, streams))
    text = end(process)
    assert process.returncode == 0, text[-3000:]
    check(bench, store, output)


def test_two_pipelines_of_one_run_write_every_row_once(
    bench: Bench, planned_run: tuple[RunStore, str]
) -> None:
    store, output = planned_run
    twins = [start(bench, command_for(store.run_id)) for _ in range(2)]
    texts = [end(process) for process in twins]
    assert [process.returncode for process in twins] == [0, 0], [t[-2000:] for t in texts]
    check(bench, store, output)


@pytest.mark.parametrize("wait", [0, 1, 3])
def test_a_worker_that_is_killed_loses_no_row_and_doubles_none(
    bench: Bench, planned_run: tuple[RunStore, str], wait: int
) -> None:
    """Kill a worker once some parts exist; FnApiRunner gives the pipeline up, a repeat ends it."""
    store, output = planned_run
    process = start(bench, command_for(store.run_id))
    until = time.monotonic() + SECONDS
    while len(store.parts(0)) < wait or not (workers := workers_of(process.pid)):
        assert time.monotonic() < until and process.poll() is None
        time.sleep(0.02)
    for worker in workers[:1]:
        worker.kill()
    try:
        end(process, 20)  # the runner may wait for the dead worker
    except subprocess.TimeoutExpired:
        pass
    again = start(bench, command_for(store.run_id))
    text = end(again)
    assert again.returncode == 0, text[-3000:]
    check(bench, store, output)


def workers_of(pid: int) -> list[psutil.Process]:
    """Return the processes that execute the pipeline's functions."""
    found = []
    for child in psutil.Process(pid).children(recursive=True):
        try:
            if child.cmdline()[1:] == ["-m", "apache_beam.runners.worker.sdk_worker_main"]:
                found.append(child)  # not the shell that started it
        except psutil.NoSuchProcess:
            pass
    return found


def test_rows_that_cannot_be_scored_fail_the_run_for_good(
    bench: Bench, planned_run: tuple[RunStore, str]
) -> None:
    store, output = planned_run
    process = start(bench, command_for(store.run_id, max_rejects=0))
    text = end(process)
    assert process.returncode == 1
    failure = read_failure(store)
    assert failure is not None and failure.detail in text
    assert read_result(store) is None and not bench.lab.exists(output)
