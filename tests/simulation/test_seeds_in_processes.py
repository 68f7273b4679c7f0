"""A seed gives the same history in every process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SUPPORT = Path(__file__).parents[1] / "support"


def digest(seeds: str, hash_seed: str) -> str:
    environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(SUPPORT)}
    command = [sys.executable, "-m", "simulator", seeds, "--digest"]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_two_processes_play_the_same_histories() -> None:
    first, second = digest("1000-1006", "1"), digest("1000-1006", "2")
    assert first == second
