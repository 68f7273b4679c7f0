"""The nursery, which forks sandboxes: its lifetime, its replacement, and what it leaves behind."""

import contextlib
import fcntl
import gc
import os
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from mlsys.errors import TryAgain
from workers.forking import context
from workers.sandbox import nursery
from workers.sandbox.process import Expected, Sandbox, SandboxDied

start = partial(Sandbox, "sandbox_handlers:HANDLERS")


@pytest.fixture(autouse=True, scope="module")
def no_nursery_stays() -> Iterator[None]:
    yield
    nursery.close()


def children(pid: int) -> list[str]:
    """Return the children of a process, zombies included."""
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def wait_for_end(pids: list[int], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while left := [pid for pid in pids if _runs(pid)]:
        assert time.monotonic() < deadline, f"{left} still run"
        time.sleep(0.02)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def parent_of(sandbox: Sandbox) -> int:
    return sandbox.call("pid", seconds=60).body["parent"]


@pytest.mark.slow
@pytest.mark.parametrize("count", [64, pytest.param(1000, marks=pytest.mark.long)])
def test_many_sandboxes_leave_no_process_or_descriptor(count: int) -> None:
    """Eight threads with one sandbox each at a time; some sandboxes die."""
    gc.collect()  # ends the sandboxes that other tests have dropped
    first = start()
    keeper = parent_of(first)
    first.close()
    others = set(children(keeper))
    before = len(os.listdir("/proc/self/fd")), threading.active_count()
    batch = pa.table({"a": np.arange(1000.0)})
    expect = Expected(pa.schema([("p", pa.float64())]), 1000)

    def use(number: int) -> str:
        sandbox = start()
        try:
            if number % 8 == 0:
                table = sandbox.call("dot", table=batch, expect=expect, seconds=60).table
                assert table is not None and table["p"][number].as_py() == number
            if number % 8 == 1:
                sandbox.call("exit", seconds=60)
            return "answered"
        except SandboxDied as exc:
            return exc.cause
        finally:
            sandbox.close()
            sandbox.close()

    with ThreadPoolExecutor(8) as threads:
        outcomes = Counter(threads.map(use, range(count)))
    assert outcomes == {"answered": count * 7 // 8, "exited": count // 8}
    assert set(children(keeper)) <= others
    with contextlib.suppress(PermissionError):  # only root may read it
        assert len(os.listdir(f"/proc/{keeper}/fd")) == 4  # standard ones and the requests
    # Other tests' threads may end meanwhile.
    assert len(os.listdir("/proc/self/fd")) <= before[0]
    assert threading.active_count() <= before[1]


def test_a_nursery_that_was_killed_is_replaced() -> None:
    sandbox = start()
    old = parent_of(sandbox)
    os.kill(old, signal.SIGKILL)
    with pytest.raises(SandboxDied) as caught:
        sandbox.call("sleep", seconds=60)
    assert caught.value.cause == "lost"
    wait_for_end([old, sandbox.pid])
    other = start()
    assert parent_of(other) != old
    sandbox.close()
    assert other.call("echo", {"a": 1}, seconds=60).body == {"a": 1}
    other.close()


def test_a_nursery_that_was_killed_before_it_answered_has_forked_nobody_who_is_heard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its child may have greeted already: another sandbox would take that for its answer."""
    start().close()
    forked: list[int] = []

    def ask(self: nursery.Nursery, request: dict[str, Any], fds: Sequence[int] = ()) -> Any:
        answer = real(self, request, fds)
        if "fork" in request and not forked:
            forked.append(answer["pid"])
            peer = socket.socket(fileno=os.dup(fds[0]))
            while not unread(peer):
                time.sleep(0.001)
            peer.close()
            os.kill(self._process.pid, signal.SIGKILL)
            raise EOFError
        return answer

    real = nursery.Nursery._ask
    monkeypatch.setattr(nursery.Nursery, "_ask", ask)
    sandbox = start()
    assert forked and sandbox.pid != forked[0]
    assert sandbox.call("echo", {"a": 1}, seconds=60).body == {"a": 1}
    sandbox.close()
    wait_for_end(forked)


def unread(sender: socket.socket) -> int:
    """Return how much of what was sent by this end of a connection was not read yet."""
    amount = fcntl.ioctl(sender, termios.TIOCOUTQ, b"\0" * 4)
    return int.from_bytes(amount, sys.byteorder)


def test_a_nursery_that_was_warmed_up_forks_the_sandboxes() -> None:
    nursery.close()
    nursery.warm_up("sandbox_handlers:HANDLERS")
    (own,) = nursery._own
    sandbox = start()
    assert parent_of(sandbox) == own._process.pid
    nursery.warm_up("no_such_module:HANDLERS")  # its sandboxes report the fault
    assert sandbox.alive
    sandbox.close()


def test_closing_ends_every_sandbox() -> None:
    sandbox = start()
    pids = [sandbox.pid, parent_of(sandbox)]
    nursery.close()
    wait_for_end(pids)
    assert not sandbox.alive
    sandbox.close()


def test_a_failed_fork_raises_try_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(TryAgain, match="No process starts for the model: Resource temporarily"):
        nursery.Nursery.fork(_Full(), "a:b", [], [])


class _Full(nursery.Nursery):
    """A nursery on a system that cannot fork."""

    def _start(self) -> None:
        pass

    def _ask(self, request: object, fds: object = ()) -> dict[str, str]:
        return {"error": os.strerror(11)}


# A process with both kinds of nursery, one after the other, and a busy sandbox of each.
REQUESTER = """
import sys, threading
from workers import forking
from workers.sandbox import nursery
from workers.sandbox.process import Sandbox
if __name__ == "__main__":
    pids = []
    forking.PRELOAD = ("pyarrow",)
    nursery.fork_own()
    for _ in range(2):
        for op in ("sleep", "busy", "stop"):
            sandbox = Sandbox("sandbox_handlers:HANDLERS")
            pids += [sandbox.pid, sandbox.call("pid", seconds=60).body["parent"]]
            call = dict(op=op, seconds=600)
            threading.Thread(target=sandbox.call, kwargs=call, daemon=True).start()
        forked, nursery._own[:] = nursery._own[:], [nursery.Nursery()]
    print(*pids, flush=True)
    sys.stdin.read()
"""


def test_no_process_survives_its_requester(tmp_path: Path) -> None:
    script = tmp_path / "requester.py"
    script.write_text(REQUESTER)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, str(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    ) as requester:
        assert requester.stdout is not None
        pids = [int(word) for word in requester.stdout.readline().split()]
        assert len(set(pids)) == 6 + 2
        assert all(map(_runs, pids))
        requester.kill()
        requester.wait(20)
    wait_for_end(pids)


def _ask_in_pool(number: int) -> list[int]:
    """Ask a sandbox of this process of the pool, and leave it open."""
    _kept.append(start())
    body = _kept[-1].call("pid", seconds=60).body
    return [os.getpid(), body["parent"], body["pid"]]


_kept: list[Sandbox] = []


@pytest.mark.parametrize("kill", [True, False])
def test_a_process_of_a_pool_has_its_own_nursery(kill: bool) -> None:
    """As in scoring: it forks the nursery before it has a client, and all end together."""
    with ProcessPoolExecutor(1, mp_context=context(), initializer=nursery.fork_own) as pool:
        first, second = pool.map(_ask_in_pool, range(2))
        assert first[:2] == second[:2] and first[2] != second[2]
        assert first[1] != first[0] != os.getpid()
        if kill:
            os.kill(first[0], signal.SIGKILL)
    wait_for_end([*first, second[2]])


def test_a_forked_nursery_that_died_is_not_replaced(tmp_path: Path) -> None:
    """Its process already has clients; the pool starts other processes."""
    script = tmp_path / "pool.py"
    script.write_text(
        "import os\n"
        "from mlsys.errors import TryAgain\n"
        "from workers.sandbox import nursery\n"
        "from workers.sandbox.process import Sandbox\n"
        "nursery.fork_own()\n"
        "sandbox = Sandbox('sandbox_handlers:HANDLERS')\n"
        "os.kill(sandbox.call('pid', seconds=60).body['parent'], 9)\n"
        "try:\n"
        "    Sandbox('sandbox_handlers:HANDLERS')\n"
        "except TryAgain as exc:\n"
        "    print(exc)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, env=environment, timeout=60, check=True
    )
    assert b"has died: try again" in done.stdout


def test_a_sandbox_with_the_memory_of_a_small_instance_starts() -> None:
    """What the nursery has reserved and never used counts towards its limit."""
    sandbox = Sandbox("workers.inference.host:HANDLERS", memory=512 * 2**20, seconds=30)
    try:
        assert sandbox.alive
    finally:
        sandbox.close()
