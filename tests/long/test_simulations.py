"""Many histories: no failure, each point met by each fault, and each weaker design found."""

from __future__ import annotations

import pytest

from simulator import seeds
from simulator.__main__ import never_reached
from simulator.mutants import MUTANTS, Mutant

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]
MANY = 20_000


@pytest.mark.parametrize("scenario", seeds.SCENARIOS)
def test_every_point_meets_every_fault_and_nothing_fails(scenario: str) -> None:
    total = seeds.play_all(scenario, range(MANY))
    assert never_reached(total.reached) == []


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_weaker_design_is_found_within_500_seeds(mutant: Mutant) -> None:
    assert seeds.find(mutant, range(500)) is not None
