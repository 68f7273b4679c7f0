"""Weaker designs of the executions of a job and their tasks."""

from __future__ import annotations

from typing import Any

from simulator.mutant import Mutant, Patch
from workers.scoring.engines import cloud_run_job, ended
from workers.scoring.journal import execution
from workers.scoring.journal.outcomes import Failure
from workers.scoring.journal.store import RunStore


def _without_a_claim(patch: Patch) -> None:
    """Start an execution although another request has claimed it."""
    real = execution.Execution.claim
    patch.setattr(execution.Execution, "claim", lambda self, store: real(self, store) or True)


def _waits_for_a_name(patch: Patch) -> None:
    """Wait for the name of an execution whose starter has died."""
    patch.setattr(execution, "START_SECONDS", 1e9)


def _waits_for_a_deleted_one(patch: Patch) -> None:
    """Wait for an execution that was deleted."""
    real = execution.look_up

    def look_up(clients: Any, one: Any) -> Any:
        how = real(clients, one)
        return None if how is not None and how.how == "it was deleted" else how

    patch.setattr(ended, "look_up", look_up)


def _failure_of_before(patch: Patch) -> None:
    """Keep the failure of the last try when another begins."""
    real = RunStore.forget

    def forget(self: Any, name: str) -> None:
        if name != Failure.NAME:
            real(self, name)

    patch.setattr(RunStore, "forget", forget)


def _without_max_rejects(patch: Patch) -> None:
    """Start the tasks without the request's max_rejects."""
    real = cloud_run_job.run_job

    def run_job(clients: Any, arguments: list[str], tasks: int) -> str:
        return real(clients, arguments[:3], tasks)

    patch.setattr(cloud_run_job, "run_job", run_job)


def _failure_for_all(patch: Patch) -> None:
    """Answer every request with a failure, whatever it tolerates."""
    patch.setattr(Failure, "counts_for", lambda *_: True)


JOBS = (
    Mutant("an execution without a claim", "jobs", _without_a_claim),
    Mutant("the name of an execution waited for", "jobs", _waits_for_a_name),
    Mutant("a deleted execution waited for", "jobs", _waits_for_a_deleted_one),
    Mutant("the failure of the try before kept", "jobs", _failure_of_before),
    Mutant("tasks without max_rejects", "jobs", _without_max_rejects),
    Mutant("a failure for all requests", "jobs", _failure_for_all),
)
