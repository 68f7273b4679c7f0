"""Fixtures for every test: one local stack a session, in each xdist worker."""

import functools
import gc
import os
import re
import subprocess
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import hypothesis
import pytest
import threadpoolctl

from mlsys.cloud.clients import Clients
from mlsys.local.bounded import default_limit
from mlsys.local.stack import LocalStack
from mlsys.settings import Settings
from receiver import Receiver, listening

TESTS = Path(__file__).parent
# The files that take longest, longest first; then follow the others of `tests/stack`.
LONGEST = (
    "test_kills.py",
    "test_engines.py",
    "test_cancellation.py",
    "test_registry_deliveries.py",
    "test_redelivery.py",
    "test_service_kills.py",
    "test_registry_sync.py",
    "test_verification.py",
    "test_inputs.py",
    "test_concurrent_callers.py",
    "test_pool.py",
    "test_hard_streams.py",
    "test_predict_http.py",
    "test_documented_answers.py",
    "test_runs.py",
    "test_scoring.py",
    "test_models.py",
    "test_partitions.py",
    "test_crashing_models.py",
    "test_without_privileges.py",
    "test_notebooks.py",
)


# The same examples in every run: a failure comes from the change. `make test-long` draws others.
# Their times depend on the computer's load.
hypothesis.settings.register_profile(
    "mlsys",
    derandomize="long" not in sys.argv,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("mlsys")

# Modules, of Python's and of the tests' own, that can start processes.
STARTS_PROCESSES = frozenset(
    (
        *("subprocess", "multiprocessing", "callers", "kill_cases", "slow_service"),
        *("walls_zygote", "zygote"),
        *("workers.sandbox.client", "workers.sandbox.start"),
        *("workers.sandbox.nursery", "workers.sandbox.process"),
        "workers.verification.verifier",
    )
)
# A module's line that alone makes its tests `process`: see `starts_processes`
IMPORTED = re.compile(r"^import (subprocess|multiprocessing)\b", re.MULTILINE)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport]:
    """Show the end of the service's log with a test of the stack that fails."""
    report = yield
    stack = getattr(item, "funcargs", {}).get("stack")
    if report.failed and stack is not None and stack.service_log.exists():
        lines = stack.service_log.read_text(errors="replace").splitlines()[-30:]
        report.sections.append(("The end of the service's log", "\n".join(lines)))
    return report


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not import the folders and modules that `make check` runs nothing of."""
    if "not stack" not in config.option.markexpr:
        return None
    if collection_path in (TESTS / "stack", TESTS / "long", TESTS / "browser"):
        return True
    is_module = collection_path.suffix == ".py"
    return True if is_module and IMPORTED.search(collection_path.read_text()) else None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep the garbage collector from walking over all that is imported and collected."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what `make check` leaves out, and put the files that take longest first.

    A test is marked `stack` if it uses that fixture, and `process` if its module can start one.
    """
    order = {name: number for number, name in enumerate(LONGEST)}

    @functools.cache
    def place(path: Path) -> int:
        return order.get(path.name, len(order) + (TESTS / "stack" not in path.parents))

    items.sort(key=lambda item: place(item.path))
    for item in items:
        if "stack" in getattr(item, "fixturenames", ()):
            item.add_marker("stack")
        if starts_processes(getattr(item, "module", None)):
            item.add_marker("process")


@functools.cache
def starts_processes(module: ModuleType | None) -> bool:
    """Return whether a test module has a name from a module that can start processes."""
    values = vars(module).values() if module else ()
    names = {getattr(v, key, None) for v in values for key in ("__name__", "__module__")}
    return bool(STARTS_PROCESSES & names)


def pytest_collection_finish() -> None:
    """Compute in one thread: idle threads of BLAS and OpenMP wait busily, in each worker."""
    threadpoolctl.threadpool_limits(1)


@pytest.fixture(autouse=True)
def no_process(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail a test that starts a process without the mark `process` or `stack`."""
    if {"process", "stack"} & {mark.name for mark in request.node.iter_markers()}:
        return
    start = subprocess.Popen.__init__

    def refuse(self: Any, command: Any, *args: Any, **options: Any) -> None:
        first = command if isinstance(command, str) else command[0]
        if first.split()[0] not in ("fc-list", "lscpu"):  # matplotlib and joblib ask them
            raise RuntimeError("import subprocess in this test module, which marks its tests")
        start(self, command, *args, **options)

    def refuse_sandbox(*_: Any) -> None:
        raise RuntimeError("import workers.sandbox.process in this module, which marks its tests")

    monkeypatch.setattr(subprocess.Popen, "__init__", refuse)
    monkeypatch.setattr("workers.sandbox.nursery.Nursery.fork", refuse_sandbox)


@pytest.fixture
def figures() -> Iterator[None]:
    """Draw figures in memory, and restore the style and close them after the test."""
    import matplotlib
    import matplotlib.pyplot as plt

    matplotlib.use("Agg")
    with matplotlib.rc_context():
        yield
    plt.close("all")


@pytest.fixture(scope="session")
def stack() -> Iterator[LocalStack]:
    """Yield the local stack with the service and the sample tables, one for each xdist worker.

    All its clients and the service go through the rules of Google Cloud in `rules`.
    """
    from strict_stack import StrictStack

    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))  # they share the memory
    memory = 2 * default_limit() // (workers + 1)  # mostly reserved and never used
    running = StrictStack(samples=True, time_scale=0.01, memory=memory)
    running.start()
    _running.append(running)
    try:
        yield running
    finally:
        _running.clear()
        running.stop()


_running: list[Any] = []  # the session's stack, once a test has needed it


@pytest.fixture(autouse=True, scope="module")
def forget_unregistered() -> Iterator[None]:
    """Remove a module's models that the registry does not know, before the next module's tests."""
    yield
    for stack in _running:
        stack.forget_unregistered()


@pytest.fixture(scope="session")
def settings(stack: LocalStack) -> Settings:
    """Return the stack's settings."""
    return stack.settings


@pytest.fixture(scope="session")
def clients(stack: LocalStack) -> Clients:
    """Return the stack's clients."""
    return stack.clients


@pytest.fixture
def environment(stack: LocalStack, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Point this process's environment at the stack, as a notebook's is."""
    for name, value in stack.environment.items():
        monkeypatch.setenv(name, value)
    return stack.environment


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Yield a fresh `Receiver` that listens."""
    with listening() as receiver:
        yield receiver
