"""Runs that several callers ask for at the same time, scored by the real code."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from mlsys.cloud.tables import TableRef
from mlsys.errors import (
    ContractBroken,
    MlsysError,
    NoProgress,
    PredictionFailed,
    RunCancelled,
    RunFailed,
    RunInterrupted,
    RunNotFound,
    RunPublished,
)
from simulator import inputs
from simulator.gaps import Gap, Mismatch, check
from simulator.kernel import Actor, Simulation
from simulator.loads import LoadingClient
from simulator.model import CONTENTS, metadata
from simulator.reads import ReadClient
from simulator.run_world import SETTINGS, Clients
from simulator.runs_audit import Audit
from simulator.setups import CHALLENGER, EARLIER, INPUT, OUTPUT, ROWS, Setup
from simulator.storage import Bucket, StorageClient
from simulator.tables import filled_output, input_of
from simulator.topics import Message, PublisherClient, Subscription, may_pass
from workers.admission import admitted
from workers.scoring.engines.perform import perform
from workers.scoring.engines.unrecorded import record_ended
from workers.scoring.journal.outcomes import Result
from workers.scoring.planning import find_run
from workers.scoring.publishing import cancellation
from workers.scoring.request.parsed import MaxRejects, ScoringRequest

TRIES = 40
PUSHED = 540.0  # seconds that a pushed message is worked on
TABLES = ("prediction_runs", "prediction_profiles")


@dataclass
class Scoring:
    """The scenario: callers of one request, messages of it, and somebody who may cancel its run."""

    simulation: Simulation
    settings = SETTINGS
    answers: list[Result] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)  # that callers were answered with
    cancelled: str = ""  # the run that somebody cancels
    was_cancelled: bool | None = None  # as the one who cancels is told
    finishing: bool = False  # the last caller repeats the request

    def __post_init__(self) -> None:
        simulation = self.simulation
        self.setup = setup = self.draw_setup()
        self.models = Bucket("models", simulation)
        self.runs = Bucket("runs", simulation)
        for version, content in CONTENTS.items():
            self.models.put(f"m/{version}/model.pkl", content)
            self.models.put(f"m/{version}/metadata.json", json.dumps(metadata(version)).encode())
        if (contract := setup.contract) is not None:
            self.models.put("m/v1/contract.json", contract)
        self.bigquery = LoadingClient(simulation, self.runs, *TABLES)
        self.bigquery.loaded[INPUT] = input_of(ROWS, "VIEW" if setup.view else "TABLE")
        if setup.filled:
            self.bigquery.loaded[OUTPUT] = filled_output(EARLIER)
        bigquery = self.bigquery
        self.reads = ReadClient(
            simulation, lambda *what: inputs.read(*what, bigquery.loaded, bigquery.now())
        )
        self.clients: Any = Clients(
            self.settings,
            StorageClient(self.models, self.runs),
            self.bigquery,
            self.reads,
            PublisherClient(lambda *_: None),
        )
        self.audit = Audit(setup, self.runs, self.bigquery)
        self.request = ScoringRequest(
            "dev",
            TableRef.parse(INPUT),
            TableRef.parse(setup.output, partition=True),
            "m",
            "v1",
            id_columns=("id",),
            write_disposition=setup.disposition,
            shadow=CHALLENGER if setup.shadow else None,
            max_rejects=MaxRejects(5),
        )
        self.pushes = Subscription(simulation, "predictions", self._pushed, doubling=True)
        self.again = Subscription(simulation, "predictions", self._pushed)

    # The actors

    def run(self) -> None:
        """Let everybody work until all is quiet, and check what they left."""
        choices = self.simulation.choices
        for number in range(1 + choices.pick(3)):
            after = (0.0, 0.2, 3.0, 20.0)[choices.pick(4)]
            request = self.request
            if self.setup.strict and choices.happens(0.5):
                request = dataclasses.replace(request, max_rejects=MaxRejects(0))
            request = self.draw_engine(request)
            if choices.happens(0.2):
                message = Message(f"push {number + 1}", {}, about=request)
                self.simulation.schedule(after, lambda m=message: self.pushes.publish(m))
                continue
            lasts = (3540.0, 20.0, 4.0)[choices.pick(3, (4, 1, 1))]
            self._call(f"caller {number + 1}", request, after, lasts)
        if choices.happens(0.25):
            after = (6.0, 2.0, 15.0, 60.0)[choices.pick(4)]
            self._cancel(after)
        if choices.happens(0.15):
            self._rescan((7200.0, 4000.0, 30_000.0)[choices.pick(3)])
        self.begin()
        self.simulation.run()
        for name, error in (*self.pushes.errors, *self.again.errors):
            raise Mismatch(f"{name} is answered with {error!r} for ever") from error
        if states := {"", "failed"} & set(map(self.audit.state, self.audit.run_ids())):
            if "" in states and not self.may_fail:
                raise Mismatch("a run has not ended, and nobody works on it")
            self._finish()
        self._record()
        if not (excused := self.check()):
            return
        self._finish()  # a repeated request repairs the ledger, and does not look at the profile
        if "the ledger" in (still := self.check()):
            raise Mismatch(f"a repeated request did not repair it: {still}")
        raise Gap(excused)

    def draw_setup(self) -> Setup:
        """Return what the history is about."""
        return Setup.draw(self.simulation.choices)

    def repeats(self, error: Exception) -> bool:
        """Return whether a caller repeats the request after the error."""
        # A task or another caller has written why nothing went on: people repeat the request.
        no_progress = isinstance(error, RunFailed) and "progress" in str(error)
        return no_progress or isinstance(error, (RunInterrupted, NoProgress)) or may_pass(error)

    def draw_engine(self, request: ScoringRequest) -> ScoringRequest:
        """Return the request with the engine that a caller asks for."""
        return request

    def begin(self) -> None:
        """Let others come."""

    def _finish(self) -> None:
        """Repeat the request, and the cancellation, without faults, until both are answered."""
        self.simulation.kinds, self.finishing = (), True
        if self.cancelled:
            self._cancel(0.0)
        self._call("last caller", self.request, 1.0, 3540.0)
        self.simulation.run()

    def _rescan(self, after: float) -> None:
        """Let the ledger's rows of runs be written whose processes died; once, as each night."""

        def ended(actor: Actor) -> None:
            if actor.error is not None and not may_pass(actor.error):
                raise Mismatch(f"the rescan is answered with {actor.error!r}") from actor.error

        work = functools.partial(record_ended, self.clients, "dev")
        self.simulation.start("rescan", work, after=after, ended=ended)

    def _record(self) -> None:
        """Let the next rescan come."""
        self.simulation.kinds = ()
        self._rescan(7200.0)
        self.simulation.run()

    def _work(
        self, request: ScoringRequest, seconds: float, run_id: str | None = None, **options: Any
    ) -> Result:
        deadline = self.simulation.now + seconds
        run_id, pushed = run_id or self.setup.run_id, bool(options)
        with (
            admitted(None),
            closing(
                find_run.prepare(self.clients, request, run_id, redelivered=pushed)
            ) as prepared,
        ):
            return perform(self.clients, prepared, deadline=deadline, **options)

    def _call(
        self,
        name: str,
        request: ScoringRequest,
        after: float,
        lasts: float,
        tries: int = TRIES,
        run_id: str | None = None,
    ) -> None:
        """Let a caller ask until it is answered, as the command line does."""

        def work() -> Result:
            return self._work(request, lasts, run_id)

        def ended(actor: Actor) -> None:
            error = actor.error
            again = error is not None and self.repeats(error)
            if actor.crashed or again:
                if not tries and again:
                    raise Mismatch(f"{name} is not answered after {TRIES} tries: {error!r}")
                more = lasts if tries > 4 else 3540.0  # some day it has the time
                pause = 10.0 if tries > TRIES // 2 else 600.0
                self._call(name, request, pause, more, max(tries - 1, 0), run_id)
            elif error is not None:
                self._check_failure(name, request, error)
            else:
                self.answers.append(actor.answer)

        self.simulation.start(f"{name}.{TRIES + 1 - tries}", work, after=after, ended=ended)

    def _check_failure(self, name: str, request: ScoringRequest, error: Exception) -> None:
        """Check that a caller may be answered so: by what the request itself tolerates."""
        self.failures.append(error)
        expected: tuple[type[Exception], ...] = ()
        if self.cancelled:
            expected += (RunCancelled,)
        if str(request.max_rejects) == "0":
            expected += (PredictionFailed, RunFailed)
        if self.setup.clause == "stop":
            expected += (ContractBroken, RunFailed)
        if not isinstance(error, expected):
            raise Mismatch(f"{name} is answered with {error!r}") from error

    def _pushed(self, message: Message, acknowledge: Callable[[], None]) -> None:
        """Do what `app.api.events` does with a scoring request."""
        try:
            self.answers.append(self._work(message.about, PUSHED, pushed=True))
        except RunInterrupted:
            self.simulation.actor().gave_up = True
            name, _, number = message.name.partition("#")
            name = f"{name}#{int(number or 1) + 1}"
            self.again.publish(Message(name, {}, about=message.about))
        except MlsysError as exc:
            if may_pass(exc):
                raise
            self.simulation.actor().gave_up = True
            if not self.repeats(exc):  # else it is acknowledged, and the run has failed
                self._check_failure(message.name, message.about, exc)

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
            elif error is None:
                self.was_cancelled = bool(self.cancelled)
            elif isinstance(error, RunPublished):
                self.was_cancelled = False
            elif not isinstance(error, RunNotFound):
                raise Mismatch(f"the cancellation is answered with {error!r}") from error

        self.simulation.start(f"canceller.{9 - tries}", work, after=after, ended=ended)

    # The audit

    @property
    def may_fail(self) -> bool:
        """Whether the rows or the callers let a run fail."""
        return self.setup.strict or self.setup.clause == "stop"

    def check(self) -> str:
        """Check the tables and the objects of all runs, and return what is excused.

        Raises:
            Mismatch: rows are missing, twice or wrong; or the ledger or the profile is.
        """
        runs = self.audit.run_ids()
        for run_id in {answered.run_id for answered in self.answers}:
            if (state := self.audit.state(run_id)) != "succeeded":
                raise Mismatch(f"{run_id} was answered with a result, and is {state or 'not over'}")
        if self.was_cancelled is not None:
            if self.was_cancelled != (self.audit.state(self.cancelled) == "cancelled"):
                raise Mismatch(f"the cancellation was answered with {self.was_cancelled}")
        for run_id in runs:
            if self.audit.state(run_id) in ("failed", "") and not self.may_fail:
                raise Mismatch(f"{run_id} has not ended, and nobody works on it")
        self.audit.check_rows()
        return check(self.bigquery, self.audit.wrongs(forgiving=self.simulation.faults > 0))
