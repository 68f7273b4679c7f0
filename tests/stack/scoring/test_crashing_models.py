"""A model that ends the process that holds it is refused once and for all; a row is set aside."""

from __future__ import annotations

import base64
import json
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
from sklearn.linear_model import LinearRegression

from mlsys.artifact.refs import ModelRef
from mlsys.local.stack import LocalStack
from registry_cases import ModelCase, model_case
from samples import sampled
from scoring_cases import Lab, rejected_ids, rejects_of
from team_models import Ending, EndingAtLoad
from workers import machine
from workers.registry.sync import converge
from workers.registry.verify import verifier
from workers.sandbox import nursery, predictions, start
from workers.sandbox.client import SandboxedModel
from workers.sandbox.died import deaths
from workers.sandbox.process import Sandbox
from workers.scoring.shards import pool, read_session, scorer
from workers.verification import crashes

pytestmark = [pytest.mark.usefixtures("environment"), pytest.mark.slow]

ROWS = 40
SICK = 1234.5  # a value that a model may be unable to take
DATA = pd.DataFrame({"id": range(ROWS), "a": np.linspace(-1, 1, ROWS)})
X = DATA[["a"]]
BAD = [3, 30]


@pytest.fixture(scope="module")
def lab(stack: LocalStack) -> Lab:
    return Lab(stack)


@pytest.fixture(scope="module")
def table(lab: Lab) -> str:
    return lab.put(DATA)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Count the sandboxes that are started for a model, in this process."""
    seen: list[str] = []

    class Counted(Sandbox):
        def __init__(self, handlers: str, **options: Any) -> None:
            seen.append(handlers)
            super().__init__(handlers, **options)

    monkeypatch.setattr(start, "Sandbox", Counted)
    return seen


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "memory", lambda: 1400 * 2**20)


def generation(lab: Lab, name: str) -> int:
    bucket = lab.clients.storage.bucket(lab.settings.models_bucket("dev"))
    return int(bucket.get_blob(f"{name}/v1/model.pkl", timeout=30).generation)


def remembered(lab: Lab, name: str) -> dict[str, Any] | None:
    """Return what the runs bucket keeps about the current generation of the model."""
    objects = lab.objects(f"crashes/{name}/")
    bucket = lab.clients.storage.bucket(lab.settings.runs_bucket("dev"))
    kept = crashes.object_name(ModelRef(name, "v1"), generation(lab, name), "listed")
    return json.loads(bucket.blob(kept).download_as_bytes(timeout=30)) if kept in objects else None


def forget(lab: Lab, name: str) -> None:
    bucket = lab.clients.storage.bucket(lab.settings.runs_bucket("dev"))
    for kept in lab.objects(f"crashes/{name}/"):
        bucket.blob(kept).delete(timeout=30)


def message(params: dict[str, str]) -> bytes:
    """Return Pub/Sub's push of a request."""
    data = base64.b64encode(json.dumps(params).encode()).decode()
    inner = {"data": data, "messageId": "1", "publishTime": "2026-01-01T00:00:00Z"}
    return json.dumps({"message": inner, "subscription": "projects/p/subscriptions/s"}).encode()


# While it is loaded and judged

WAYS = {
    "it dies on its golden rows": (Ending(), "killed by signal 11 (SIGSEGV)", 1),
    "it dies while it is loaded": (EndingAtLoad(), "killed by signal 11 (SIGSEGV)", 1),
    "it exits": (Ending("exits"), "exited with 0", 1),
    "it sleeps for an hour": (Ending("sleeps"), "over time (3 s)", 2),
    "it sleeps while it is loaded": (EndingAtLoad("sleeps"), "over time (3 s)", 2),
    "it eats the memory while it is loaded": (EndingAtLoad("eats memory"), "memory", 2),
}


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize(
    ("model", "cause", "tries"), sampled(WAYS, 3, __file__, kind=lambda way: way[0].end)
)
def test_a_model_that_ends_its_process_is_refused_and_not_tried_again(
    lab: Lab,
    table: str,
    started: list[str],
    monkeypatch: pytest.MonkeyPatch,
    model: Any,
    cause: str,
    tries: int,
) -> None:
    if model.end == "sleeps":
        monkeypatch.setattr(SandboxedModel.__init__, "__defaults__", (3.0,))
    name = lab.upload(model.fit(X), X)
    params = lab.params(table, name)
    first = lab.here(params).problem(422, "model-unusable", cause, "crashes/", "delete it")
    assert len(started) == tries
    kept = remembered(lab, name)
    assert kept is not None and cause in kept["reason"]
    again = lab.here(params | {"allow_rejected": "true"})
    assert again.problem(422, "model-unusable")["detail"] == first["detail"]
    assert not (dry := lab.here(params | {"dry_run": "true"}).json)["ok"]
    assert cause in json.dumps(dry)
    assert lab.push(message(params)).status == 204
    assert lab.push(message(params)).status == 204
    assert len(started) == tries
    assert not lab.exists(params["output_table"])
    assert not lab.objects(f"{name}-")  # no plan, no part


