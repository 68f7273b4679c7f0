"""What Cloud Run's refusals to start a job, and the ends of its executions, become."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from google.api_core import exceptions
from google.cloud import run_v2

from mlsys.cloud.clients import Clients
from mlsys.errors import Conflict, MlsysError, ObjectNotFound, PermissionMissing, TryAgain
from workers.scoring.engines.run_job import run_job
from workers.scoring.journal.execution import (
    MAX_MESSAGE,
    Ended,
    Execution,
    look_up,
    without_result,
)

NOW = datetime.now(UTC)
NAME = "projects/p/locations/r/jobs/score/executions/score-1"
AT_WORK = Execution(0, 4, "a test", NOW.isoformat(), "reading, 0 parts", NAME)


@dataclass
class Cloud:
    """Cloud Run's clients, which answer `answer` to everything, or raise it."""

    answer: Any

    def run_job(self, request: Any, timeout: float) -> Any:
        self.request = request
        return self.get_execution("", timeout)

    def get_execution(self, name: str, timeout: float) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    @property
    def clients(self) -> Clients:
        settings = SimpleNamespace(job_name="projects/p/locations/r/jobs/score")
        return cast(Clients, SimpleNamespace(jobs=self, executions=self, settings=settings))


def test_the_request_has_the_arguments_and_the_number_of_tasks() -> None:
    cloud = Cloud(SimpleNamespace(metadata=SimpleNamespace(name=NAME)))
    assert run_job(cloud.clients, ["run-1", "--env", "dev"], 4) == NAME
    assert cloud.request.name == "projects/p/locations/r/jobs/score"
    assert cloud.request.overrides.task_count == 4
    assert cloud.request.overrides.container_overrides[0].args == ["run-1", "--env", "dev"]


@pytest.mark.parametrize(
    ("refusal", "error", "words"),
    [
        (exceptions.NotFound("no"), ObjectNotFound, "does not exist. Create it with Terraform"),
        (exceptions.PermissionDenied("no"), PermissionMissing, "jobsExecutorWithOverrides"),
        (exceptions.Unauthenticated("no"), PermissionMissing, "jobsExecutorWithOverrides"),
        (exceptions.ResourceExhausted("CPU"), TryAgain, "for a quota.*job_tasks"),
        (exceptions.TooManyRequests("CPU"), TryAgain, "for a quota.*job_tasks"),
        (exceptions.ServiceUnavailable("no"), TryAgain, "Repeat the request"),
        (exceptions.DeadlineExceeded("no"), TryAgain, "Repeat the request"),
        (exceptions.Aborted("no"), TryAgain, "Repeat the request"),
        (exceptions.InvalidArgument("bad count"), Conflict, "with 4 tasks: bad count. Correct"),
        (exceptions.FailedPrecondition("deleting"), Conflict, "deleting"),
        (exceptions.MethodNotImplemented("no"), Conflict, "Correct the job"),
        (exceptions.Cancelled("no"), Conflict, "Correct the job"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_a_refusal_says_what_to_do(refusal: Exception, error: type[MlsysError], words: str) -> None:
    with pytest.raises(error, match=words):
        run_job(Cloud(refusal).clients, [], 4)


def ended(message: str = "", **counts: Any) -> run_v2.Execution:
    condition = run_v2.Condition(type_="Completed", message=message)
    return run_v2.Execution(name=NAME, completion_time=NOW, conditions=[condition], **counts)


def test_an_execution_that_ended_says_how_and_when() -> None:
    assert look_up(Cloud(run_v2.Execution(name=NAME)).clients, AT_WORK) is None
    how = look_up(Cloud(ended(failed_count=3, succeeded_count=1)).clients, AT_WORK)
    assert how == Ended("1 task succeeded, 3 failed, 0 were cancelled", NOW)
    text = "Task 2 exceeded its memory. "
    how = look_up(Cloud(ended(text, failed_count=1)).clients, AT_WORK)
    assert how is not None and how.how.endswith("(Task 2 exceeded its memory)")
    advice = without_result("run-1", AT_WORK, how, "ended without a result")
    assert advice.startswith("The execution score-1 of run-1 ended without a result: 0 tasks")
    assert "(Task 2 exceeded its memory). A task" in advice
    assert "Raise job_memory in Terraform" in advice and "job_timeout" in advice
    how = look_up(Cloud(ended("x" * 9_000)).clients, AT_WORK)
    assert how is not None and len(how.how) < 2 * MAX_MESSAGE


@pytest.mark.parametrize(
    ("refusal", "outcome"),
    [
        (exceptions.ServiceUnavailable("no"), None),
        (exceptions.ResourceExhausted("no"), None),
        (exceptions.NotFound("no"), Ended("it was deleted")),
    ],
)
def test_an_execution_that_cloud_run_does_not_show_may_be_at_work(
    refusal: Exception, outcome: Ended | None
) -> None:
    assert look_up(Cloud(refusal).clients, AT_WORK) == outcome


def test_an_execution_that_may_not_be_seen_names_the_role() -> None:
    with pytest.raises(PermissionMissing, match=r"roles/run\.viewer"):
        look_up(Cloud(exceptions.PermissionDenied("no")).clients, AT_WORK)


def test_an_execution_without_a_name_counts_as_lost_after_three_minutes() -> None:
    clients = Cloud(AssertionError("it is not asked for")).clients
    now = datetime.now(UTC)  # NOW may be minutes old
    started = Execution(0, 4, "a test", now.isoformat(), "")
    assert look_up(clients, started) is None
    lost = Execution(0, 4, "a test", (now - timedelta(minutes=4)).isoformat(), "")
    assert look_up(clients, lost) == Ended(
        "the request that started it ended before Cloud Run answered"
    )
