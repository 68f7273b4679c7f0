"""Every weaker design follows the code; `make test-long` plays those that are not played here."""

from __future__ import annotations

import pytest

from simulator import seeds
from simulator.mutant import Mutant
from simulator.mutants import MUTANTS


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_weaker_design_replaces_what_is_there(mutant: Mutant) -> None:
    with seeds.world() as patch:
        mutant.change(patch)
