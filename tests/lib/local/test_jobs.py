"""The local Cloud Run for jobs, by Google's own clients over the wire."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.api_core.exceptions import FailedPrecondition, NotFound, ResourceExhausted
from google.cloud import run_v2

from mlsys.cloud.clients import Clients
from mlsys.local.jobs import Jobs
from mlsys.settings import Settings
from mlsys.settings.reading import Emulators

assert subprocess  # tasks are processes

JOB = "projects/p/locations/r/jobs/score"
# Notes its variables, and fails as often as its argument says.
TASK = """
import os, sys
index, count, attempt = (os.environ[f"CLOUD_RUN_TASK_{n}"] for n in ("INDEX", "COUNT", "ATTEMPT"))
print(index, count, attempt, os.environ["CLOUD_RUN_JOB"], os.environ["OWN"], flush=True)
sys.exit(int(attempt) < int(sys.argv[1]))
"""


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    made = Jobs(max_retries=1)
    made.create_job(
        "score",
        (sys.executable, "-S", "-c", TASK),
        environment=lambda: {"OWN": "x"},
        folder=tmp_path,
        log_file=tmp_path / "log",
    )
    made.start()
    yield made
    made.stop()


@pytest.fixture
def clients(jobs: Jobs) -> Clients:
    return Clients(Settings("p", emulators=Emulators(run=jobs.address)))


def request(argument: str, tasks: int, job: str = JOB) -> Any:
    container = run_v2.RunJobRequest.Overrides.ContainerOverride(args=[argument])
    overrides = run_v2.RunJobRequest.Overrides(container_overrides=[container], task_count=tasks)
    return run_v2.RunJobRequest(name=job, overrides=overrides)


def ended(clients: Clients, name: str) -> Any:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        state = clients.executions.get_execution(name=name)
        if state.completion_time:
            return state
        time.sleep(0.02)
    raise AssertionError("the execution did not end")


def test_tasks_are_repeated_until_they_succeed(
    jobs: Jobs, clients: Clients, tmp_path: Path
) -> None:
    name = clients.jobs.run_job(request("1", 2)).metadata.name
    assert name.startswith(f"{JOB}/executions/score-")
    state = ended(clients, name)
    assert (state.task_count, state.succeeded_count, state.failed_count) == (2, 2, 0)
    assert (state.retried_count, state.running_count) == (2, 0)
    lines = sorted((tmp_path / "log").read_text().splitlines())
    assert lines == [f"{i} 2 {a} score x" for i in range(2) for a in range(2)]
    assert [e.name for e in clients.executions.list_executions(parent=JOB)] == [name]


def test_a_task_without_tries_left_fails_the_execution(clients: Clients) -> None:
    state = ended(clients, clients.jobs.run_job(request("9", 1)).metadata.name)
    assert (state.succeeded_count, state.failed_count) == (0, 1)


def test_the_tasks_of_a_cancelled_execution_end_and_are_not_started_again(
    clients: Clients, jobs: Jobs, tmp_path: Path
) -> None:
    waiting = (sys.executable, "-S", "-c", "import time; print('up', flush=True); time.sleep(60)")
    jobs.create_job(
        "slow",
        waiting,
        environment=dict,
        folder=tmp_path,
        log_file=tmp_path / "log",
    )
    name = clients.jobs.run_job(request("0", 2, f"{JOB[:-5]}slow")).metadata.name
    until = time.monotonic() + 20
    while (tmp_path / "log").read_text().count("up") < 2:
        assert time.monotonic() < until
        time.sleep(0.02)
    clients.executions.cancel_execution(name=name)
    state = ended(clients, name)
    assert (state.cancelled_count, state.failed_count, state.succeeded_count) == (2, 0, 0)
    assert state.retried_count == 0
    with pytest.raises(FailedPrecondition):
        clients.executions.cancel_execution(name=name)
    with pytest.raises(NotFound):
        clients.executions.cancel_execution(name=f"{JOB}/executions/other")


def test_what_does_not_exist_and_what_is_refused_are_googles_errors(
    jobs: Jobs, clients: Clients
) -> None:
    with pytest.raises(NotFound):
        clients.jobs.run_job(request("0", 1, f"{JOB}-other"))
    with pytest.raises(NotFound):
        clients.executions.get_execution(name=f"{JOB}/executions/other")
    jobs.refusal = ("RESOURCE_EXHAUSTED", "CPU allocation")
    with pytest.raises(ResourceExhausted, match="CPU allocation"):
        clients.jobs.run_job(request("0", 1))
