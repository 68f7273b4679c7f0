"""Incremental runs in memory, one step at a time: their claims and objects are the real code's.

What BigQuery does (counting, copying, loading) is a few lines of Python over lists of rows. Runs
interleave, die between any two steps, are resumed or undone, as a seed decides.
"""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from mlsys.cloud.tables import TableRef
from mlsys.errors import Conflict, RunCancelled, RunPublished, TryAgain
from simulator.kernel import Simulation
from simulator.storage import Bucket, StorageClient
from workers.scoring.engines import turns
from workers.scoring.journal.decisions import Cancellation, Counts, Decision, read_decision
from workers.scoring.journal.outcomes import Result
from workers.scoring.journal.store import RunStore
from workers.scoring.journal.undone import Undo
from workers.scoring.planning import claims, increments
from workers.scoring.planning.columns import Column
from workers.scoring.planning.increments import plan_incremental
from workers.scoring.planning.new_rows import Counted
from workers.scoring.request.parsed import IDS, ScoringRequest

INPUT, OUTPUT = TableRef("project1", "d", "input"), TableRef("project1", "d", "output")


@dataclass(frozen=True)
class Row:
    """A row of the input."""

    id: int
    n: int  # the column of the watermark


@dataclass
class Run:
    """A run: its plan, and the snapshot that it reads."""

    run_id: str
    plan: Any
    snapshot: tuple[Row, ...]
    parts: list[Row] | None = None  # what it scored, once it has


@dataclass
class World:
    """One input, one output, and everybody's runs."""

    choices: random.Random
    rows: list[Row] = field(default_factory=list)
    output: list[tuple[Row, str, str]] = field(default_factory=list)  # row, version, run
    loaded: set[str] = field(default_factory=set)
    runs: dict[str, Run] = field(default_factory=dict)
    planning: tuple[Row, ...] = ()  # the snapshot of who counts now

    def __post_init__(self) -> None:
        bucket = Bucket("runs", Simulation([]))
        settings = SimpleNamespace(
            runs_bucket=lambda _: "runs", emulators=SimpleNamespace(bigquery=None)
        )
        dataset = SimpleNamespace(location="US")
        self.clients: Any = SimpleNamespace(
            settings=settings,
            storage=StorageClient(bucket),
            bigquery=SimpleNamespace(get_dataset=lambda *_, **__: dataset),
        )

    # BigQuery

    def existing(self, *_: Any) -> Any:
        """Return the output table, or None before the first load."""
        if not self.loaded:
            return None
        return SimpleNamespace(created=dt.datetime(2026, 1, 1), num_rows=len(self.output))

    def count(self, *_: Any, column: str | None = None, above: Any = None, **__: Any) -> Counted:
        """Answer `count_rows`."""
        values = [row.n for row in self.planning]
        below = 0 if above is None else sum(n <= int(above.value) for n in values)
        return Counted(len(values), 0, max(values, default=None), below)

    def read(self, run: Run) -> list[Row]:
        """Return the rows that a run scores; a copy is made once."""
        if run.parts is None:
            part = run.plan.incremental
            if part.is_by_ids:
                version = run.plan.model.version
                known = {row.id for row, v, _ in self.output if v == version}
                run.parts = [row for row in run.snapshot if row.id not in known]
            else:
                low = None if part.above is None else int(part.above.value)
                high = None if part.up_to is None else int(part.up_to.value)
                run.parts = [
                    row
                    for row in run.snapshot
                    if high is not None and (low is None or row.n > low) and row.n <= high
                ]
        return run.parts

    def load(self, run: Run) -> None:
        """Load a run's rows, once."""
        if run.run_id not in self.loaded:
            self.loaded.add(run.run_id)
            self.output += [(row, run.plan.model.version, run.run_id) for row in run.parts or ()]

    # Runs

    def store(self, run_id: str) -> RunStore:
        return RunStore(self.clients, "dev", run_id)

    def read_plan(self, store: RunStore) -> Any:
        return self.runs[store.run_id].plan

    def request(self, by: str, version: str) -> ScoringRequest:
        return ScoringRequest("dev", INPUT, OUTPUT, "m", version, incremental=by)

    def plan(self, by: str, version: str) -> Run:
        """Plan a run by the real code."""
        self.planning = tuple(self.rows)
        resolved: Any = SimpleNamespace(
            request=self.request(by, version),
            schema=[SimpleNamespace(name=n, field_type="INTEGER", mode="") for n in ("id", "n")],
            model=SimpleNamespace(version=version),
            restriction=None,
        )
        ids = [Column("id", "INT64")]
        part, _ = plan_incremental(self.clients, resolved, ids, self.existing(), "US")
        assert part is not None
        run_id = f"run{len(self.runs)}"
        plan = SimpleNamespace(
            run_id=run_id,
            token=run_id,
            incremental=part,
            model=SimpleNamespace(name="m", version=version),
            input_table=INPUT,
            where=None,
            output=SimpleNamespace(table=OUTPUT),
        )
        self.runs[run_id] = run = Run(run_id, plan, self.planning)
        return run

    def work(self, run: Run) -> Iterator[None]:
        """Take a run to its end, as `scoring.engines.run` does; it may die at each yield."""
        store, plan = self.store(run.run_id), run.plan
        decision = read_decision(store)
        if decision is None:
            turns.wait_for_others(self.clients, store, plan, self.finish)
            yield
            rows = self.read(run)
            yield
            turns.claim_turn(self.clients, store, plan, Counts(len(rows), len(rows)))
            yield
            made = Decision(plan.token, (), (), Counts(len(rows), len(rows)), "0")
            store.create(Decision.NAME, made.to_dict())
            yield
            decision = read_decision(store)
        if isinstance(decision, Cancellation):
            raise decision.error()
        self.load(run)
        yield
        store.create(Result.NAME, self.result(run).to_dict())

    def finish(self, run_id: str) -> None:
        """Take a run to its end whose decision stands."""
        for _ in self.work(self.runs[run_id]):
            pass

    def result(self, run: Run) -> Result:
        texts = (
            "run_id state env model_name model_version input_table output_table rejects_table "
            "write_disposition max_rejects path predicted_at snapshot_at job_id finished_at"
        )
        numbers = "model_generation rows rows_read rows_rejected bytes_read shards attempts seconds"
        created = dt.datetime(2026, 1, 1).isoformat()
        values: dict[str, Any] = dict.fromkeys(texts.split(), "")
        return Result(**values, **dict.fromkeys(numbers.split(), 0), output_created=created)

    def cancel(self, _: Any, __: str, run_id: str, *, why: str) -> tuple[Cancellation, bool]:
        """Cancel a run, as `workers.scoring.publishing.cancellation` does."""
        store = self.store(run_id)
        ours = Cancellation(run_id, run_id, "2026-01-01T00:00:00+00:00", 0.0, why=why)
        store.create(ours.NAME, ours.to_dict())
        decision = read_decision(store)
        if not isinstance(decision, Cancellation):
            raise RunPublished(run_id)
        return decision, decision == ours

    def undo(self, run: Run) -> Iterator[None]:
        """Remove the rows of a run that is done."""
        undo = Undo(run.run_id, run.run_id, "2026-01-01T00:00:00+00:00", None, "wrong", ())
        self.store(run.run_id).create(Undo.NAME, undo.to_dict())
        yield
        self.output = [known for known in self.output if known[2] != run.run_id]

    def done(self) -> list[Run]:
        """Return the runs that are done, and not undone."""
        return [
            run
            for run in self.runs.values()
            if self.store(run.run_id).read(Result.NAME) is not None
            and self.store(run.run_id).read(Undo.NAME) is None
        ]


