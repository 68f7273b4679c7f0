"""Runs that the tasks of a Cloud Run job score, beside callers who have the service do it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from simulator.cloud_run import CloudRun
from simulator.gaps import Mismatch
from simulator.run_world import SETTINGS
from simulator.scoring import Scoring
from workers.scoring.engines import task
from workers.scoring.journal.store import RunStore
from workers.scoring.request.parsed import JOB, SERVICE, MaxRejects, ScoringRequest
from workers.scoring.shards.chain import Share

TASKS = 3


@dataclass
class JobRuns(Scoring):
    """The scenario: as `Scoring`, with executions of a job, and a person who deletes one."""

    settings = replace(SETTINGS, job="score", job_tasks=TASKS, job_cpus=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.cloud_run = CloudRun(self.simulation, self._task)
        self.clients.jobs = self.clients.executions = self.cloud_run
        self.deleted = False
        # Some callers ask for the service: both engines work on one run then.
        self.mixed = self.simulation.choices.happens(0.3)

    def draw_engine(self, request: ScoringRequest) -> ScoringRequest:
        here = self.mixed and self.simulation.choices.happens(0.4)
        return replace(request, engine=SERVICE if here else JOB)

    def begin(self) -> None:
        choices = self.simulation.choices
        if choices.happens(0.15):
            after = (30.0, 8.0, 200.0)[choices.pick(3)]
            self.simulation.schedule(after, self._delete)

    def _delete(self) -> None:
        self.deleted = True
        self.cloud_run.delete_one()

    def _task(
        self, arguments: list[str], index: int, count: int, stopping: Callable[[], bool]
    ) -> int:
        """Do what `task.main` does with the arguments and the environment of a task."""
        run_id, options = arguments[0], dict(zip(arguments[1::2], arguments[2::2], strict=True))
        store = RunStore(self.clients, options["--env"], run_id)
        allowed = MaxRejects.parse(options.get("--max-rejects", "0"))
        return task.work(store, Share(index, count), allowed, stopping)

    def check(self) -> str:
        self._check_executions()
        return super().check()

    def _check_executions(self) -> None:
        """Check that a run had one execution if nothing went wrong, and clocks were alike."""
        wrong = (
            self.simulation.skewed
            or self.simulation.faults
            or self.deleted
            or self.cloud_run.tasks_died
        )
        jobs = (job for job in self.bigquery.jobs.values())
        wrong = wrong or self.reads.ended_early or any(job.error_result for job in jobs)
        if self.cancelled or self.failures or self.setup.strict or wrong:
            return
        if self.cloud_run.started > 1:
            raise Mismatch(f"{self.cloud_run.started} executions of one run were started")
