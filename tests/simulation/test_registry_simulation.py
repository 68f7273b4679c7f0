"""The registry and the log of aliases are the bucket's, in every history that a seed gives.

A failing seed prints the shortest history found. `make simulate SEEDS=...` plays more.
"""

from __future__ import annotations

from typing import Any

import pytest

from samples import sampled
from simulator import seeds
from simulator.kernel import simulation
from simulator.mutant import Mutant
from simulator.registry import Registry
from simulator.registry_mutants import REGISTRY
from simulator.warehouse import UnknownStatement
from workers.query import run

SEEDS = [range(25), pytest.param(range(25, 300), marks=pytest.mark.slow)]
WITHIN = range(500)


@pytest.mark.parametrize("numbers", SEEDS, ids=str)
def test_the_registry_is_the_bucket_whatever_happens(numbers: range) -> None:
    total = seeds.play_all("registry", numbers)
    assert total.histories == len(numbers)
    assert total.calls > 20 * len(numbers)


@pytest.mark.parametrize(
    "mutant", sampled({mutant.name: mutant for mutant in REGISTRY}, 3, __file__)
)
def test_a_weaker_design_is_found(mutant: Mutant) -> None:
    assert seeds.find(mutant, WITHIN) is not None


def test_a_seed_plays_the_same_history_again() -> None:
    with seeds.world():
        first, second = (seeds.play("registry", 7, lines=True) for _ in range(2))
    assert first.lines and first.lines == second.lines


@pytest.mark.slow
def test_a_failing_seed_prints_a_short_history_that_a_person_can_read() -> None:
    [mutant] = [m for m in REGISTRY if m.name == "record after the alias's object"]
    failed = seeds.find(mutant, WITHIN)
    assert failed is not None
    with seeds.world() as patch:
        mutant.change(patch)
        again = seeds.play(failed.scenario, failed.seed, list(failed.choices))
        assert again.lines == failed.lines
        shortest = seeds.shrink(failed, most=120)
    lines = shortest.text().splitlines()
    assert lines[0].startswith(f"seed {failed.seed} of registry: Mismatch: ")
    assert 5 < len(lines) < 150
    number = lines[-1].split(maxsplit=1)[0]
    assert number == f"{len(lines) - 1}."
    assert len(lines) <= len(failed.lines)
    assert any("upload m/aliases/" in line for line in lines)


def test_a_statement_that_the_simulator_does_not_know_ends_the_history() -> None:
    with seeds.world(), simulation(0) as running:
        world: Any = Registry(running)
        with pytest.raises(UnknownStatement):
            run(world.clients, "dev", "SELECT 1")
