"""Incremental runs publish no row twice and lose none, in whatever order they work and die."""

import datetime as dt
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from incremental_world import OUTPUT, History, Row, World, install
from mlsys.errors import Conflict, RunCancelled, SchemaMismatch, TryAgain
from workers.scoring.engines import beam, cloud_run_job, run
from workers.scoring.journal.store import RunStore
from workers.scoring.planning import claims, still_counts
from workers.scoring.planning.claims import Claims, Status
from workers.scoring.planning.incremental import outputs_of
from workers.scoring.planning.removed_rows import note_removed
from workers.scoring.request.parsed import IDS
from workers.scoring.shards import materialized_view, unscored
from workers.scoring.shards.chain import WHOLE

SEEDS = range(30)  # `make test-long` plays more
STEPS = 60
EMPTY: Any = None


@pytest.fixture
def patch() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


def play(patch: pytest.MonkeyPatch, seed: int, **kinds: bool) -> History:
    world = World(random.Random(seed))
    install(patch, world)
    history = History(world, **kinds)
    history.play(STEPS)
    return history


def written(history: History, version: str | None = None) -> Counter[int]:
    rows = history.world.output
    return Counter(row.id for row, v, _ in rows if version in (None, v))


def everything(history: History) -> Counter[int]:
    return Counter(row.id for row in history.world.rows)


def test_rows_by_a_column_are_written_once_and_none_is_missing(patch: pytest.MonkeyPatch) -> None:
    """Whatever version scores them: the watermark is the output's."""
    runs = 0
    for seed in SEEDS:
        history = play(patch, seed, ids=False, undone=False, late=False)
        history.score("n")
        assert written(history) == everything(history), seed
        runs += len(history.world.done())
    assert runs > 3 * len(SEEDS)


def test_rows_by_ids_are_written_once_a_version_and_none_is_missing(
    patch: pytest.MonkeyPatch,
) -> None:
    for seed in SEEDS:
        history = play(patch, seed, column=False)
        for version in ("v1", "v2"):
            history.score(IDS, version)
            assert written(history, version) == everything(history), seed


def test_runs_by_a_column_and_by_ids_write_no_row_twice(patch: pytest.MonkeyPatch) -> None:
    """Ids repair what a column leaves: late rows, and those of runs that were undone."""
    refused = 0
    for seed in SEEDS:
        history = play(patch, seed)
        refused += history.refused
        for version in ("v1", "v2"):
            assert max(written(history, version).values(), default=1) == 1, seed
            history.score(IDS, version)
            assert written(history, version) == everything(history), seed
    assert refused


def test_the_newest_runs_undo_steps_the_watermark_back(patch: pytest.MonkeyPatch) -> None:
    world = World(random.Random(0))
    install(patch, world)
    history = History(world)
    world.rows += [Row(0, 1), Row(1, 2)]
    first = history.score("n")
    world.rows += [Row(2, 3)]
    second = history.score("n")
    assert first is not None and second is not None
    assert [second.plan.incremental.above.value, second.plan.incremental.up_to.value] == ["2", "3"]
    for _ in world.undo(second):
        pass
    third = history.score("n")
    assert third is not None and third.plan.incremental.above.value == "2"
    for other in (third, first):
        for _ in world.undo(other):
            pass
    last = history.score("n")
    assert last is not None and last.plan.incremental.above is None
    assert written(history) == everything(history)


def test_late_rows_are_counted_once_for_each_watermark(patch: pytest.MonkeyPatch) -> None:
    world = World(random.Random(0))
    install(patch, world)
    history = History(world)
    world.rows += [Row(0, 10), Row(1, 20)]
    history.score("n")
    world.rows += [Row(2, 20), Row(3, 5), Row(4, 30)]
    run = history.score("n")
    assert run is not None
    part = run.plan.incremental
    assert (part.rows, part.rows_below, part.rows_late) == (1, 4, 2)
    empty = history.score("n")
    assert empty is not None and not empty.plan.incremental.moves
    assert empty.plan.incremental.rows_late == 0
    history.score(IDS)
    assert written(history) == everything(history)


