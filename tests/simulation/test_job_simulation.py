"""Tasks of a job leave what one process leaves, in every history that a seed gives."""

from __future__ import annotations

import pytest

from simulator import seeds
from simulator.job_mutants import JOBS
from simulator.mutant import Mutant

SEEDS = [range(12), pytest.param(range(12, 60), marks=pytest.mark.slow)]
QUICK = ("an execution without a claim",)  # `make test-long` looks for all of them


@pytest.mark.parametrize("numbers", SEEDS, ids=str)
def test_every_row_is_scored_once_whatever_happens_to_tasks_and_executions(numbers: range) -> None:
    total = seeds.play_all("jobs", numbers)
    assert total.histories == len(numbers)
    assert total.calls > 100 * len(numbers)


@pytest.mark.parametrize("mutant", [m for m in JOBS if m.name in QUICK], ids=lambda m: m.name)
def test_a_weaker_design_is_found(mutant: Mutant) -> None:
    assert seeds.find(mutant, range(500)) is not None
