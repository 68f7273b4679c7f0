"""What works inside the walls, and how they stand."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from walls_zygote import Outcome, Zygote
from workers.sandbox.walls import NoWalls, Walls, available, enclose, installation, limits
from workers.sandbox.walls import enclosing as module
from workers.sandbox.walls.limits import Limits

needs_walls = pytest.mark.skipif(not available().filter, reason="this machine has no filter")


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    """Yield a zygote with shared memory that has done what libraries can only do outside."""
    memory = os.memfd_create("shared", 0)
    os.ftruncate(memory, 2**20)
    running = Zygote(
        prepared=True,
        imports=("pandas", "pyarrow", "sklearn.linear_model", "threadpoolctl"),
        canaries={"kept": [memory]},
        pass_fds=(memory,),
        environment={"MLSYS_PLANTED": "secret", "OMP_NUM_THREADS": "2", "LANG": "C.UTF-8"},
    )
    yield running
    running.stop()
    os.close(memory)


def value(outcome: Outcome) -> object:
    """Return a child's value."""
    assert not outcome.error and outcome.died is None, outcome
    return outcome.value


WORKS = {
    "compute_with_blas": True,
    "start_threads": 190,
    "use_joblibs_threads": list(range(10)),
    "pickle_and_unpickle": True,
    "ask_for_random_numbers_and_clocks": True,
    "know_time_zones": "2:00:00",
    "warn_and_trace": [True, True],
    "dump_a_traceback": True,
    "hold_memory_below_the_limit": 191,
    "read_shared_memory": 499500,
}


@needs_walls
@pytest.mark.parametrize("name", WORKS)
def test_it_works_inside(name: str, zygote: Zygote) -> None:
    """Libraries compute as they do outside."""
    assert value(zygote.run(f"walls_inside:{name}")) == WORKS[name]


@needs_walls
def test_everything_can_be_imported_lazily(zygote: Zygote) -> None:
    """Extension modules too, which the dynamic linker maps as code."""
    assert value(zygote.run("walls_inside:import_lazily")) == value(
        zygote.run("walls_inside:import_lazily", walls="none")
    )


@needs_walls
def test_models_of_every_kind_give_the_same_bits(zygote: Zygote) -> None:
    """Fitting uses more of the libraries than predicting does."""
    inside = value(zygote.run("walls_inside:fit_and_predict"))
    assert isinstance(inside, dict) and len(inside) >= 30
    assert inside == value(zygote.run("walls_inside:fit_and_predict", walls="none"))


@needs_walls
def test_processors_are_counted_as_outside(zygote: Zygote) -> None:
    """A wrong count would start more threads, or fewer."""
    inside = value(zygote.run("walls_inside:count_processors"))
    assert inside == value(zygote.run("walls_inside:count_processors", walls="none"))


@needs_walls
def test_only_kept_descriptors_stay_open(zygote: Zygote) -> None:
    """The standard ones lead nowhere."""
    outcome = zygote.run("walls_inside:list_descriptors", walls="filter")
    descriptors = value(outcome)
    assert isinstance(descriptors, dict)
    assert [descriptors[n] for n in ("0", "1", "2")] == ["/dev/null"] * 3
    others = sorted(p.partition(":")[0] for n, p in descriptors.items() if int(n) > 2)
    assert others == ["/memfd", "pipe"]


@needs_walls
def test_abort_still_ends_the_process(zygote: Zygote) -> None:
    """It signals itself, which the filter allows."""
    assert zygote.run("walls_inside:end_itself").died == -signal.SIGABRT


@needs_walls
def test_processor_time_is_limited(zygote: Zygote) -> None:
    """A backstop behind the deadlines of calls."""
    died = zygote.run("walls_inside:use_the_cpu", cpu_seconds=1).died
    assert died in (-signal.SIGKILL, -signal.SIGXCPU)


@needs_walls
def test_protected_memory_cannot_be_read_by_others(zygote: Zygote) -> None:
    """`protect_memory` is for the parents, which have credentials."""
    outcome = zygote.run("walls_inside:protected_from_others", walls="none")
    assert value(outcome) == "13 13 "


def test_the_installation_leaves_the_project_and_the_users_files_out() -> None:
    """Of the project the packages can be read, not `.env` beside them."""
    paths = installation()
    project = Path(module.__file__).parents[3]
    for secret in (project / ".env", project / ".git", "/etc/passwd", "/tmp", "/proc/1/environ"):
        assert not any(Path(secret).is_relative_to(path) for path in paths), secret
    for code in (Path(module.__file__), Path(os.__file__), Path(pytest.__file__)):
        assert any(code.is_relative_to(path) for path in paths), code


def test_an_unknown_machine_is_refused_before_anything_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The error says why and what to do; the environment is still there."""
    monkeypatch.setattr(module, "architecture", lambda: None)
    monkeypatch.setenv("MLSYS_PLANTED", "secret")
    assert not available().filter and "neither x86-64 nor arm64" in str(available())
    with pytest.raises(NoWalls, match="Run the service on Linux"):
        enclose(Limits(memory=2**31))
    assert os.environ["MLSYS_PLANTED"] == "secret"


def test_a_process_with_threads_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Landlock and capabilities hold for one thread."""
    if sys.platform != "linux":
        pytest.skip("only Linux is asked")
    monkeypatch.setattr(os, "listdir", lambda path: ["1", "2"])
    with pytest.raises(NoWalls, match="several threads"):
        enclose(Limits(memory=2**31), required=False)


def test_walls_are_one_line_of_a_log() -> None:
    """What holds, or why it does not."""
    walls = Walls(filter=True, landlock=7, undumpable=True, limits=("memory", "cpu"))
    assert str(walls) == "filter, landlock 7, undumpable; limits: memory, cpu"
    walls = Walls(filter=False, landlock=0, undumpable=False, missing="darwin has none")
    assert str(walls) == "no filter (darwin has none), no landlock, dumpable"


def test_the_users_other_threads_are_left_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """RLIMIT_NPROC counts them: a limit under which no thread starts is not kept."""
    values: list[tuple[int, int]] = []
    others = [0]
    infinity = limits.resource.RLIM_INFINITY
    monkeypatch.setattr(limits.resource, "getrlimit", lambda _: (infinity, infinity))
    monkeypatch.setattr(limits.resource, "setrlimit", lambda _, value: values.append(value))
    monkeypatch.setattr(os, "getuid", lambda: 10001)

    def start(self: threading.Thread) -> None:
        if values[-1][0] <= others[0]:
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    monkeypatch.setattr(threading.Thread, "join", lambda self: None)
    for others[0], kept, holds in ((0, 4096, True), (5000, 32768, True), (10**6, infinity, False)):
        values.clear()
        assert limits._limit_threads() is holds
        assert values[-1] == (kept, kept)
