"""Starting and ending the processes that score and verify."""

import importlib.util
import os
import subprocess
import time
from multiprocessing.connection import wait

import pytest

from workers.forking import PRELOAD, context, kill


@pytest.mark.parametrize("name", PRELOAD)
def test_a_preloaded_module_exists(name: str) -> None:
    """The fork server ignores an ImportError, and every process would import the module itself.

    https://docs.python.org/3/library/multiprocessing.html#multiprocessing.set_forkserver_preload
    """
    assert importlib.util.find_spec(name) is not None


def test_a_process_is_killed() -> None:
    process = context().Process(target=time.sleep, args=(60,))
    process.start()
    kill(process)
    process.join(10)
    assert not process.is_alive()


def test_kill_does_not_signal_a_reused_pid() -> None:
    process = context().Process(target=os.getpid)
    process.start()
    assert wait([process.sentinel], 60)
    with subprocess.Popen(["sleep", "60"]) as other:
        process._popen.pid = other.pid  # as the system may reuse it
        kill(process)
        try:
            other.wait(0.5)
        except subprocess.TimeoutExpired:
            survived = True
        else:
            survived = False
        other.kill()
    assert survived