def test_a_model_that_dies_without_golden_rows_is_refused_once(
    lab: Lab, table: str, started: list[str]
) -> None:
    name = lab.put_pickle(Ending(at=1.0).fit(X))  # a value of the rows that planning makes up
    params = lab.params(table, name, id_columns="id")
    for _ in range(2):
        lab.here(params).problem(422, "model-unusable", "killed by signal 11 (SIGSEGV)")
    assert len(started) == 1


def test_a_model_that_raises_for_lack_of_memory_is_refused(
    lab: Lab, table: str, little_memory: None, started: list[str]
) -> None:
    name = lab.upload(Ending("eats memory").fit(X), X)
    params = lab.params(table, name)
    for _ in range(2):
        lab.here(params).problem(422, "model-unusable", "over memory")
    assert len(started) == 2  # the first request has tried it twice, the second one not at all
    assert remembered(lab, name) is not None
    assert not lab.exists(params["output_table"])


def test_a_crash_is_forgotten_with_its_object_and_with_a_new_upload(
    lab: Lab, table: str, started: list[str]
) -> None:
    name = lab.upload(Ending().fit(X), X)
    params = lab.params(table, name)
    lab.here(params).problem(422, "model-unusable", "SIGSEGV")
    forget(lab, name)
    lab.here(params).problem(422, "model-unusable", "SIGSEGV")
    assert len(started) == 2
    assert remembered(lab, name) is not None
    lab.upload(Ending(at=SICK).fit(X), X, name=name)
    assert lab.here(params).done()["rows"] == ROWS
    assert len(started) == 3


def test_a_model_that_this_process_knew_as_sound_is_tried_once_more(
    lab: Lab, table: str, started: list[str]
) -> None:
    """Its golden rows are replaced by some that it cannot take."""
    name = lab.upload(Ending(at=SICK).fit(X), X)
    assert lab.here(lab.params(table, name)).done()["rows"] == ROWS
    bucket = lab.clients.storage.bucket(lab.settings.models_bucket("dev"))
    blob = bucket.blob(f"{name}/v1/metadata.json")
    document = json.loads(blob.download_as_bytes(timeout=30))
    document["golden"]["rows"][0] = [SICK for _ in document["golden"]["rows"][0]]
    blob.upload_from_string(json.dumps(document), timeout=30)
    before = len(started)
    for _ in range(3):
        lab.here(lab.params(table, name)).problem(422, "model-unusable", "SIGSEGV")
    assert len(started) == before + 1


def test_an_empty_object_about_a_crash_is_ignored(lab: Lab, table: str) -> None:
    name = lab.upload(Ending(at=SICK).fit(X), X)
    kept = crashes.object_name(ModelRef(name, "v1"), generation(lab, name), "listed")
    bucket = lab.clients.storage.bucket(lab.settings.runs_bucket("dev"))
    bucket.blob(kept).upload_from_string(b"", timeout=30)
    assert lab.here(lab.params(table, name)).done()["rows"] == ROWS


@pytest.fixture
def case(stack: LocalStack) -> Iterator[ModelCase]:
    with model_case(stack, "crashing") as fresh:
        yield fresh


def test_registration_rejects_it_with_the_reason_and_planning_does_not_try_it(
    lab: Lab, table: str, case: ModelCase, started: list[str]
) -> None:
    lab.upload(Ending().fit(X), X, name=case.name)
    case.settle()  # the service does not trust the class
    verifier.cache_clear()
    converge(lab.clients, "dev", case.ref())
    assert len(started) == 1
    [row] = case.rows()
    assert row["status"] == "rejected"
    assert "killed by signal 11 (SIGSEGV)" in row["status_reason"]
    kept = remembered(lab, case.name)
    assert kept is not None and kept["reason"] == "killed by signal 11 (SIGSEGV)"
    params = lab.params(table, case.name)
    lab.here(params).problem(422, "model-unusable", "tries it: killed by signal 11 (SIGSEGV)")
    converge(lab.clients, "dev", case.ref())
    assert len(started) == 1


# While it scores


@pytest.fixture(scope="module")
def sick_table(lab: Lab) -> str:
    """Return a table with a few rows that a model may be unable to take."""
    rows = DATA.copy()
    rows.loc[BAD, "a"] = SICK
    return lab.put(rows)


@pytest.mark.parametrize("end", ["dies", pytest.param("exits", marks=pytest.mark.long)])
def test_the_rows_that_end_the_process_are_rejected_and_the_others_scored_once(
    lab: Lab, sick_table: str, end: str
) -> None:
    name = lab.upload(Ending(end, SICK).fit(X), X)
    params = lab.params(sick_table, name, max_rejects=len(BAD))
    result = lab.here(params).done()
    assert (result["rows"], result["rows_rejected"]) == (ROWS - len(BAD), len(BAD))
    rows, good = lab.rows(params["output_table"]), DATA.drop(BAD)
    assert rows["id"].tolist() == good["id"].tolist()
    assert rows["prediction"].tolist() == (good["a"] * 2).tolist()
    assert rejected_ids(lab, result["rejects_table"]) == BAD
    reasons = rejects_of(lab, result["rejects_table"])["reason"]
    assert all("ended its process with these rows" in reason for reason in reasons)
    assert remembered(lab, name) is None  # the rows are at fault