def test_a_run_without_rows_claims_nothing(patch: pytest.MonkeyPatch) -> None:
    world = World(random.Random(0))
    install(patch, world)
    history = History(world)
    chain = Claims(world.clients, "dev", world.request("n", "v1").output_table, "m")
    history.score("n")
    assert chain.newest() is None  # nor a watermark: the input is empty
    world.rows += [Row(0, 1)]
    for _ in range(3):
        history.score("n")
    newest = chain.newest()
    assert newest is not None and (newest.number, newest.marks) == (0, {})
    key = outputs_of("dev", "project1.d.output", "m")
    assert f"_incremental/{key}/999999999.json" in world.clients.storage.bucket("runs").objects


def world_with_table(patch: pytest.MonkeyPatch) -> tuple[World, Any]:
    """Return a world whose output is always the same table, as nobody has written to it since."""
    world = World(random.Random(0))
    install(patch, world)
    table = SimpleNamespace(created=dt.datetime(2026, 1, 1), modified=dt.datetime(2026, 1, 2))
    patch.setattr(still_counts, "find_table", lambda *_: table)
    return world, table


def test_a_run_by_ids_means_its_request_until_a_run_before_it_is_undone(
    patch: pytest.MonkeyPatch,
) -> None:
    """Even if its rows were removed before this run's were loaded."""
    world, table = world_with_table(patch)
    world.rows += [Row(0, 1)]
    first = History(world).score(IDS)
    world.rows += [Row(1, 2)]
    second = History(world).score(IDS)
    assert first is not None and second is not None
    second.plan.output.write_disposition = "WRITE_APPEND"
    result = replace(world.result(second), env="dev", output_modified=table.modified.isoformat())
    RunStore(world.clients, "dev", second.plan.run_id).create("plan.json", {})
    assert still_counts.still_counts(world.clients, second.plan, result)
    for _ in world.undo(first):
        pass
    assert not still_counts.still_counts(world.clients, second.plan, result)
    third = History(world).score(IDS)
    assert third is not None and third.plan.incremental.after == (1,)
    assert sorted(row.id for row, *_ in world.output) == [0, 1]


def test_a_run_by_ids_is_over_once_rows_that_it_left_out_are_removed(
    patch: pytest.MonkeyPatch,
) -> None:
    """It may have found the rows of any run, also of one that its plan does not know."""
    world, table = world_with_table(patch)
    runs = []
    for number in range(3):
        world.rows += [Row(number, number)]
        runs.append(History(world).score(IDS))
        assert runs[-1] is not None
    first, _, third = (prepared.plan for prepared in runs)
    assert third.incremental.after == (1,)
    third.output.write_disposition = "WRITE_APPEND"
    result = replace(world.result(runs[2]), env="dev", output_modified=table.modified.isoformat())
    RunStore(world.clients, "dev", third.run_id).create("plan.json", {})
    assert still_counts.still_counts(world.clients, third, result)
    note_removed(world.clients, "dev", first)
    assert not still_counts.still_counts(world.clients, third, result)


def test_the_output_is_looked_up_after_the_result_of_a_run(patch: pytest.MonkeyPatch) -> None:
    """Looked up before, it may not exist yet, and the run's rows would be scored again."""
    world = World(random.Random(0))
    install(patch, world)
    world.rows += [Row(0, 1)]
    first = History(world).score("n")
    assert first is not None
    chain = Claims(world.clients, "dev", world.request("n", "v1").output_table, "m")
    newest, looks = chain.newest(), []
    real_result, real_table = claims.read_result, claims.find_table
    patch.setattr(claims, "read_result", lambda *a: looks.append("result") or real_result(*a))
    patch.setattr(claims, "find_table", lambda *a: looks.append("table") or real_table(*a))
    assert newest is not None and chain.status(newest) is Status.DONE
    assert looks == ["result", "table"]


@pytest.mark.parametrize("steps", [0, 1, 2], ids=["planned", "begun", "scored"])
def test_a_run_gives_way_if_the_rows_before_it_are_undone(
    patch: pytest.MonkeyPatch, steps: int
) -> None:
    """Else its watermark would stand above rows that nobody has scored."""
    world = World(random.Random(0))
    install(patch, world)
    history = History(world)
    world.rows += [Row(0, 1)]
    first = history.score("n")
    world.rows += [Row(1, 2)]
    second = world.plan("n", "v1")
    work = world.work(second)
    for _ in range(steps):
        next(work)
    assert first is not None
    for _ in world.undo(first):
        pass
    with pytest.raises(RunCancelled, match="repeat the request"):
        for _ in work:
            pass
    history.score("n")
    assert written(history) == everything(history)


