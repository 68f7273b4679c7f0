"""Whatever races, crashes and is lost: once all is quiet, an alias's log is what happened.

A failing machine prints its steps, and its seed is the test's `number`: run that test again.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from alias_world import HANDLERS, REF, VERSIONS, AliasWorld, Mismatch, Worker
from mlsys.artifact.aliases import AliasDocument
from registry_world import nothing_takes_time
from workers.registry import alias_history, alias_sync, move
from workers.registry.alias_history import AliasRow
from workers.registry.alias_table import write
from workers.registry.move import MoveRequest

FEW, MANY = 25, 150
STEPS = 40
picks = st.integers(0, 30)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing_takes_time(monkeypatch)


class AliasMachine(RuleBasedStateMachine):
    """Takes steps in any order, and lets the world become quiet in the end."""

    def __init__(self) -> None:
        super().__init__()
        self.world = AliasWorld()
        self.lossy, self.order = False, Random(0)
        self.killed: list[MoveRequest] = []

    @initialize(lossy=st.booleans(), order=st.integers(0, 2**32))
    def begin(self, lossy: bool, order: int) -> None:
        """Choose whether events get lost: only then a rescan may repair the log."""
        self.lossy, self.order = lossy, Random(order)

    @precondition(lambda self: self._may_start())
    @rule(
        version=st.sampled_from([*VERSIONS, *VERSIONS, None]),
        expected=st.sampled_from([*VERSIONS, None, None, "none", "none"]),
        steps=st.integers(0, 12),
        lost=st.booleans(),
    )
    def begin_a_move(
        self, version: str | None, expected: str | None, steps: int, lost: bool
    ) -> None:
        worker = self.world.start_move(version, expected, lost=lost)
        if worker in self.world.workers:
            self.world.step(worker, steps)

    @precondition(lambda self: self.killed and self._may_start())
    @rule(pick=picks)
    def repeat_a_move_that_was_killed(self, pick: int) -> None:
        request = self.killed[pick % len(self.killed)]
        self.world.start_move(None, None, again=request)

    @rule(kind=st.integers(0, 7), pick=picks)
    def drop_a_file(self, kind: int, pick: int) -> None:
        self.world.drop(kind, pick)

    @rule()
    def delete_the_object(self) -> None:
        self.world.delete()

    @precondition(lambda self: self._may_start() and self.world.waiting())
    @rule(pick=picks, steps=st.integers(0, 8))
    def deliver(self, pick: int, steps: int) -> None:
        waiting = self.world.waiting()
        self.world.step(self.world.deliver(waiting[pick % len(waiting)]), steps)

    @precondition(lambda self: self.lossy and self.world.waiting())
    @rule(pick=picks)
    def lose_an_event(self, pick: int) -> None:
        waiting = self.world.waiting()
        self.world.lose(waiting[pick % len(waiting)])

    @precondition(lambda self: self.lossy and self._may_start())
    @rule(steps=st.integers(0, 8))
    def start_a_rescan(self, steps: int) -> None:
        self.world.step(self.world.start_rescan(), steps)

    @precondition(lambda self: self.world.workers)
    @rule(pick=picks, steps=st.integers(1, 8))
    def step(self, pick: int, steps: int) -> None:
        self.world.step(self._worker(pick), steps)

    @precondition(lambda self: self.world.workers)
    @rule(pick=picks, to=st.sampled_from(["upload", "uploaded", "running", "ended", ""]))
    def run_to(self, pick: int, to: str) -> None:
        self.world.run(self._worker(pick), to)

    @precondition(lambda self: self.world.workers)
    @rule(pick=picks)
    def crash(self, pick: int) -> None:
        worker = self._worker(pick)
        self.world.kill(worker)
        if worker.request is not None:
            self.killed.append(worker.request)

    @rule()
    def become_quiet(self) -> None:
        self.world.quiet(self.order)

    def teardown(self) -> None:
        try:
            self.world.quiet(self.order)
        finally:
            self.world.close()

    def _may_start(self) -> bool:
        return len(self.world.workers) < HANDLERS

    def _worker(self, pick: int) -> Worker:
        return self.world.workers[pick % len(self.world.workers)]


def run_machines(machines: int, number: int, *, shrink: bool = True) -> None:
    """Run machines of one seed."""

    class Machine(AliasMachine):
        pass

    run_state_machine_as_test(
        seed(number)(Machine),
        settings=settings(
            max_examples=machines,
            stateful_step_count=STEPS,
            database=None,
            phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
            report_multiple_bugs=False,
        ),
    )


def test_the_log_is_what_happened_after_25_machines() -> None:
    run_machines(FEW, 0)


@pytest.mark.long
@pytest.mark.parametrize("number", range(10))
def test_the_log_is_what_happened_after_1500_machines(number: int) -> None:
    run_machines(MANY, number)


# Weaker designs: the same machines expose each of them


def without_a_precondition(patch: pytest.MonkeyPatch) -> None:
    """Write the object whatever has been written since it was read."""

    def write_anyway(clients: Any, env: str, request: MoveRequest, record: Any) -> Any:
        blob = clients.storage.bucket(clients.settings.models_bucket(env)).blob(request.ref.path)
        name = record.move(request.request_id)
        document = AliasDocument(record.version, record.why, name, record.replaced)
        blob.upload_from_string(document.content(), if_generation_match=None)
        return move._logged(clients, env, request, record, blob.generation)

    patch.setattr(move, "_carry_out", write_anyway)


def logged_before_the_object(patch: pytest.MonkeyPatch) -> None:
    """Write the log's row first: a writer that loses, or that dies, has logged a move."""
    carry_out = move._carry_out

    def write_first(clients: Any, env: str, request: MoveRequest, record: Any) -> Any:
        row = AliasRow(
            *(REF.model, REF.alias, env),
            generation=int(request.request_id, 16),
            moved_at=dt.datetime(2026, 3, 2, tzinfo=dt.UTC),
            version=record.version,
            deleted=record.version is None,
            who=record.who,
        )
        write(clients, env, [row])
        return carry_out(clients, env, request, record)

    patch.setattr(move, "_carry_out", write_first)