def test_a_row_that_ends_the_process_fails_a_run_without_rejects(lab: Lab, sick_table: str) -> None:
    name = lab.upload(Ending(at=SICK).fit(X), X)
    params = lab.params(sick_table, name)
    body = lab.here(params).problem(422, "prediction-failed", "id=3", "SIGSEGV")
    assert [row["id"] for row in body["rows"]] == BAD
    assert not lab.exists(params["output_table"])


def test_more_deaths_than_the_bound_fail_the_run(
    lab: Lab, sick_table: str, monkeypatch: pytest.MonkeyPatch, started: list[str]
) -> None:
    monkeypatch.setattr(scorer, "MAX_DEATHS", 4)
    name = lab.upload(Ending(at=SICK).fit(X), X)
    params = lab.params(sick_table, name, max_rejects="100%")
    lab.here(params).problem(422, "model-unusable", "ended its process 5 times", "SIGSEGV")
    assert len(started) == 5
    assert not lab.exists(params["output_table"])
    assert not lab.exists(f"{params['output_table']}_rejects")
    assert lab.push(message(params)).status == 204


def test_rows_that_take_too_long_fail_the_run_after_a_few(
    lab: Lab, sick_table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictions, "PREDICT_SECONDS", 0.5)
    name = lab.upload(Ending("sleeps", SICK).fit(X), X)
    params = lab.params(sick_table, name, max_rejects="100%")
    lab.here(params).problem(422, "model-unusable", "ended its process 4 times", "over time")
    assert not lab.exists(params["output_table"])


def test_a_model_that_dies_on_every_row_of_the_table_is_at_fault(lab: Lab) -> None:
    rows = DATA.assign(a=SICK).head(4)
    name = lab.put_pickle(Ending(at=SICK).fit(X))
    params = lab.params(lab.put(rows), name, id_columns="id", max_rejects="100%")
    result = lab.here(params).done()  # it answers valid rows
    assert (result["rows"], result["rows_rejected"]) == (0, 4)


def test_rows_that_end_the_process_are_rejected_in_the_pool_too(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = 60_000
    data = pd.DataFrame({"id": range(rows), "a": np.sin(np.arange(rows)), "b": 0.5})
    bad = [59_999]
    sick = data.copy()
    sick.loc[bad, "a"] = SICK
    monkeypatch.setattr(pool, "INLINE_ROWS", 0)
    monkeypatch.setattr(read_session, "streams_to_request", lambda _: (4, 4))
    monkeypatch.setattr(machine, "cores", lambda: 2)
    own = pool._Pool()
    monkeypatch.setattr(pool, "_pool", own)
    monkeypatch.setattr(pool, "_cores", lambda: 2)
    try:
        name = lab.upload(Ending(at=SICK).fit(data[["a", "b"]]), data[["a", "b"]])
        params = lab.params(lab.put(sick), name, max_rejects=len(bad))
        before = deaths()["killed"]
        result = lab.here(params).done()
        assert own._started()
        assert deaths()["killed"] > before  # the service counts those of the pool
        assert result["rows_rejected"] == len(bad)
        found, good = lab.rows(params["output_table"]), data.drop(bad)
        assert found["id"].tolist() == good["id"].tolist()
        assert found["prediction"].tolist() == (good["a"] * 2).tolist()
        assert rejected_ids(lab, result["rejects_table"]) == bad
    finally:
        own.end()


@pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors in /proc")
def test_processes_killed_from_outside_cost_a_retry_and_leave_nothing_behind(
    lab: Lab, table: str
) -> None:
    name = lab.upload(LinearRegression().fit(X, X["a"]), X)
    lab.here(lab.params(table, name)).done()  # starts the nursery
    before = len(os.listdir("/proc/self/fd"))
    rng = random.Random(0)
    for number in range(6):
        params = lab.params(table, name)
        with ThreadPoolExecutor(1) as thread:
            asked = thread.submit(lab.here, params)
            process = nursery._nursery()._process
            while not asked.done():
                time.sleep(rng.uniform(0, 0.1))
                if found := psutil.Process(process.pid).children() if number % 3 else [process]:
                    os.kill(found[0].pid, signal.SIGKILL)
                    break
            answer = asked.result(60)
        if answer.status != 200:
            answer.problem(503, "try-again")
            forget(lab, name)
        lab.here(params).done()
        assert lab.rows(params["output_table"])["id"].tolist() == DATA["id"].tolist()
    assert psutil.Process(nursery._nursery()._process.pid).children() == []
    assert len(os.listdir("/proc/self/fd")) <= before
