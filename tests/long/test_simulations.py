"""Many histories: no failure, each point met by each fault, and each weaker design found."""

from __future__ import annotations

import pytest

from simulator import seeds
from simulator.mutant import Mutant
from simulator.mutants import MUTANTS

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]
MANY = {
    "registry": 20_000,
    "scoring": 10_000,
    "jobs": 10_000,
    "increments": 10_000,
    "tables": 10_000,
    "backfills": 5_000,
}
CERTAIN = 12  # times; a fault that is expected so often is missed once in 160,000 (e^-12)


@pytest.mark.parametrize("scenario", seeds.SCENARIOS)
def test_every_point_meets_every_fault_and_nothing_fails(scenario: str) -> None:
    total = seeds.play_all(scenario, range(MANY.get(scenario, 10_000)))
    assert total.never_reached(CERTAIN) == []


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_weaker_design_is_found_within_500_seeds(mutant: Mutant) -> None:
    assert seeds.find(mutant, range(500)) is not None
