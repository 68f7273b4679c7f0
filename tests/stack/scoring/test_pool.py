"""The scoring processes: they serve several runs, and are replaced when one of them fails."""

import errno
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd
import psutil
import pytest
import threadpoolctl
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import LinearRegression

from app import create_app
from mlsys.cloud.clients import clients_for
from mlsys.errors import RunInterrupted, TryAgain
from mlsys.gcs import gcs_put
from mlsys.local.stack import LocalStack
from scoring_cases import Lab
from workers import machine
from workers.inference.predictor import Predictor
from workers.scoring.engines.run import execute
from workers.scoring.planning.find_run import prepare
from workers.scoring.publishing import shadow
from workers.scoring.shards import pool, pool_process, read_session
from workers.scoring.shards.overlap import Behind, ahead

pytestmark = pytest.mark.usefixtures("environment")

ROWS = 60_000
DATA = pd.DataFrame({"id": range(ROWS), "a": np.sin(np.arange(ROWS)), "b": np.arange(ROWS) / 7})
MODEL = LinearRegression().fit(DATA[["a", "b"]], DATA["a"])
SLOW = LinearRegression().fit(DATA[["a"]], DATA["b"])


@pytest.fixture(scope="module")
def lab(stack: LocalStack) -> Lab:
    return Lab(stack)


@pytest.fixture
def table(lab: Lab) -> str:
    return lab.put(DATA)


@pytest.fixture
def name(lab: Lab) -> str:
    return lab.upload(MODEL, DATA[["a", "b"]])


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[pool._Pool]:
    """Yield a pool of the test's own: two processes, for tables of any size, in four shards."""
    monkeypatch.setattr(pool, "INLINE_ROWS", 0)
    monkeypatch.setattr(read_session, "streams_to_request", lambda _: (4, 4))
    monkeypatch.setattr(machine, "cores", lambda: 2)
    own = pool._Pool()
    monkeypatch.setattr(pool, "_pool", own)
    yield own
    own.end()


def test_a_dead_process_is_noticed_while_others_work(workers: pool._Pool) -> None:
    """The executor itself notices a late one only when another has ended its work."""
    executor = workers.executor(2)
    for _ in range(2):
        executor.submit(time.sleep, 60)
    workers.check()
    for process in workers._started()[1:]:
        os.kill(process.pid, signal.SIGKILL)
        process.join(10)
    with pytest.raises(BrokenProcessPool):
        workers.check()


def pids(workers: pool._Pool) -> set[int]:
    return {process.pid for process in workers._started()}


def scored(lab: Lab, table: str, name: str) -> dict[str, Any]:
    """Score the table in this process and those that it starts."""
    params = lab.params(table, name)
    result = lab.here(params).done()
    assert lab.rows(params["output_table"])["id"].tolist() == DATA["id"].tolist()
    return result


def test_the_processes_are_reused_by_the_next_run(
    lab: Lab, table: str, name: str, workers: pool._Pool
) -> None:
    assert scored(lab, table, name)["shards"] == 4
    first = pids(workers)
    assert first
    scored(lab, table, name)
    assert first <= pids(workers)
    assert len(pids(workers)) <= 2