def install(patch: pytest.MonkeyPatch, world: World) -> None:
    """Let the code under test work on the world."""
    patch.setattr(claims, "read_plan", world.read_plan)
    patch.setattr(claims, "is_abandoned", lambda _: world.choices.random() < 0.5)
    patch.setattr(turns, "is_abandoned", lambda _: world.choices.random() < 0.5)
    patch.setattr(claims, "find_table", world.existing)
    patch.setattr(turns, "cancel", world.cancel)
    patch.setattr(increments, "count_rows", world.count)
    patch.setattr(increments, "scored_before", lambda *_: [])  # every run is incremental


@dataclass
class History:
    """What happens to a world, by a seed."""

    world: World
    column: bool = True  # runs by the column
    ids: bool = True
    undone: bool = True
    late: bool = True
    working: list[tuple[Run, Iterator[None]]] = field(default_factory=list)
    crashed: list[Run] = field(default_factory=list)
    undoing: list[Iterator[None]] = field(default_factory=list)
    refused: int = 0

    def play(self, steps: int) -> None:
        """Play some steps, and then let everybody come to an end."""
        choices = self.world.choices
        for _ in range(steps):
            choices.choices(
                [self._grow, self._start, self._step, self._crash, self._resume, self._undo],
                [3, 3, 12, 2, 2, 1 if self.undone else 0],
            )[0]()
        for undo in self.undoing:
            for _ in undo:
                pass
        for _ in range(1000):
            while self.crashed:
                self._resume()
            if not self.working:
                return
            self._step()
        raise AssertionError("the runs do not come to an end")

    def score(self, by: str, version: str = "v1") -> Run | None:
        """Let one request be answered while nobody else works."""
        for _ in range(50):
            run = None
            try:
                run = self.world.plan(by, version)
                for _ in self.world.work(run):
                    pass
                return run
            except (TryAgain, RunCancelled):
                continue
            except Conflict:
                return None
        raise AssertionError("the request is never answered")

    def _grow(self) -> None:
        rows = self.world.rows
        newest = max((row.n for row in rows), default=0)
        for _ in range(self.world.choices.randint(1, 3)):
            late = self.late and self.world.choices.random() < 0.2
            n = self.world.choices.randint(0, newest) if late else newest + 1
            newest = max(n, newest)
            rows.append(Row(len(rows), n))

    def _start(self) -> None:
        kinds = [*(["n"] if self.column else []), *([IDS] if self.ids else [])]
        by = self.world.choices.choice(kinds)
        version = self.world.choices.choice(["v1", "v1", "v2"])
        try:
            run = self.world.plan(by, version)
        except TryAgain:
            return
        except Conflict:  # the output has rows by ids, and the column no watermark
            self.refused += 1
            return
        self.working.append((run, self.world.work(run)))

    def _step(self) -> None:
        if not self.working:
            return
        place = self.world.choices.randrange(len(self.working))
        run, work = self.working[place]
        try:
            next(work)
            return
        except TryAgain:
            self.crashed.append(run)
        except (StopIteration, Conflict):
            pass
        del self.working[place]

    def _crash(self) -> None:
        if self.working:
            place = self.world.choices.randrange(len(self.working))
            self.crashed.append(self.working.pop(place)[0])

    def _resume(self) -> None:
        if self.crashed:
            run = self.crashed.pop(self.world.choices.randrange(len(self.crashed)))
            self.working.append((run, self.world.work(run)))
            if self.world.choices.random() < 0.3:  # another try of the run at the same time
                self.working.append((run, self.world.work(run)))

    def _undo(self) -> None:
        if done := self.world.done():
            undo = self.world.undo(self.world.choices.choice(done))
            next(undo)
            self.undoing.append(undo)
