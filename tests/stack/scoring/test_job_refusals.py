"""A job that Cloud Run refuses, or whose tasks it kills, has its clear answer."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from app.api import events
from mlsys.local.stack import LocalStack
from scoring_cases import Lab
from workers.scoring.engines import cloud_run_job
from workers.scoring.journal.execution import latest_execution
from workers.scoring.journal.outcomes import read_failure

assert subprocess  # tasks are processes

# A task that the kernel kills, as it does where memory is lacking.
KILLED = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"


@pytest.fixture(scope="module")
def lab(stack: LocalStack) -> Lab:
    return Lab(stack)


@pytest.fixture(scope="module")
def table_and_model(lab: Lab, stack: LocalStack) -> tuple[str, str]:
    frame = pd.DataFrame({"id": range(20), "x": [float(n) for n in range(20)]})
    with pytest.MonkeyPatch.context() as patch:
        for name, value in stack.environment.items():
            patch.setenv(name, value)
        model = lab.upload(LinearRegression().fit(frame[["x"]], frame["x"]), frame[["x"]])
    return lab.put(frame), model


@pytest.fixture
def request_for_job(
    lab: Lab, stack: LocalStack, table_and_model: tuple[str, str]
) -> Iterator[dict[str, str]]:
    """Yield a request of its own run."""
    yield lab.params(*table_and_model, engine="job")
    stack.jobs.refusal = stack.jobs.lookup_refusal = None


@pytest.fixture
def short_of_memory(stack: LocalStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the kernel kill every try of every task."""
    monkeypatch.setattr(cloud_run_job, "POLL", 0.05)
    monkeypatch.setattr(cloud_run_job, "LOOK", 0.1)
    monkeypatch.setitem(stack.jobs._jobs, stack.settings.job, job_of(stack, KILLED))


def job_of(stack: LocalStack, program: str) -> Any:
    _, environment, folder, log_file = stack.jobs._jobs[stack.settings.job]
    return [sys.executable, "-S", "-c", program], environment, folder, log_file


def status_of(lab: Lab, run_id: str) -> Any:
    return lab.here({"env": "dev"}, f"/runs/{run_id}").json


@pytest.mark.slow
@pytest.mark.parametrize(
    ("refusal", "status", "slug", "word"),
    [
        (("NOT_FOUND", "no job"), 404, "object-not-found", "does not exist"),
        (("RESOURCE_EXHAUSTED", "CPU"), 503, "try-again", "quota"),
        (("FAILED_PRECONDITION", "not ready"), 409, "conflict", "not ready"),
    ],
)
def test_a_job_that_cloud_run_refuses_has_a_clear_answer(
    lab: Lab,
    stack: LocalStack,
    request_for_job: dict[str, str],
    refusal: Any,
    status: int,
    slug: str,
    word: str,
) -> None:
    stack.jobs.refusal = refusal
    before = len(stack.jobs.executions)
    answers = [lab.here(request_for_job) for _ in range(2)]  # another try is refused as well
    for answer in answers:
        answer.problem(status, slug, word)
    assert len(stack.jobs.executions) == before
    store = lab.store(run_of(lab, request_for_job))
    failure = read_failure(store)
    state = status_of(lab, store.run_id)
    if status == 503:  # it may go better at the next delivery
        assert (failure, state["state"]) == (None, "running")
    else:
        assert failure is not None and word in failure.detail
        assert (state["state"], state["failure"]["detail"]) == ("failed", failure.detail)


def run_of(lab: Lab, request: dict[str, str]) -> str:
    from workers.scoring.planning.find_run import find_run

    return find_run(lab.clients, lab.request(request)).store.run_id


@pytest.mark.slow
def test_an_execution_that_may_not_be_seen_is_a_403_and_one_that_is_not_seen_is_awaited(
    lab: Lab, stack: LocalStack, request_for_job: dict[str, str], short_of_memory: None
) -> None:
    stack.jobs.lookup_refusal = ("UNAVAILABLE", "busy")
    run_id = lab.here(request_for_job | {"wait": "false"}).json["run_id"]
    store = lab.store(run_id)
    until = time.monotonic() + 30
    while (begun := latest_execution(store)) is None or not begun.name:
        assert time.monotonic() < until
        time.sleep(0.05)
    assert lab.here(request_for_job | {"wait": "false"}).status == 202  # it joins
    assert status_of(lab, run_id)["state"] == "running"
    stack.jobs.lookup_refusal = ("PERMISSION_DENIED", "no")
    lab.here(request_for_job).problem(403, "permission-missing", "roles/run.viewer")
    assert status_of(lab, run_id)["state"] == "running"