@pytest.mark.slow
def test_the_processes_say_how_far_a_challenger_agrees(
    lab: Lab, table: str, name: str, workers: pool._Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.upload(SLOW, DATA[["a"]], name, "v2")
    monkeypatch.setattr(shadow, "_rows", None)  # the report reads no file
    report = lab.here(lab.params(table, name, shadow="v2")).done()["shadow"]["report"]
    assert pids(workers)
    found = SLOW.predict(DATA[["a"]]) - MODEL.predict(DATA[["a", "b"]])
    assert (report["rows"], len(report["most_different"])) == (ROWS, 50)
    (column,) = report["columns"]
    np.testing.assert_allclose(column["mean"], found.mean())
    np.testing.assert_allclose(column["quantiles"]["1"], found.max())


def of_a_notebook() -> bytes:
    """Return a model of a class that no package has, pickled with its code."""
    factor = 3

    class Scaled(RegressorMixin, BaseEstimator):  # type: ignore[misc]
        n_features_in_ = 2
        feature_names_in_ = np.array(["a", "b"], dtype=object)

        def predict(self, X: pd.DataFrame) -> Any:
            return (X["a"] + X["b"]).to_numpy() * factor

    return cloudpickle.dumps(Scaled())


@pytest.mark.slow
def test_a_model_with_its_own_code_is_scored_in_the_pool(
    stack: LocalStack, table: str, workers: pool._Pool
) -> None:
    lab = Lab(stack)
    lab.settings = replace(stack.settings, models="any")
    lab.clients = clients_for(lab.settings)
    lab.client = create_app(lab.settings, lab.clients).test_client()
    bucket = lab.settings.models_bucket("dev")
    gcs_put(of_a_notebook(), bucket, "scaled-in-a-pool/v1/model.pkl")
    params = lab.params(table, "scaled-in-a-pool", id_columns="id")
    result = lab.here(params).done()
    assert (result["loader"], result["shards"]) == ("any", 4)
    assert pids(workers)
    np.testing.assert_array_equal(
        lab.rows(params["output_table"])["prediction"], (DATA["a"] + DATA["b"]) * 3
    )


@pytest.mark.slow
def test_a_process_that_died_between_runs_is_replaced(
    lab: Lab, table: str, name: str, workers: pool._Pool
) -> None:
    scored(lab, table, name)
    first = pids(workers)
    for pid in first:
        os.kill(pid, signal.SIGKILL)
    for process in workers._started():
        process.join(10)
    scored(lab, table, name)
    assert not first & pids(workers)


@pytest.mark.slow
def test_a_process_that_dies_at_work_ends_the_pool_and_the_run_can_be_retried(
    lab: Lab, table: str, name: str, workers: pool._Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = prepare(lab.clients, lab.request(lab.params(table, name)))
    with monkeypatch.context() as patch:
        patch.setattr(pool, "score_in_process", _die)
        with pytest.raises(TryAgain, match="lack of memory"):
            execute(lab.clients, prepared)
    assert pids(workers) == set()
    assert execute(lab.clients, prepared).rows == ROWS


def _die(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_an_interrupted_run_ends_its_processes(
    lab: Lab, table: str, name: str, workers: pool._Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = prepare(lab.clients, lab.request(lab.params(table, name)))
    monkeypatch.setattr(pool, "score_in_process", _wait)
    monkeypatch.setattr(pool, "POLL", 0.05)
    with pytest.raises(RunInterrupted):
        execute(lab.clients, prepared, stopping=lambda: bool(pids(workers)))
    assert pids(workers) == set()


def _wait(*_: Any) -> None:
    time.sleep(60)


@pytest.mark.slow
def test_a_small_run_does_not_wait_for_a_large_one(
    lab: Lab, table: str, name: str, workers: pool._Pool
) -> None:
    assert workers.take(wait=True, stop=lambda: False)
    try:
        assert scored(lab, table, name)["rows"] == ROWS
        assert pids(workers) == set()
        with pytest.raises(RunInterrupted):
            workers.take(wait=True, stop=lambda: True)
    finally:
        workers.give_back()


@pytest.mark.slow
def test_idle_processes_are_ended(
    lab: Lab, table: str, name: str, workers: pool._Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "IDLE_SECONDS", 0.2)
    scored(lab, table, name)
    deadline = time.monotonic() + 20
    while workers._executor is not None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert workers._executor is None
    scored(lab, table, name)


def test_the_number_of_processes_is_limited_by_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine, "memory", lambda: 2 * 2**30)
    assert pool._processes_that_fit([SimpleNamespace(size=1_000)]) == 5
    assert pool._processes_that_fit([SimpleNamespace(size=150 * 2**20)]) == 1
    assert pool._processes_that_fit([SimpleNamespace(size=300 * 2**20)]) == 0
    assert pool._processes_that_fit([SimpleNamespace(size=80 * 2**20)] * 2) == 0


@pytest.mark.slow
def test_idle_processes_are_ended_for_a_model_that_fits_only_once(
    lab: Lab, table: str, name: str, workers: pool._Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored(lab, table, name)
    assert pids(workers)
    monkeypatch.setattr(pool, "_processes_that_fit", lambda _: 1)
    scored(lab, table, name)
    assert pids(workers) == set()


@pytest.mark.slow
def test_a_process_that_cannot_be_started_raises_try_again(
    lab: Lab, table: str, name: str, workers: pool._Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = prepare(lab.clients, lab.request(lab.params(table, name)))
    with monkeypatch.context() as patch:
        patch.setattr("multiprocessing.forkserver.connect_to_new_process", _too_many_files)
        with pytest.raises(TryAgain, match="cannot be started"):
            execute(lab.clients, prepared)
    assert pids(workers) == set()
    assert execute(lab.clients, prepared).rows == ROWS


def _too_many_files(*_: Any) -> None:
    raise OSError(errno.EMFILE, "Too many open files")


def test_a_process_loads_a_model_once(
    lab: Lab, table: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[Any] = []
    load = pool_process.load_pinned

    def counting(clients: Any, pin: Any) -> Any:
        loads.append(pin)
        return load(clients, pin)

    monkeypatch.setattr(pool_process, "load_pinned", counting)
    monkeypatch.setattr(pool_process, "_kept", [])
    other = lab.upload(SLOW, DATA[["a"]])
    plans = [prepare(lab.clients, lab.request(lab.params(table, n))).plan for n in (name, name)]
    plans.append(prepare(lab.clients, lab.request(lab.params(table, other))).plan)
    first, second = (pool_process._scorer(lab.clients, plan) for plan in plans[:2])
    assert first is not second
    assert first.model is second.model
    assert pool_process._scorer(lab.clients, plans[1]) is second
    assert len(loads) == 1
    third = pool_process._scorer(lab.clients, plans[2])
    assert third.model is not first.model
    assert third.model.alive
    assert not first.model.alive
    assert len(loads) == 2
    third.close()


def test_the_predictors_thread_uses_one_blas_thread(lab: Lab, table: str, name: str) -> None:
    prepared = prepare(lab.clients, lab.request(lab.params(table, name)))
    found: list[int] = []

    def work() -> None:
        Predictor(MODEL, prepared.plan.prediction_spec())
        found.extend(library["num_threads"] for library in threadpoolctl.threadpool_info())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert set(found) == {1}


# The cores and memory of a container


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "max 100000"}, 4),
        ({"cpu.max": "150000 100000"}, 2),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 4),
        ({"cpu/cpu.cfs_quota_us": "150000", "cpu/cpu.cfs_period_us": "100000"}, 2),
        ({}, 4),
    ],
)
def test_cores_are_read_from_the_containers_limit(
    files: dict[str, str], cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)), raising=False)
    (tmp_path / "cpu").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(f"{text}\n")
    assert machine.cores() == cores


