"""A run is cancelled or published, never both, at every moment and by every engine."""

from __future__ import annotations

import base64
import json
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
import requests
from google.cloud.bigquery_storage_v1 import BigQueryReadClient
from sklearn.linear_model import LinearRegression

from mlsys.errors import RunCancelled, RunPublished
from mlsys.local.stack import LocalStack
from samples import chosen
from scoring_cases import Lab, unique
from workers import machine
from workers.scoring.engines import cloud_run_job, task
from workers.scoring.engines.run import execute
from workers.scoring.journal.attempts import Attempt
from workers.scoring.journal.decisions import read_cancellation
from workers.scoring.journal.outcomes import read_result
from workers.scoring.planning.find_run import Prepared, prepare
from workers.scoring.publishing import cancellation
from workers.scoring.publishing.cancellation import cancel
from workers.scoring.request.parsed import MaxRejects
from workers.scoring.shards import pool, read_session, watch
from workers.scoring.shards.chain import Share

pytestmark = [pytest.mark.usefixtures("environment"), pytest.mark.slow]

ROWS = 4_000
DATA = pd.DataFrame({"id": range(ROWS), "a": np.arange(ROWS) / 7})
DATA["word"] = [f"{n:>300}" for n in range(ROWS)]  # 1 MB: BigQuery gives two streams
MODEL = LinearRegression().fit(DATA[["a"]], DATA["a"] * 3 + 1)
CALLS = 60  # of a run to the clients, at most
RACES, LONG_RACES = 20, 200


class Bench:
    """A table and a model, and requests that write to outputs of their own."""

    def __init__(self, stack: LocalStack) -> None:
        self.lab = Lab(stack)
        self.table = self.lab.put(DATA)
        self.small = self.lab.put(DATA.head(40))
        self.open: list[Prepared] = []
        self.name = self.lab.upload(MODEL, DATA[["a"]], id_columns=["id", "word"])

    def params(self, table: str | None = None, **more: Any) -> dict[str, str]:
        return self.lab.params(table or self.small, self.name, **more)

    def planned(self, params: dict[str, str]) -> Prepared:
        """Plan a run, and close its model after the test."""
        prepared = prepare(self.lab.clients, self.lab.request(params), params.get("run_id"))
        self.open.append(prepared)
        return prepared

    def cancel(self, run_id: str, **query: str) -> Any:
        return self.lab.client.delete(f"/runs/{run_id}", query_string={"env": "dev"} | query)

    def state(self, run_id: str) -> dict[str, Any]:
        return dict(self.lab.here({"env": "dev"}, f"/runs/{run_id}").json)

    def rows(self, output: str) -> int:
        return self.lab.count(output) if self.lab.exists(output) else 0

    def ledger(self, run_id: str) -> list[dict[str, Any]]:
        query = {"env": "dev", "model_name": self.name, "limit": "1000"}
        listed = self.lab.here(query, "/runs").json["runs"]
        return [row for row in listed if row["run_id"] == run_id]

    def check_cancelled(self, run_id: str, output: str) -> None:
        """Check that nothing of the run is published, and that every answer says so."""
        state = self.state(run_id)
        assert state["state"] == "cancelled"
        assert run_id in state["cancellation"]["detail"]
        assert self.rows(output) == 0
        [row] = self.ledger(run_id)
        assert (row["state"], row["rows_scored"], row["job_id"]) == ("cancelled", None, None)
        assert "was cancelled at" in row["failure"]
        assert read_result(self.lab.store(run_id)) is None

    def check_published(self, run_id: str, output: str, rows: int) -> None:
        assert self.state(run_id)["state"] == "succeeded"
        assert self.rows(output) == rows
        assert [row["state"] for row in self.ledger(run_id)] == ["succeeded"]
        assert read_cancellation(self.lab.store(run_id)) is None


@pytest.fixture(scope="module")
def bench(stack: LocalStack) -> Iterator[Bench]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in stack.environment.items():
            patch.setenv(name, value)
        yield Bench(stack)