def who_from_the_file(patch: pytest.MonkeyPatch) -> None:
    """Believe what a file says about who put it there, as one would a header."""
    read = alias_sync._read

    def believing(clients: Any, env: str, trigger: Any, blob: Any) -> Any:
        row = read(clients, env, trigger, blob)
        try:
            claimed = json.loads(blob.content).get("who")
        except ValueError:
            claimed = None
        return dataclasses.replace(row, who=row.who or claimed)

    patch.setattr(alias_sync, "_read", believing)


def any_copy_is_the_services(patch: pytest.MonkeyPatch) -> None:
    """Take every object with a record's name for the service's own."""
    patch.setattr(alias_history, "_without_copies", list)


def only_the_live_generation(patch: pytest.MonkeyPatch) -> None:
    """List only what the bucket has now."""
    listed = alias_sync._list

    def live(*arguments: Any) -> Any:
        blobs, foreign = listed(*arguments)
        kept = {name: [b for b in each if not b.time_deleted] for name, each in blobs.items()}
        return kept, foreign

    patch.setattr(alias_sync, "_list", live)


def in_the_order_of_generations(patch: pytest.MonkeyPatch) -> None:
    """Take the higher generation for the later one."""

    def by_number(generations: Any) -> Any:
        return sorted(generations, key=lambda g: g.row.generation)

    patch.setattr(alias_history, "in_order", by_number)


def no_own_write_recognised(patch: pytest.MonkeyPatch) -> None:
    """Take a failed precondition for a lost race, although the answer may have been lost."""
    patch.setattr(move, "_own", lambda *arguments: None)


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize(
    ("design", "text"),
    [
        (without_a_precondition, "history|chain|answers"),
        (logged_before_the_object, "history"),
        (who_from_the_file, "history"),
        (any_copy_is_the_services, "history"),
        (only_the_live_generation, "history|chain"),
        (in_the_order_of_generations, "history|chain"),
        (no_own_write_recognised, "answers"),
    ],
)
def test_the_machines_expose_a_weaker_design(
    design: Callable[[pytest.MonkeyPatch], None], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    design(monkeypatch)
    with pytest.raises(Mismatch, match=text):
        run_machines(MANY, 0, shrink=False)


def test_of_50_concurrent_moves_exactly_one_wins() -> None:
    world = AliasWorld()
    world.run(world.start_move("v1", "none"))
    movers = [world.start_move("v2", "v1") for _ in range(50)]
    for mover in movers:
        world.run(mover, "upload")  # all have read v1, and asked the guard
    order = Random(0)
    while world.workers:
        world.step(order.choice(world.workers))
    assert len(world.moved) == 2 and len(world.refused) == 49
    winner = world.moved[-1].who
    errors = [str(mover.turn.error) for mover in movers if mover.turn.error]
    assert all(f"names v2, not v1. It was moved by {winner} at 2026" in text for text in errors)
    world.quiet(order)


def test_60_moves_with_half_of_all_events_lost_give_the_whole_history() -> None:
    many(60)


@pytest.mark.long
def test_1000_moves_with_half_of_all_events_lost_give_the_whole_history() -> None:
    many(1000)


def many(moves: int) -> None:
    world, order = AliasWorld(), Random(1)
    for number in range(moves):
        if number % 10 == 3:
            world.drop(order.randint(0, 7), order.randint(0, 30))
        elif number % 10 == 7:
            world.delete()
        else:
            worker = world.start_move(VERSIONS[number % 3], None)
            world.run(worker, "uploaded")  # of the record
            if order.random() < 0.5:
                world.run(worker)
            else:
                world.step(worker)
                world.run(worker, "uploaded")
                if worker in world.workers:
                    world.kill(worker)  # the object is written, the log is not
        for event in world.waiting():
            if order.random() < 0.5:
                world.lose(event)
        if waiting := world.waiting():
            world.run(world.deliver(waiting[0]))
    world.quiet(order)
    assert len(world.history) >= 0.6 * moves