def test_memory_is_read_from_the_containers_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    assert machine.memory() == psutil.virtual_memory().total
    (tmp_path / "memory.max").write_text("max\n")
    assert machine.memory() == psutil.virtual_memory().total
    (tmp_path / "memory.max").write_text("1048576\n")
    assert machine.memory() == 2**20


@pytest.mark.parametrize(
    ("rows", "cores", "streams"),
    [
        (0, 2, 1),
        (99_999, 2, 1),
        (100_000, 2, 2),
        (100_000, 1, 1),
        (199_999, 4, 3),
        (400_000, 4, 4),
        (500_000, 2, 2),
        (1_000_000, 2, 4),
        (1_000_000, 6, 6),
        (2_000_000, 1, 4),
        (10**9, 2, 8),
        (10**9, 600, 1000),
    ],
)
def test_the_streams_requested_follow_from_the_cores(
    rows: int, cores: int, streams: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "cores", lambda: cores)
    least, most = read_session.streams_to_request(rows)
    assert (least, most) == (min(cores, streams), streams)


# Overlapping work


def test_exactly_one_item_is_fetched_ahead() -> None:
    got: list[int] = []
    second = threading.Event()

    def items() -> Iterator[int]:
        for i in range(5):
            got.append(i)
            if i == 1:
                second.set()
            yield i

    seen = []
    for item in ahead(items()):
        assert second.wait(10)
        assert len(got) <= item + 2
        seen.append(item)
    assert seen == list(range(5))


def test_an_error_while_fetching_is_raised_after_the_earlier_items() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise KeyError("gone")

    seen = []
    with pytest.raises(KeyError, match="gone"):
        for item in ahead(items()):
            seen.append(item)
    assert seen == [1]


def test_a_reader_that_leaves_early_leaves_no_thread() -> None:
    for item in ahead(iter(range(100))):
        if item == 3:
            break
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if not any(t.name.startswith("ahead") for t in threading.enumerate()):
            return
        time.sleep(0.01)
    raise AssertionError("its thread is still there")


def test_background_work_runs_in_order_and_raises_its_error_once() -> None:
    behind, done = Behind(), []
    behind.do(lambda: done.append(1))
    behind.do(lambda: done.append(2))
    behind.wait()
    assert done == [1, 2]
    behind.do(lambda: {}["gone"])
    with pytest.raises(KeyError, match="gone"):
        behind.do(lambda: done.append(3))
    behind.wait()
    behind.close()
    assert done == [1, 2]


@pytest.mark.slow
def test_two_concurrent_runs_are_both_scored(
    lab: Lab, table: str, name: str, workers: pool._Pool
) -> None:
    with ThreadPoolExecutor(2) as threads:
        both = [threads.submit(scored, lab, table, name) for _ in range(2)]
    assert [run.result()["rows"] for run in both] == [ROWS, ROWS]