@pytest.mark.slow
def test_tasks_without_memory_fail_the_run_and_the_answer_names_what_to_raise(
    lab: Lab, request_for_job: dict[str, str], short_of_memory: None
) -> None:
    answer = lab.here(request_for_job)
    answer.problem(422, "no-progress", "0 tasks succeeded, 1 failed", "code 137", "job_memory")
    state = status_of(lab, run_of(lab, request_for_job))
    assert state["state"] == "failed"
    assert state["failure"]["detail"] == answer.json["detail"]


@pytest.mark.slow
def test_a_run_without_a_caller_is_failed_once_its_job_has_ended_and_a_repeat_starts_another(
    lab: Lab,
    stack: LocalStack,
    request_for_job: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(stack.jobs._jobs, stack.settings.job, job_of(stack, KILLED))
        run_id = lab.here(request_for_job | {"wait": "false"}).json["run_id"]
        until = time.monotonic() + 60
        while (state := status_of(lab, run_id))["state"] == "running":
            assert time.monotonic() < until
            time.sleep(0.1)
    assert state["state"] == "failed"
    assert "ended without a result: 0 tasks succeeded, 1 failed" in state["failure"]["detail"]
    assert "job_memory" in state["failure"]["detail"]
    # Somebody gives it more memory and repeats the request.
    monkeypatch.setitem(stack.jobs._jobs, stack.settings.job, job_of(stack, "pass"))
    assert lab.here(request_for_job | {"wait": "false"}).status == 202
    while (begun := latest_execution(lab.store(run_id))) is None or begun.number != 1:
        assert time.monotonic() < until
        time.sleep(0.1)


def pushed(request: dict[str, str]) -> bytes:
    data = base64.b64encode(json.dumps(request).encode()).decode()
    return json.dumps({"message": {"data": data, "messageId": "1"}}).encode()


@pytest.mark.slow
def test_a_pushed_run_whose_job_used_up_its_tries_is_recorded_and_acknowledged(
    lab: Lab, request_for_job: dict[str, str], short_of_memory: None
) -> None:
    """Nobody waits for it: the ledger, the announcement and the alert say so."""
    assert lab.push(pushed(request_for_job)).status == 204
    run_id = run_of(lab, request_for_job)
    failure = read_failure(lab.store(run_id))
    assert failure is not None and "ended without progress" in failure.detail
    query = {"env": "dev", "model_name": request_for_job["model_name"], "limit": "1000"}
    rows = [r for r in lab.here(query, "/runs").json["runs"] if r["run_id"] == run_id]
    assert [(row["state"], row["failure"]) for row in rows] == [("failed", failure.detail)]


def test_a_push_that_is_out_of_time_while_its_job_works_is_continued(
    lab: Lab, stack: LocalStack, request_for_job: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    program = "import time; time.sleep(60)"
    monkeypatch.setitem(stack.jobs._jobs, stack.settings.job, job_of(stack, program))
    monkeypatch.setattr(events, "SHARE", 0.0)
    sent: list[str] = []
    monkeypatch.setattr(events, "publish_request", lambda request, run_id: sent.append(run_id))
    for _ in range(2):
        assert lab.push(pushed(request_for_job)).status == 204
    run_id = run_of(lab, request_for_job)
    assert sent == [run_id, run_id]
    execution = latest_execution(lab.store(run_id))
    assert execution is not None and execution.number == 0
    # Its end is the end of the messages, too.
    assert lab.client.delete(f"/runs/{run_id}?env=dev").status_code == 200
    assert stack.jobs.executions[execution.name].cancelled.is_set()
    assert lab.push(pushed(request_for_job | {"run_id": run_id})).status == 204
    assert len(sent) == 2
