"""Runs that several callers ask for at the same time, scored by the real code."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pytest

from mlsys.cloud.tables import TableRef
from mlsys.errors import NoProgress, RunCancelled, RunInterrupted, RunNotFound, RunPublished
from mlsys.settings import Settings
from simulator.kernel import Actor, Simulation, current
from simulator.loads import LoadingClient, input_of
from simulator.model import BAD, CONTENT, Model, answer, metadata
from simulator.reads import ReadClient
from simulator.registry import Gap, Mismatch, outlived
from simulator.storage import Bucket, StorageClient
from simulator.topics import PublisherClient, may_pass
from workers import machine
from workers.admission import admitted
from workers.scoring import cancellation, run
from workers.scoring.engines.perform import perform
from workers.scoring.planning import find_run, model_pin
from workers.scoring.records import Result
from workers.scoring.request import MaxRejects, ScoringRequest
from workers.scoring.shards import read_session

PROJECT, DATASET = "project1", "project1.mlsys_dev"
SETTINGS = Settings(
    project=PROJECT,
    envs=("dev",),
    models_buckets=(("dev", "models"),),
    runs_buckets=(("dev", "runs"),),
    push_auth="off",
)
INPUT, OUTPUT = f"{PROJECT}.data.input", f"{PROJECT}.data.output"
VALUES = (1.0, None, 3.5, BAD, 5.0, 6.25, None, 8.0, 9.0, 10.0, BAD, 12.0, 13.0)
ROWS = pa.table({"id": pa.array(range(len(VALUES))), "x": pa.array(VALUES, pa.float64())})
SCORED = {n: answer(x) for n, x in enumerate(VALUES) if x != BAD}
REJECTED = [n for n, x in enumerate(VALUES) if x == BAD]
PART_ROWS = 4
TRIES = 25
TABLES = ("prediction_runs", "prediction_profiles")


@dataclass
class Clients:
    """The clients of `mlsys.cloud.clients`, in memory."""

    settings: Settings
    storage: StorageClient
    bigquery: LoadingClient
    bigquery_read: ReadClient
    publisher: PublisherClient


class _Lock:
    """A lock of one instance, which waits by the virtual clock."""

    def __init__(self) -> None:
        self._held = False

    def acquire(self, timeout: float) -> bool:
        if self._held:
            simulation = current()
            assert simulation is not None
            simulation.sleep(timeout)
        taken, self._held = not self._held, True
        return taken

    def release(self) -> None:
        self._held = False


class _Locks:
    """The locks of `workers.scoring.run`, which each instance has for itself."""

    def __init__(self) -> None:
        self._locks: dict[tuple[int, str, str], _Lock] = {}

    def setdefault(self, key: str, _: Any) -> _Lock:
        simulation = current()
        assert simulation is not None
        place = id(simulation), simulation.actor().instance, key
        return self._locks.setdefault(place, _Lock())


def shrink_runs(patch: pytest.MonkeyPatch) -> None:
    """Give runs small parts, one core, and a model that is at the sandbox's door."""
    patch.setattr(read_session, "PART_ROWS", PART_ROWS)
    patch.setattr(machine, "cores", lambda: 1)
    patch.setattr(model_pin, "SandboxedModel", Model)
    patch.setattr(model_pin, "crash_of", lambda *_: None)
    patch.setattr(model_pin, "note_sound", lambda *_: None)
    patch.setattr(run, "_locks", _Locks())


