"""No process of a browser and no profile is left, however its test ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from browser import MARKS, browser

pytestmark = list(MARKS)
OWNER = """
import time
from browser import browser
with browser() as window:
    print(window.options.arguments[-1].partition("=")[2], flush=True)
    time.sleep(60)
"""


def processes(profile: str) -> list[psutil.Process]:
    """Return the processes that use a profile."""
    return [
        each
        for each in psutil.process_iter(["cmdline"])
        if profile in " ".join(each.info["cmdline"] or ())
    ]


def ended(profile: str) -> bool:
    """Return whether the processes and the folder of a profile are gone within 20 seconds."""
    until = time.monotonic() + 20
    while processes(profile) or Path(profile).exists():
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True


def test_a_browser_ends_with_a_test_that_fails() -> None:
    with pytest.raises(AssertionError), browser() as window:
        profile = window.options.arguments[-1].partition("=")[2]
        assert len(processes(profile)) > 2
        raise AssertionError
    assert ended(profile)


def test_a_browser_ends_with_its_owners_process_group() -> None:
    support = Path(__file__).parents[1] / "support"
    command = [sys.executable, "-c", OWNER]
    with subprocess.Popen(
        command, cwd=support, stdout=subprocess.PIPE, text=True, process_group=0
    ) as owner:
        assert owner.stdout is not None
        profile = owner.stdout.readline().strip()
        assert len(processes(profile)) > 2
        os.killpg(owner.pid, signal.SIGKILL)
    assert ended(profile)
