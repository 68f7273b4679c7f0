"""A run whose process died before the ledger's row is recorded by a later rescan."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from simulator import seeds
from simulator.kernel import simulation
from simulator.scoring import Scoring
from workers.scoring.engines import run
from workers.scoring.engines.unrecorded import record_ended
from workers.scoring.journal.at_work import FOLDER
from workers.scoring.publishing import cancellation, publication, undo

HOUR = 3600.0


class World(Scoring):
    """One run of the simulator's cloud, whose processes die where a test says so."""

    def do(self, work: Callable[[], Any], after: float = 0.0) -> Any:
        """Return what the work returns, some time later."""
        actor = self.simulation.start("somebody", work, after=after)
        self.simulation.run()
        assert actor.error is None, actor.error
        return actor.answer

    def score(self) -> Any:
        return self.do(lambda: self._work(self.request, 3540.0))

    def score_and_die(self, module: ModuleType, at: str) -> None:
        """Score, and die where the module calls a function of its own by that name."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, at, self.die)
            self.score()

    def rescan(self, after: float = 2 * HOUR) -> int:
        recorded = self.do(functools.partial(record_ended, self.clients, "dev"), after)
        assert isinstance(recorded, int)
        return recorded

    def states(self) -> list[str]:
        return [row["state"] for row in self.bigquery.tables["prediction_runs"].values()]

    def marked(self) -> list[str]:
        return [name for name in self.runs.objects if name.startswith(FOLDER)]

    def die(self, *_: Any, **__: Any) -> None:
        self.simulation.crash(self.simulation.actor())


@pytest.fixture
def world() -> Iterator[World]:
    with seeds.world(), simulation(given=[]) as running:
        yield World(running)


def test_a_run_that_died_after_its_result_is_recorded_an_hour_later(world: World) -> None:
    world.score_and_die(run, "record")
    assert (world.states(), len(world.marked())) == ([], 1)
    assert world.rescan(after=60.0) == 0  # another try may be about to do it
    assert world.states() == []
    assert world.rescan() == 1
    assert (world.states(), world.marked()) == (["succeeded"], [])
    assert world.rescan() == 0


def test_a_run_whose_canceller_died_is_recorded(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.score_and_die(run, "decide")
    with monkeypatch.context() as patch:
        patch.setattr(cancellation, "record", world.die)
        run_id = world.audit.run_ids()[0]
        world.do(lambda: cancellation.cancel(world.clients, "dev", run_id))
    assert world.states() == []
    assert world.rescan() == 1
    assert (world.states(), world.marked()) == (["cancelled"], [])


@pytest.mark.parametrize("dies_at", ["remove", "record"])
def test_an_undo_that_died_is_taken_to_its_end(
    world: World, monkeypatch: pytest.MonkeyPatch, dies_at: str
) -> None:
    run_id = world.score().run_id
    assert world.marked() == []
    with monkeypatch.context() as patch:
        patch.setattr(undo, dies_at, world.die)
        world.do(lambda: undo.undo(world.clients, "dev", run_id, by=None, why="wrong"))
    assert world.states() == ["succeeded"]
    assert world.rescan() == 1
    assert (world.states(), world.marked()) == (["undone"], [])
    assert world.audit.rows(world.setup.output, run_id) == []


@pytest.mark.parametrize(("dies_at", "recorded"), [("load_times", 1), ("publish_output", 0)])
def test_a_run_that_died_as_it_published_is_finished_if_its_load_job_was_started(
    world: World, dies_at: str, recorded: int
) -> None:
    world.score_and_die(publication, dies_at)
    assert world.audit.state(world.audit.run_ids()[0]) == ""
    assert world.rescan() == recorded
    assert world.states() == ["succeeded"] * recorded
    assert len(world.marked()) == 1 - recorded
    if recorded:
        world.audit.check_rows()


def test_a_run_that_works_and_what_is_not_a_run_are_left_alone(world: World) -> None:
    world.score_and_die(run, "decide")
    world.runs.put(f"{FOLDER}not a run!.json", b"{}")
    world.runs.put(f"{FOLDER}deleted.json", b"{}")
    before = world.marked()
    assert world.rescan() == 0
    assert world.marked() == before


def test_a_run_that_cannot_be_recorded_keeps_no_other_from_it(world: World) -> None:
    world.score_and_die(run, "record")
    world.runs.put(f"{FOLDER}damaged.json", b"{}")
    world.runs.put("damaged/plan.json", b"[]")
    world.runs.objects[f"{FOLDER}damaged.json"].created = -HOUR  # the oldest one
    assert world.rescan() == 1
    assert world.states() == ["succeeded"]