def test_a_run_that_cannot_be_finished_is_named_to_those_that_go_on_from_it(
    patch: pytest.MonkeyPatch,
) -> None:
    world = World(random.Random(0))
    install(patch, world)
    world.rows += [Row(0, 1)]
    work = world.work(world.plan("n", "v1"))
    for _ in range(4):  # it dies before the load
        next(work)
    world.rows += [Row(1, 2)]
    second = world.work(world.plan("n", "v1"))

    def refuse(_: object) -> None:
        raise SchemaMismatch("the table has other columns")

    with pytest.MonkeyPatch.context() as broken:
        broken.setattr(world, "load", refuse)
        with pytest.raises(Conflict, match="from the rows of run0.*other columns"):
            next(second)
    History(world).score("n")
    assert sorted(row.id for row, _, _ in world.output) == [0, 1]


def test_ids_are_not_compared_before_the_rows_of_earlier_runs_are_loaded(
    patch: pytest.MonkeyPatch,
) -> None:
    """The query that copies the rows checks it, for every engine."""
    world = World(random.Random(0))
    install(patch, world)
    world.rows += [Row(0, 1)]
    first = world.plan("n", "v1")
    work = world.work(first)
    for _ in range(4):
        next(work)
    by_ids = world.plan(IDS, "v1").plan

    class Compared(Exception):
        """The query that compares the ids is about to be made."""

    def compare(*_: object) -> None:
        raise Compared

    patch.setattr(materialized_view, "copy_of", lambda *_: OUTPUT)
    patch.setattr(materialized_view, "lacking_of", compare)

    def copy() -> None:
        materialized_view.materialize(world.clients, "dev", by_ids, lambda: False)

    with pytest.raises(TryAgain, match="run0 has not published its rows yet"):
        copy()  # also while the output table does not exist
    world.finish(first.run_id)
    with pytest.raises(Compared):
        copy()


@pytest.mark.parametrize("engine", ["service", "job", "beam"])
def test_every_engine_waits_before_it_opens_a_session(
    patch: pytest.MonkeyPatch, engine: str
) -> None:
    class Opened(Exception):
        pass

    def opened(*_: object, **__: object) -> None:
        steps.append("session")
        raise Opened

    steps: list[str] = []
    store, settings = RunStore(EMPTY, "dev", "r"), SimpleNamespace(job_tasks=1, job_cpus=1)
    clients: Any = SimpleNamespace(settings=settings)
    module: Any = {"service": run, "job": cloud_run_job, "beam": beam}[engine]
    patch.setattr(module, "finish_before", lambda *_, **__: steps.append("others"))
    opener: Any = unscored if engine == "service" else module
    patch.setattr(opener, "current_session", opened)
    prepared: Any = SimpleNamespace(store=store, plan=SimpleNamespace(run_id="r"))
    with pytest.raises(Opened):
        if engine == "service":
            patch.setattr(run, "read_decision", lambda _: None)
            work = run._Work(clients, prepared, *(EMPTY,) * 2, None, WHOLE, *(EMPTY,) * 3)
            run._work(work)
        elif engine == "job":
            cloud_run_job._start(clients, prepared, EMPTY, None, lambda: False, None)
        else:
            patch.setattr(beam, "read_plan", lambda _: prepared.plan)
            patch.setattr(beam, "check_not_cancelled", lambda *_: None)
            beam.prepare(EMPTY, store, EMPTY)
    assert steps == ["others", "session"]


def test_a_new_output_table_begins_without_reading_the_claims_of_the_old_one(
    patch: pytest.MonkeyPatch,
) -> None:
    world = World(random.Random(0))
    install(patch, world)
    history = History(world)
    for n in range(10):
        world.rows.append(Row(n, n))
        history.score("n")
    world.loaded.clear()
    world.output.clear()  # the table is deleted
    read: list[int] = []
    chain_read = Claims.read
    patch.setattr(Claims, "read", lambda self, n: read.append(n) or chain_read(self, n))
    again = history.score("n")
    assert again is not None and again.plan.incremental.base is None
    assert written(history) == everything(history)
    assert set(read) == {9, 10}  # 10: nobody has it yet
