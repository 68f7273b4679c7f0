"""Backfills leave each partition scored once, and the board says so, in every history of a seed."""

from __future__ import annotations

import pytest

from simulator import seeds
from simulator.backfill_mutants import BACKFILLS
from simulator.mutant import Mutant

SEEDS = [range(6), pytest.param(range(6, 60), marks=pytest.mark.slow)]


@pytest.mark.parametrize("numbers", SEEDS, ids=str)
def test_every_partition_is_done_once_whatever_happens(numbers: range) -> None:
    total = seeds.play_all("backfills", numbers)
    assert total.histories == len(numbers)
    assert total.calls > 100 * len(numbers)


@pytest.mark.parametrize("mutant", BACKFILLS[:3], ids=lambda mutant: mutant.name)
def test_a_weaker_design_is_found(mutant: Mutant) -> None:
    assert seeds.find(mutant, range(500)) is not None
