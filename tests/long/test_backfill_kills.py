"""Sixty partitions, and the service and the command are killed between: each is scored once.

`tests/stack/scoring/test_backfill.py` is the small form.
"""

import datetime as dt
import random
import subprocess
import sys
import time

import pytest

from backfill_cases import Command
from mlsys.local.stack import LocalStack
from scoring_cases import Lab

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(1800),
    pytest.mark.usefixtures("environment"),
]

DAYS = [(dt.date(2026, 10, 1) + dt.timedelta(days=n)).isoformat() for n in range(60)]
ROWS = 2_000  # a day


def wait_for(command: Command, done: int) -> dict[str, int]:
    """Wait until as many partitions are done, and return the totals of the board."""
    deadline = time.monotonic() + 300
    while (totals := command.board()["totals"])["done"] < done:
        assert time.monotonic() < deadline, totals
        time.sleep(0.5)
    counts: dict[str, int] = totals
    return counts


def test_a_backfill_of_sixty_partitions_survives_kills_of_both_sides(stack: LocalStack) -> None:
    command, rng = Command(Lab(stack), DAYS, ROWS), random.Random(0)
    assert command.board()["totals"]["missing"] == len(DAYS)
    line = [sys.executable, "-m", "mlsys.cli", *command.words, "--parallel", "3"]
    for done in (12, 30):
        with subprocess.Popen(line, env=stack.environment) as at_work:
            before = wait_for(command, done)
            time.sleep(rng.uniform(0, 1))
            stack.kill_service()
            at_work.kill()
        stack.restart_service()
        during = command.board()["totals"]
        print(f"killed at {before}, then {during}")
        assert before["done"] <= during["done"] < len(DAYS)
        assert during["stale"] == during["failed"] == 0
    with subprocess.Popen(line, env=stack.environment) as at_work:
        wait_for(command, 45)
        stack.kill_service()  # the command waits for it
        stack.restart_service()
        assert at_work.wait(300) == 0
    command.check()
    assert command.board()["totals"]["rows"] == len(DAYS) * ROWS
    ledger = command.ledger()
    assert command.run() == 0
    assert command.ledger()["finished_at"].tolist() == ledger["finished_at"].tolist()
