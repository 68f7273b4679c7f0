"""A guarded command ends when its starter ends, for any reason."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

GUARD = [sys.executable, "-m", "mlsys.local.guard"]
# A child of the command, to check that the whole group ends.
FAMILY = "sleep 300 & echo $$ $! > {pids}.new; mv {pids}.new {pids}; wait"


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A zombie counts as dead: its parent has not waited for it yet.
    command = ["ps", "-o", "stat=", "-p", str(pid)]
    state = subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.strip()
    return state != "" and not state.startswith("Z")


def wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def start_family(pids: Path, *options: str) -> tuple[subprocess.Popen[bytes], list[int]]:
    process = subprocess.Popen(
        [*GUARD, *options, "--", "sh", "-c", FAMILY.format(pids=pids)], stdin=subprocess.PIPE
    )
    wait_for(pids.exists)
    return process, [int(pid) for pid in pids.read_text().split()]


@pytest.mark.parametrize("code", [0, 3])
def test_the_commands_exit_code_passes_through(code: int) -> None:
    with subprocess.Popen(
        [*GUARD, "--", "sh", "-c", f"exit {code}"], stdin=subprocess.PIPE
    ) as process:
        assert process.wait(10) == code


def test_a_command_killed_by_a_signal_exits_as_in_a_shell() -> None:
    command = [*GUARD, "--", "sh", "-c", "kill -9 $$"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        assert process.wait(10) == 137


def test_a_missing_command_exits_with_127() -> None:
    done = subprocess.run([*GUARD, "--", "/nowhere/x"], capture_output=True, text=True, timeout=10)
    assert (done.returncode, done.stderr.count("\n")) == (127, 1)


@pytest.mark.parametrize("arguments", [[], ["--"], ["sh"], ["--remove", "x"]])
def test_wrong_arguments_exit_with_2(arguments: list[str]) -> None:
    done = subprocess.run([*GUARD, *arguments], capture_output=True, text=True, timeout=10)
    assert done.returncode == 2
    assert done.stderr.startswith("usage:")


def test_the_command_ends_when_its_starter_is_killed(tmp_path: Path) -> None:
    """SIGKILL gives the starter no chance to clean up."""
    pids, folder = tmp_path / "pids", tmp_path / "folder"
    folder.mkdir()
    script = (
        "import subprocess, sys, time\n"
        "subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE)\n"
        "time.sleep(300)\n"
    )
    command = [*GUARD, "--remove", str(folder), "--", "sh", "-c", FAMILY.format(pids=pids)]
    starter = subprocess.Popen([sys.executable, "-c", script, *command])
    wait_for(pids.exists)
    family = [int(pid) for pid in pids.read_text().split()]
    assert all(alive(pid) for pid in family)
    starter.kill()
    starter.wait(10)
    wait_for(lambda: not any(alive(pid) for pid in family))
    wait_for(lambda: not folder.exists())


def test_a_closed_pipe_ends_the_whole_group(tmp_path: Path) -> None:
    process, family = start_family(tmp_path / "pids")
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(10) == 128 + signal.SIGTERM
    wait_for(lambda: not any(alive(pid) for pid in family))


def test_sigterm_ends_the_command_and_keeps_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    process, family = start_family(tmp_path / "pids", "--remove", str(folder))
    with process:
        process.terminate()
        assert process.wait(10) == 128 + signal.SIGTERM
    wait_for(lambda: not any(alive(pid) for pid in family))
    assert folder.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_signals_of_the_terminal_reach_only_the_starter(tmp_path: Path, number: int) -> None:
    process, family = start_family(tmp_path / "pids")
    with process:
        process.send_signal(number)
        time.sleep(0.3)
        assert process.poll() is None
        assert all(alive(pid) for pid in family)
        process.terminate()
        process.wait(10)
