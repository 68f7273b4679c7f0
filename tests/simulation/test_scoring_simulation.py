"""Every row is scored once, counted once, and told truly, in every history that a seed gives."""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import Any

import pytest

from simulator import seeds
from simulator.kernel import simulation
from simulator.mutant import Mutant
from simulator.run_mutants import SCORING
from simulator.run_world import SETTINGS
from simulator.warehouse import BigQueryClient
from workers.scoring.journal.decisions import Counts, Decision
from workers.scoring.publishing import profile

SEEDS = [range(6), pytest.param(range(6, 60), marks=pytest.mark.slow)]
# Found by the first seeds; `make test-long` looks for all of them
QUICK = ("random job id", "time in the run id", "rows counted in memory", "load job not waited for")


@pytest.mark.parametrize("numbers", SEEDS, ids=str)
def test_every_row_is_scored_once_whatever_happens(numbers: range) -> None:
    total = seeds.play_all("scoring", numbers)
    assert total.histories == len(numbers)
    assert total.calls > 80 * len(numbers)


@pytest.mark.parametrize("mutant", [m for m in SCORING if m.name in QUICK], ids=lambda m: m.name)
def test_a_weaker_design_is_found(mutant: Mutant) -> None:
    assert seeds.find(mutant, range(500)) is not None


def test_two_callers_that_write_the_profile_of_a_run_together_leave_it_once() -> None:
    row = {"role": "feature", "column_name": "x", "row_count": 3}
    decision = Decision("token", (), (), Counts(), "0", profile=(row,))
    at = "2026-03-01T00:00:00+00:00"
    plan: Any = SimpleNamespace(run_id="r", created_at=at, job_stem="mlsys_dev_r_token")
    with seeds.world(), simulation(given=[]) as running:
        warehouse = BigQueryClient(running, "prediction_profiles")
        clients: Any = SimpleNamespace(settings=SETTINGS, bigquery=warehouse)
        for name in ("the first", "another"):
            work = functools.partial(profile.record_profile, clients, "dev", plan, decision)
            running.start(name, work)
        running.run()
        assert len(warehouse.tables["prediction_profiles"].values()) == 1
        assert len(warehouse.tables["prediction_profiles"].ended) == 1  # the other one joined it