@dataclass
class Scoring:
    """The scenario: callers of one request, and somebody who may cancel its run."""

    simulation: Simulation
    answers: list[Result] = field(default_factory=list)
    cancelled: str = ""  # the run that somebody cancels

    def __post_init__(self) -> None:
        simulation = self.simulation
        self.models = Bucket("models", simulation)
        self.runs = Bucket("runs", simulation)
        self.models.put("m/v1/model.pkl", CONTENT)
        self.models.put("m/v1/metadata.json", json.dumps(metadata()).encode())
        self.bigquery = LoadingClient(simulation, self.runs, *TABLES)
        self.bigquery.loaded[INPUT] = input_of(ROWS)
        self.clients: Any = Clients(
            SETTINGS,
            StorageClient(self.models, self.runs),
            self.bigquery,
            ReadClient(simulation, ROWS),
            PublisherClient(lambda *_: None),
        )
        self.request = ScoringRequest(
            "dev",
            TableRef.parse(INPUT),
            TableRef.parse(OUTPUT),
            "m",
            "v1",
            id_columns=("id",),
            max_rejects=MaxRejects(5),
        )

    # The actors

    def run(self) -> None:
        """Let everybody work until all is quiet, and check what they left."""
        choices = self.simulation.choices
        for number in range(1 + choices.pick(3)):
            after = (0.0, 0.2, 3.0, 20.0)[choices.pick(4)]
            lasts = (None, 20.0, 4.0)[choices.pick(3, (4, 1, 1))]
            self._call(f"caller {number + 1}", after, lasts)
        if choices.happens(0.25):
            after = (6.0, 2.0, 15.0, 60.0)[choices.pick(4)]
            self._cancel(after)
        self.simulation.run()
        try:
            self.check()
        except Mismatch as exc:
            if not outlived(self.bigquery.tables.values()):
                raise
            if self.cancelled:  # this much is guaranteed: a repeated request repairs it
                self._cancel(0.0)
            self._call("last caller", 1.0, None)
            self.simulation.run()
            self.check()
            raise Gap(str(exc)) from exc

    def _call(self, name: str, after: float, lasts: float | None, tries: int = TRIES) -> None:
        """Let a caller ask until it is answered, as the command line and Pub/Sub do."""

        def work() -> Result:
            deadline = None if lasts is None else self.simulation.now + lasts
            with (
                admitted(None),
                closing(find_run.prepare(self.clients, self.request)) as prepared,
            ):
                return perform(self.clients, prepared, deadline=deadline)

        def ended(actor: Actor) -> None:
            error = actor.error
            again = isinstance(error, (RunInterrupted, NoProgress)) or (error and may_pass(error))
            if actor.crashed or again:
                if not tries:
                    raise Mismatch(f"{name} is not answered after {TRIES} tries: {error!r}")
                more = None if tries < TRIES - 4 else lasts  # some day it has the time
                self._call(name, 10.0, more, tries - 1)
            elif isinstance(error, RunCancelled) and self.cancelled:
                pass
            elif error is not None:
                raise Mismatch(f"{name} is answered with {error!r}") from error
            else:
                self.answers.append(actor.answer)

        self.simulation.start(f"{name}.{TRIES + 1 - tries}", work, after=after, ended=ended)

    def _cancel(self, after: float, tries: int = 8) -> None:
        """Let somebody cancel the first run until that is answered."""

        def work() -> None:
            planned = (n for n in self.runs.objects if n.endswith("/plan.json"))
            self.cancelled = self.cancelled or next(planned, "").partition("/")[0]
            if self.cancelled:
                cancellation.cancel(self.clients, "dev", self.cancelled)

        def ended(actor: Actor) -> None:
            error = actor.error
            if actor.crashed or (error is not None and may_pass(error)):
                if tries:
                    self._cancel(10.0, tries - 1)
            elif error is not None and not isinstance(error, (RunPublished, RunNotFound)):
                raise Mismatch(f"the cancellation is answered with {error!r}") from error

        self.simulation.start(f"canceller.{9 - tries}", work, after=after, ended=ended)

    # The audit

    def check(self) -> None:
        """Check the tables and the run's objects.

        Raises:
            Mismatch: rows are missing, twice or wrong; or the ledger or the profile is.
        """
        plans = [name for name in self.runs.objects if name.endswith("/plan.json")]
        runs = sorted(name.partition("/")[0] for name in plans)
        known = {answered.run_id for answered in self.answers}
        if not known <= set(runs):
            raise Mismatch(f"answered runs without a plan: {known - set(runs)}")
        for run_id in runs:
            self._check_run(run_id)
        done = [run_id for run_id in runs if self._document(run_id, "result.json")]
        if len(done) > 1:
            raise Mismatch(f"one request became the runs {done}")
        for table in self.bigquery.loaded:
            if table != INPUT:
                others = {row["run_id"] for row in self.bigquery.loaded[table].rows} - set(runs)
                if others:
                    raise Mismatch(f"{table} has rows of {others}")

    def _check_run(self, run_id: str) -> None:
        decision, result = (self._document(run_id, n) for n in ("publish.json", "result.json"))
        output, rejects = self._rows(OUTPUT, run_id), self._rows(f"{OUTPUT}_rejects", run_id)
        ledger = [row for row in self._table("prediction_runs") if row["run_id"] == run_id]
        profile = [row for row in self._table("prediction_profiles") if row["run_id"] == run_id]
        if decision is not None and "state" in decision:
            if output or rejects or result is not None or profile:
                raise Mismatch(f"{run_id} was cancelled, and published {len(output)} rows")
            if [row["state"] for row in ledger] != ["cancelled"]:
                raise Mismatch(f"{run_id} was cancelled, and the ledger has {ledger}")
            return
        if result is None:
            raise Mismatch(f"{run_id} has not ended, and nobody works on it")
        if sorted(row["id"] for row in output) != sorted(SCORED):
            raise Mismatch(f"{run_id} wrote the ids {sorted(row['id'] for row in output)}")
        if wrong := [row for row in output if row["y"] != SCORED[row["id"]]]:
            raise Mismatch(f"{run_id} predicted {wrong}")
        if sorted(json.loads(row["ids"])["id"] for row in rejects) != REJECTED:
            raise Mismatch(f"{run_id} rejected {[row['ids'] for row in rejects]}")
        counts = (result["rows"], result["rows_read"], result["rows_rejected"])
        if counts != (len(SCORED), len(VALUES), len(REJECTED)):
            raise Mismatch(f"{run_id} counted {counts}")
        seen = [(row["state"], row["rows_scored"], row["rows_rejected"]) for row in ledger]
        if seen != [("succeeded", len(SCORED), len(REJECTED))]:
            raise Mismatch(f"the ledger has {seen} of {run_id}")
        self._check_profile(run_id, profile)

    def _check_profile(self, run_id: str, rows: list[dict[str, Any]]) -> None:
        """Check the counts of each column against a recount."""
        wanted = {
            ("feature", "x"): (len(VALUES), sum(x is None for x in VALUES)),
            ("prediction", "y"): (len(SCORED), 0),
        }
        seen = [
            ((row["role"], row["column_name"]), (row["row_count"], row["nulls"])) for row in rows
        ]
        if sorted(seen) != sorted(wanted.items()):
            raise Mismatch(f"the profile of {run_id} has {seen}")
        for row in rows:
            if sum(item["rows"] for item in row["bins"]) != row["row_count"]:
                raise Mismatch(f"the bins of {row['column_name']} do not add up: {row['bins']}")

    def _document(self, run_id: str, name: str) -> Any:
        stored = self.runs.objects.get(f"{run_id}/{name}")
        return None if stored is None else json.loads(stored.content)

    def _rows(self, table: str, run_id: str) -> list[dict[str, Any]]:
        loaded = self.bigquery.loaded.get(table)
        return [row for row in loaded.rows if row["run_id"] == run_id] if loaded else []

    def _table(self, name: str) -> list[dict[str, Any]]:
        return self.bigquery.tables[name].values()
