"""A table is as if its undone runs had never been, in every history that a seed gives."""

from __future__ import annotations

import pytest

from simulator import seeds
from simulator.mutant import Mutant
from simulator.undo_mutants import UNDOING

SEEDS = [range(6), pytest.param(range(6, 40), marks=pytest.mark.slow)]


@pytest.mark.parametrize("numbers", SEEDS, ids=str)
def test_undone_runs_leave_nothing_and_what_they_replaced_returns(numbers: range) -> None:
    total = seeds.play_all("tables", numbers)
    assert total.histories == len(numbers)
    assert total.calls > 100 * len(numbers)


@pytest.mark.parametrize("mutant", UNDOING[:1], ids=lambda mutant: mutant.name)
def test_a_weaker_design_is_found(mutant: Mutant) -> None:
    assert seeds.find(mutant, range(500)) is not None