@pytest.fixture(autouse=True)
def looks_often(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(cancellation, "EVERY", 0.0)
    monkeypatch.setattr(read_session, "PART_ROWS", 400)
    monkeypatch.setattr(cloud_run_job, "POLL", 0.05)
    yield
    while bench.open:
        bench.open.pop().close()


# The order of the two decisions


class Between:
    """Calls `then` before or after the n-th call to a client, once, in that call's thread."""

    def __init__(self, patch: pytest.MonkeyPatch, number: int, then: Callable[[], None]) -> None:
        self.calls = 0
        self._number, self._then = number, then
        self._lock = threading.Lock()
        self._inside = threading.local()
        self._done = threading.Event()
        self._watch(patch, requests.adapters.HTTPAdapter, "send")
        self._watch(patch, BigQueryReadClient, "read_rows")

    def _watch(self, patch: pytest.MonkeyPatch, owner: Any, method: str) -> None:
        real = getattr(owner, method)

        def made(*args: Any, **options: Any) -> Any:
            self._reach()
            answer = real(*args, **options)
            self._reach()
            return answer

        patch.setattr(owner, method, made)

    def _reach(self) -> None:
        if getattr(self._inside, "then", False):
            return
        with self._lock:
            self.calls += 1
            is_now = self.calls == self._number
        if is_now:
            self._inside.then = True
            try:
                self._then()
            finally:
                self._inside.then = False
                self._done.set()

    def wait(self) -> None:
        """Wait until `then` has returned, if another thread has called it."""
        assert self.calls < self._number or self._done.wait(60)


def race_at(bench: Bench, point: int) -> tuple[bool, bool, int]:
    """Cancel a run at that moment of it, check it, and return who won, and the moments."""
    params = bench.params(run_id=unique("point"))
    prepared = bench.planned(params)
    run_id = prepared.plan.run_id
    cancelled: list[bool] = []

    def try_cancel() -> None:
        try:
            cancelled.append(cancel(bench.lab.clients, "dev", run_id)[1])
        except RunPublished as exc:
            assert "can no longer be cancelled" in str(exc)
            cancelled.append(False)

    published = True
    with pytest.MonkeyPatch.context() as patch:
        between = Between(patch, point, try_cancel)
        try:
            execute(bench.lab.clients, prepared)
        except RunCancelled:
            published = False
        between.wait()
    if cancelled and cancelled[0]:
        assert not published
        bench.check_cancelled(run_id, params["output_table"])
        prepared.close()
        with pytest.raises(RunCancelled):  # a later one
            execute(bench.lab.clients, prepared)
        assert bench.rows(params["output_table"]) == 0
    else:
        assert published
        bench.check_published(run_id, params["output_table"], 40)
    return bool(cancelled), bool(cancelled and cancelled[0]), between.calls


@pytest.mark.long
def test_a_cancellation_at_any_call_of_a_run_wins_or_loses(bench: Bench) -> None:
    sample = chosen(CALLS, 6, __file__)
    outcomes = [race_at(bench, 1 + point)[1] for point in sorted(sample)]
    assert any(outcomes), "the cancellation never won"


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_cancellation_at_each_call_of_a_run_wins_or_loses(bench: Bench) -> None:
    outcomes = []
    point = 1
    while True:
        made, won, _ = race_at(bench, point)
        if not made:
            break
        outcomes.append(won)
        point += 1
    assert len(outcomes) > 20
    # Threads make the calls, so that the moment of the decision has another number in each run.
    assert outcomes[0] and not outcomes[-1]


@pytest.mark.long
@pytest.mark.parametrize("at", ["before", "after"])
def test_a_try_that_sleeps_around_its_decision_does_what_was_decided(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """A zombie: every row is scored, and it wakes when the run has long been cancelled."""
    params = bench.params(run_id=unique("zombie"))
    prepared = bench.planned(params)
    run_id, store_type = prepared.plan.run_id, type(prepared.store)
    create = store_type.create
    answers: list[Any] = []

    def sleep(store: Any, name: str, value: Any) -> bool:
        if name != "publish.json" or answers:
            return create(store, name, value)
        made = None if at == "before" else create(store, name, value)
        answers.append(None)
        answers[0] = bench.cancel(run_id)
        return create(store, name, value) if made is None else made

    monkeypatch.setattr(store_type, "create", sleep)
    if at == "before":
        with pytest.raises(RunCancelled):
            execute(bench.lab.clients, prepared)
        assert answers[0].status_code == 200
        bench.check_cancelled(run_id, params["output_table"])
    else:
        execute(bench.lab.clients, prepared)
        assert answers[0].status_code == 409
        assert "has decided what it publishes" in answers[0].get_json()["detail"]
        bench.check_published(run_id, params["output_table"], 40)


def race(bench: Bench, count: int) -> list[bool]:
    """Cancel runs at random moments of them, and return whether each was cancelled."""
    rng = random.Random(count)
    outcomes = []
    first = bench.planned(bench.params(run_id=unique("first")))
    began = time.monotonic()
    execute(bench.lab.clients, first)
    seconds = time.monotonic() - began
    for _ in range(count):
        params = bench.params(run_id=unique("race"))
        prepared = bench.planned(params)
        run_id, output = prepared.plan.run_id, params["output_table"]
        answers: list[int] = []
        pause = rng.uniform(0.0, 1.1 * seconds)

        def later(run_id: str, pause: float, answers: list[int]) -> None:
            time.sleep(pause)
            client = bench.lab.app.test_client()
            answers.append(client.delete(f"/runs/{run_id}?env=dev").status_code)

        thread = threading.Thread(target=later, args=(run_id, pause, answers))
        thread.start()
        try:
            execute(bench.lab.clients, prepared)
            published = True
        except RunCancelled:
            published = False
        thread.join()
        prepared.close()
        assert answers == [409 if published else 200]
        assert bench.rows(output) == (40 if published else 0)
        outcomes.append(not published)
    return outcomes


@pytest.mark.long
def test_a_cancellation_that_races_with_the_run_is_answered_as_the_run_ends(bench: Bench) -> None:
    assert len(race(bench, RACES)) == RACES


@pytest.mark.long
@pytest.mark.timeout(600)
def test_two_hundred_races_end_as_they_are_answered(bench: Bench) -> None:
    outcomes = race(bench, int(os.environ.get("RACES", LONG_RACES)))
    assert {True, False} == set(outcomes)


# In the middle of a run


@pytest.mark.parametrize("engine", ["inline", "pool"])
def test_a_run_in_the_middle_stops_and_its_caller_is_told(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    monkeypatch.setattr(read_session, "streams_to_request", lambda *_: (2, 2))
    part_rows = 400
    if engine == "pool":
        part_rows = 4  # its processes work on while the caller cancels
        monkeypatch.setattr(read_session, "PART_ROWS", part_rows)
        monkeypatch.setattr(pool, "INLINE_ROWS", 0)
        monkeypatch.setattr(pool, "_cores", lambda: 2)
        monkeypatch.setattr(pool, "POLL", 0.01)
    else:
        monkeypatch.setattr(machine, "cores", lambda: 1)
    params = bench.params(bench.table, run_id=unique(engine), engine="service")
    store = bench.lab.store(params["run_id"])
    answers: list[int] = []
    used: list[Any] = []
    in_processes = pool._in_processes
    monkeypatch.setattr(pool, "_in_processes", lambda *a: used.append(a) or in_processes(*a))

    def look(self: watch.Watch, *, last: bool = False) -> None:
        if not answers and (engine == "pool" or store.parts(0)):
            answers.append(bench.cancel(params["run_id"], why="wrong table").status_code)

    monkeypatch.setattr(watch.Watch, "look", look)
    problem = bench.lab.here(params).problem(409, "run-cancelled", "wrong table", "run_id")
    assert problem["title"] == "The run was cancelled"
    assert answers == [200]
    parts = list(store.parts(0))
    assert len(parts) < ROWS // part_rows, "it went on to its end"
    assert len(read_session.latest_session(store).streams) == 2  # type: ignore[union-attr]
    assert len(used) == (engine == "pool")
    bench.check_cancelled(params["run_id"], params["output_table"])
    attempts = [name for name in store.names() if name.startswith("attempts/")]
    last = Attempt.from_dict("", store.read(max(attempts)) or {})
    assert last.end == "cancelled"


def test_a_job_of_two_tasks_is_cancelled_and_its_caller_is_told(
    bench: Bench, stack: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_session, "streams_to_request", lambda *_: (2, 2))
    params = bench.params(bench.table, run_id=unique("job"), engine="job")
    real, answers = cloud_run_job.read_failure, []
    earlier = set(stack.jobs.executions)

    def once(store: Any) -> Any:
        if not answers:
            answers.append(bench.cancel(params["run_id"]).status_code)
        return real(store)

    monkeypatch.setattr(cloud_run_job, "read_failure", once)
    bench.lab.here(params).problem(409, "run-cancelled", "was cancelled")
    assert answers == [200]
    (execution,) = (e for name, e in stack.jobs.executions.items() if name not in earlier)
    assert execution.cancelled.is_set()
    assert len(execution.tasks) == 2
    until = time.monotonic() + 30
    while execution.completed is None:
        assert time.monotonic() < until
        time.sleep(0.05)
    bench.check_cancelled(params["run_id"], params["output_table"])
    # Neither the same request nor a push starts another execution.
    bench.lab.here(params).problem(409, "run-cancelled")
    assert set(stack.jobs.executions) - earlier == {execution.name}


def test_a_run_cancelled_while_its_job_is_started_has_its_execution_ended(
    bench: Bench, stack: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = bench.params(run_id=unique("starting"), engine="job")
    real = stack.jobs.run

    def cancelled_meanwhile(*arguments: Any) -> Any:
        assert bench.cancel(params["run_id"]).status_code == 200  # no name is known yet
        return real(*arguments)

    earlier = set(stack.jobs.executions)
    monkeypatch.setattr(stack.jobs, "run", cancelled_meanwhile)
    bench.lab.here(params).problem(409, "run-cancelled")
    (execution,) = (e for name, e in stack.jobs.executions.items() if name not in earlier)
    assert execution.cancelled.is_set()
    bench.check_cancelled(params["run_id"], params["output_table"])


def test_a_task_of_a_cancelled_run_does_nothing_and_is_not_repeated(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_session, "streams_to_request", lambda *_: (2, 2))
    params = bench.params(bench.table, run_id=unique("task"))
    store = bench.planned(params).store
    assert task.work(store, Share(0, 2), MaxRejects(), lambda: False) == task.DONE
    before = len(store.parts(0))
    assert bench.cancel(store.run_id).status_code == 200
    for share in (Share(1, 2), Share(0, 2)):
        assert task.work(store, share, MaxRejects(), lambda: False) == task.DONE
    assert len(store.parts(0)) == before
    bench.check_cancelled(store.run_id, params["output_table"])


# Requests around it


def push(bench: Bench, message: dict[str, str]) -> int:
    data = base64.b64encode(json.dumps(message).encode()).decode()
    return bench.lab.push(json.dumps({"message": {"data": data, "messageId": "1"}}).encode()).status


@pytest.mark.parametrize("named", [True, False])
def test_messages_of_a_cancelled_run_are_acknowledged_and_do_nothing(
    bench: Bench, named: bool
) -> None:
    """A redelivery, or the continuation of a suspended run."""
    params = bench.params()
    run_id = bench.planned(params).plan.run_id
    assert bench.cancel(run_id).status_code == 200
    assert push(bench, params | ({"run_id": run_id} if named else {})) == 204
    bench.check_cancelled(run_id, params["output_table"])
    assert not bench.lab.store(f"{run_id}-2").names()


def test_a_repeat_without_a_run_id_is_another_run_and_with_it_is_refused(bench: Bench) -> None:
    params = bench.params()
    run_id = bench.planned(params).plan.run_id
    assert bench.cancel(run_id).status_code == 200
    named = params | {"run_id": run_id}
    for more in ({}, {"dry_run": "true"}, {"wait": "false"}):
        bench.lab.here(named | more).problem(409, "run-cancelled", "without its run_id")
    tried = bench.lab.here(params | {"dry_run": "true"}).json
    assert (tried["run_id"], tried["run_exists"], tried["ok"]) == (f"{run_id}-2", False, True)
    result = bench.lab.here(params).done()
    assert (result["run_id"], result["rows"], result["reused"]) == (f"{run_id}-2", 40, False)
    assert bench.lab.here(params).done()["reused"]
    assert bench.state(run_id)["state"] == "cancelled"
    assert bench.rows(params["output_table"]) == 40


def test_cancelling_again_changes_nothing(bench: Bench) -> None:
    params = bench.params(run_id=unique("again"))
    bench.planned(params)
    first = bench.cancel(params["run_id"], why="a typo").get_json()
    assert (first["already"], first["why"], first["state"]) == (False, "a typo", "cancelled")
    again = bench.cancel(params["run_id"], why="another reason").get_json()
    assert again == first | {"already": True}
    assert len(bench.ledger(params["run_id"])) == 1


def test_what_cannot_be_cancelled_has_a_clear_answer(bench: Bench) -> None:
    assert bench.cancel("no-such-run").status_code == 404
    assert bench.cancel("UPPER").status_code == 400
    params = bench.params(run_id=unique("done"))
    bench.lab.here(params).done()
    answer = bench.cancel(params["run_id"])
    assert answer.status_code == 409
    problem = answer.get_json()
    assert problem["type"] == "urn:mlsys:problem:run-published"
    assert f"mlsys undo {params['run_id']}" in problem["detail"]
    assert bench.state(params["run_id"])["state"] == "succeeded"
    assert bench.rows(params["output_table"]) == 40


def test_a_failed_run_can_be_cancelled_and_is_not_resumed(bench: Bench) -> None:
    bad = DATA.head(40).assign(a=np.nan)
    params = bench.params(bench.lab.put(bad), run_id=unique("failed"))
    assert bench.lab.here(params).status == 422
    assert bench.state(params["run_id"])["state"] == "failed"
    assert bench.cancel(params["run_id"]).status_code == 200
    bench.lab.here(params | {"max_rejects": "40"}).problem(409, "run-cancelled")
    bench.check_cancelled(params["run_id"], params["output_table"])


def test_a_cancelled_run_is_announced_once_and_listed(bench: Bench, stack: LocalStack) -> None:
    params = bench.params(run_id=unique("announced"))
    bench.planned(params)
    for _ in range(2):
        bench.cancel(params["run_id"], why="too slow")
    messages = stack.pubsub.messages(bench.lab.settings.events_topic("dev"))
    ours = [m for m in messages if m.attributes["ce-subject"] == params["run_id"]]
    assert [m.attributes["ce-type"] for m in ours] == ["mlsys.run.cancelled"]
    assert json.loads(ours[0].data)["why"] == "too slow"
    query = {"env": "dev", "model_name": bench.name, "state": "cancelled", "limit": "1000"}
    listed = bench.lab.here(query, "/runs").json["runs"]
    assert params["run_id"] in {row["run_id"] for row in listed}
    assert {row["state"] for row in listed} == {"cancelled"}


def test_a_ledger_that_is_busy_does_not_undo_the_cancellation(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlsys.errors import TryAgain

    params = bench.params(run_id=unique("busy"))
    prepared = bench.planned(params)

    def busy(*_: Any, **__: Any) -> None:
        raise TryAgain("Too many concurrent changes to one BigQuery table: try again")

    with monkeypatch.context() as patch:
        patch.setattr(cancellation, "record", busy)
        assert bench.cancel(params["run_id"]).status_code == 503
    with pytest.raises(RunCancelled):
        execute(bench.lab.clients, prepared)
    assert bench.cancel(params["run_id"]).get_json()["already"]
    bench.check_cancelled(params["run_id"], params["output_table"])


@pytest.mark.parametrize("query", ["", "env=dev&force=1", "env=dev&env=dev", "env=dev&why="])
def test_parameters_that_would_be_ignored_are_refused(bench: Bench, query: str) -> None:
    assert bench.lab.client.delete(f"/runs/x?{query}").status_code == 400


def test_a_body_is_refused(bench: Bench) -> None:
    answer = bench.lab.client.delete("/runs/x?env=dev", data="why=x")
    assert answer.status_code == 400
