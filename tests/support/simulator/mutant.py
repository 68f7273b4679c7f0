"""A weaker design: a small change of the code under test that the simulator has to find."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from simulator.kernel import Actor, current

Patch = pytest.MonkeyPatch


@dataclass(frozen=True)
class Mutant:
    """A change of the code under test, and the scenario that has to find it."""

    name: str
    scenario: str
    change: Callable[[Patch], None]


def running() -> Actor:
    """Return the actor that runs."""
    simulation = current()
    assert simulation is not None
    return simulation.actor()
