"""Runs are admitted as long as their models fit into memory together."""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from mlsys.errors import ModelUnusable, TooManyRuns
from workers import admission, machine
from workers.admission import Place, admitted, fit, hold, measured, release, second_model

MIB = 2**20
LARGE, SMALL = 300 * MIB, MIB // 10


@pytest.fixture(autouse=True)
def two_gib(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the process have the memory of the smallest instance, and no run at work."""
    monkeypatch.setattr(machine, "memory", lambda: 2 * 2**30)
    monkeypatch.setattr(admission, "_places", set())
    monkeypatch.setattr(admission, "_needs", type(admission._needs)())
    monkeypatch.setattr(admission, "_reclaims", [])


@contextmanager
def others(*sizes: int, most: int | None = None) -> Iterator[None]:
    """Have other threads hold models of these sizes."""
    done = threading.Event()
    held = threading.Barrier(len(sizes) + 1)

    def run(size: int) -> None:
        with admitted(most):
            hold(object(), size)
            held.wait(10)
            done.wait(10)

    with ThreadPoolExecutor(len(sizes)) as threads:
        runs = [threads.submit(run, size) for size in sizes]
        held.wait(10)
        try:
            yield
        finally:
            done.set()
    for future in runs:
        future.result()


def test_one_run_is_never_refused() -> None:
    with admitted(1):
        hold("huge", 100 * 2**30)
        hold("huge", 100 * 2**30)  # loaded again, after its sandbox died


def test_a_second_large_model_is_refused_until_the_first_run_ends() -> None:
    with admitted(None):
        with others(LARGE):
            with pytest.raises(TooManyRuns, match=r"needs about 1360 MiB.* 1536 MiB") as caught:
                hold("large", LARGE)
            assert caught.value.retry_after == 10
            with pytest.raises(TooManyRuns):
                hold("middling", 50 * MIB)
        hold("large", LARGE)


def test_a_run_that_waits_for_a_job_leaves_its_memory_to_others() -> None:
    with admitted(1):
        hold("large", LARGE)
        admission.let_go()
        with others(LARGE, most=1):
            pass


def test_a_second_model_counts_beside_the_first() -> None:
    """Of 1,536 MiB, 560 are the first model's and 360 the second's."""
    with admitted(None):
        hold("first", 100 * MIB)
        with second_model():
            hold("second", 50 * MIB)
        refused = pytest.raises(TooManyRuns, match="1080 of the 1536 MiB")
        with others(SMALL), refused, admitted(None):
            hold("other", 100 * MIB)
        with others(50 * MIB):
            pass
        with second_model():
            admission.let_go()
        with others(SMALL, 100 * MIB):
            pass


def test_a_second_model_that_others_leave_no_room_for_is_refused_for_now() -> None:
    with others(100 * MIB, 50 * MIB), admitted(None):
        hold("first", 50 * MIB)
        with second_model(), pytest.raises(TooManyRuns, match="360 MiB, and 1280 of the 1536"):
            hold("second", 50 * MIB)


def test_a_second_model_that_never_fits_beside_the_first_is_refused_for_good() -> None:
    with admitted(None):
        hold("first", LARGE)
        with second_model(), pytest.raises(ModelUnusable, match="1720 MiB, and this instance has"):
            hold("second", 50 * MIB)
        with second_model():
            hold("second", 2 * MIB)


def test_the_pools_processes_hold_both_models() -> None:
    place = Place(is_run=False)
    one = fit(place, [50 * MIB], 8)
    assert fit(place, [50 * MIB, 50 * MIB], 8) < one
    release(place)


def test_as_many_small_models_fit_as_there_is_memory_for() -> None:
    with others(*[SMALL] * 9), admitted(None), pytest.raises(TooManyRuns):
        hold("small", SMALL)


def test_the_setting_limits_the_runs() -> None:
    with others(SMALL, SMALL), admitted(2), pytest.raises(TooManyRuns, match="MLSYS_MAX_RUNS"):
        hold("small", SMALL)
    with others(SMALL), admitted(2):
        hold("small", SMALL)


def test_verifying_waits_for_memory_and_is_not_counted_as_a_run() -> None:
    with others(SMALL), admitted(1, is_run=False):
        hold("small", SMALL)
    with ExitStack() as running:
        running.enter_context(others(LARGE))
        threading.Timer(0.3, running.pop_all().close).start()
        with admitted(None, waits=10, is_run=False):
            hold("large", LARGE)


def test_without_a_place_nothing_is_held() -> None:
    with others(LARGE):
        hold("large", LARGE)  # as in a process of the pool


def test_a_model_is_known_by_what_its_sandbox_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A compressed file says little of it."""
    monkeypatch.setattr(admission, "_peak", lambda pid: 1400 * MIB)
    with admitted(None):
        hold("packed", SMALL)
        measured("packed", SMALL, 1)
    with others(SMALL), admitted(None):
        hold("other", SMALL)
    with others(SMALL), admitted(None), pytest.raises(TooManyRuns, match="needs about 1400"):
        hold("packed", SMALL)


def test_the_peak_of_a_process_is_read_from_the_system() -> None:
    peak = admission._peak(os.getpid())
    assert peak is None or 20 * MIB < peak < 100 * 2**30
    assert admission._peak(2**22 + 1) is None


def test_processes_of_the_pool_get_what_other_runs_leave() -> None:
    place = Place(is_run=False)
    with admitted(None):
        hold("small", SMALL)  # of the run itself, whose sandbox ends when the pool has it
        assert fit(place, [SMALL], 8) == 5
        release(place)
        with others(SMALL, SMALL):
            assert fit(place, [SMALL], 8) == 4
            release(place)
            assert (fit(place, [100 * MIB], 8), place.held) == (1, 0)
    release(place)


def test_idle_processes_of_the_pool_give_way() -> None:
    place = Place(is_run=False)
    assert fit(place, [50 * MIB], 2) == 2
    with admitted(None), pytest.raises(TooManyRuns):
        hold("large", LARGE)
    admission.reclaim_by(lambda: release(place))
    with admitted(None):
        hold("large", LARGE)


def test_eight_callers_of_a_large_model_all_get_their_turn() -> None:
    at_work, most, lock = 0, 0, threading.Lock()

    def call(number: int) -> None:
        nonlocal at_work, most
        while True:
            try:
                with admitted(None):
                    hold(number, LARGE)
                    with lock:
                        at_work += 1
                        most = max(most, at_work)
                    threading.Event().wait(0.02)
                    with lock:
                        at_work -= 1
                return
            except TooManyRuns:
                threading.Event().wait(0.01)

    with ThreadPoolExecutor(8) as callers:
        list(callers.map(call, range(8)))
    assert most == 1


# The default of MLSYS_MAX_MODEL_BYTES


@pytest.mark.parametrize(
    ("memory", "most"),
    [
        (512 * MIB, 64 * MIB),
        (1024 * MIB, 128 * MIB),
        (2048 * MIB, 344 * MIB),
        (4096 * MIB, 856 * MIB),
        (64 * 2**30, 2 * 2**30),
    ],
)
def test_the_largest_model_follows_from_the_memory(
    memory: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "memory", lambda: memory)
    assert machine.max_model_bytes(None) == most
    assert machine.max_model_bytes(1000) == 1000


@pytest.mark.parametrize(
    ("groups", "own"),
    [
        ({"memory.max": "9000000"}, "0::/\n"),
        ({"system.slice/x.scope/memory.max": "9000000"}, "0::/system.slice/x.scope\n"),
        (
            {"user/memory.max": "9000000", "user/x/memory.max": "max"},
            "0::/user/x\n",
        ),
        ({"memory/memory.limit_in_bytes": "9000000"}, "4:cpu,memory:/\n0::/\n"),
        ({"memory/a/b/memory.limit_in_bytes": "9000000"}, "3:cpu:/z\n4:memory:/a/b\n0::/\n"),
        ({"memory/a/memory.limit_in_bytes": "9000000"}, "4:memory:/a/b\n"),
    ],
)
def test_the_limits_of_the_own_control_group_and_of_those_above_it_count(
    groups: dict[str, str], own: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(machine, "CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(machine, "OWN", tmp_path / "own")
    (tmp_path / "own").write_text(own)
    for name, limit in groups.items():
        path = tmp_path / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{limit}\n")
    assert machine.memory() == 9_000_000
