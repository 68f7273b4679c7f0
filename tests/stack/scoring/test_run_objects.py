"""A run's objects may be deleted or damaged at any time: no row is duplicated, nothing is a 500."""

import base64
import fnmatch
import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from app.api.problems import status_of
from mlsys.errors import Conflict, RunInterrupted, TryAgain
from mlsys.local.stack import LocalStack
from pushes import wrapped
from scoring_cases import Lab
from terraform_cases import MODULE, Config, files_of
from workers.scoring.answers.status import status
from workers.scoring.engines.run import execute
from workers.scoring.journal.store import RunStore
from workers.scoring.planning.find_run import prepare
from workers.scoring.publishing import decision, load, publication
from workers.scoring.shards import part, read_session

pytestmark = pytest.mark.usefixtures("environment")

ROWS = 40_000
DATA = pd.DataFrame({"id": range(ROWS), "a": np.sin(np.arange(ROWS)), "b": np.arange(ROWS) / 7})
MODEL = LinearRegression().fit(DATA[["a", "b"]], DATA["a"])
KEPT = {"plan.json", "publish.json", "result.json"}
GARBAGE = (
    b'{"run_id": "x',
    b"",
    b"[1]",
    b"{}",
    b"\xff",
    b'{"number": 0, "streams": 7, "parts": 1}',
)


@pytest.fixture(scope="module")
def lab(stack: LocalStack) -> Lab:
    return Lab(stack)


@pytest.fixture(scope="module")
def table(lab: Lab) -> str:
    return lab.put(DATA)


@pytest.fixture
def model(lab: Lab) -> str:
    return lab.upload(MODEL, DATA[["a", "b"]])


@pytest.fixture
def params(
    lab: Lab, table: str, model: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, str]]:
    """Return a request for a table of one stream, scored in this process."""
    monkeypatch.setattr(read_session, "streams_to_request", lambda _: (2, 2))
    return lab.params(table, model)


def resume(lab: Lab, params: dict[str, str], **more: Any) -> dict[str, Any]:
    return execute(lab.clients, prepare(lab.clients, lab.request(params)), **more).to_dict()


def store_of(lab: Lab, params: dict[str, str]) -> RunStore:
    return prepare(lab.clients, lab.request(params)).store


def assert_each_row_is_there_once(lab: Lab, params: dict[str, str]) -> None:
    assert lab.rows(params["output_table"])["id"].tolist() == DATA["id"].tolist()


def delete(store: RunStore, *patterns: str) -> None:
    for name, blob in store._list("").items():
        if any(fnmatch.fnmatch(name, pattern) for pattern in patterns):
            blob.delete()


def lifecycle(store: RunStore) -> set[str]:
    """Delete the objects that the bucket's rules delete in the end; return those left."""
    rules = Config.read(files_of(MODULE)).resources["google_storage_bucket", "runs"]
    conditions = [rule["condition"][0] for rule in rules["lifecycle_rule"]]
    for condition in conditions:
        assert condition.keys() <= {"age", "matches_suffix", "matches_prefix"}
        for blob in store._list("").values():
            if all(
                any(match(blob.name, text) for text in condition[key])
                for key, match in (
                    ("matches_suffix", str.endswith),
                    ("matches_prefix", str.startswith),
                )
                if key in condition
            ):
                blob.delete()
    return set(store._list(""))


def stopped_before_the_load(
    lab: Lab, params: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> RunStore:
    """Return a run that has decided to publish, and whose load job was not inserted."""

    def stop(*_: Any) -> Any:
        raise RunInterrupted("here")

    with monkeypatch.context() as patch:
        patch.setattr(publication, "publish_output", stop)
        with pytest.raises(RunInterrupted):
            resume(lab, params)
    return store_of(lab, params)


def stopped_after_the_parts(
    lab: Lab, params: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> RunStore:
    """Return a run that has all its parts, and has decided nothing."""

    def stop(*_: Any) -> Any:
        raise RunInterrupted("here")

    with monkeypatch.context() as patch:
        patch.setattr(decision, "read_chains", stop)
        with pytest.raises(RunInterrupted):
            resume(lab, params)
    return store_of(lab, params)


@pytest.mark.slow
def test_a_small_run_reads_each_footer_once(
    lab: Lab, params: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lists: list[str] = []
    footers: list[str] = []
    listed, read = RunStore._list, part._footer
    monkeypatch.setattr(
        RunStore, "_list", lambda store, folder: lists.append(folder) or listed(store, folder)
    )
    monkeypatch.setattr(part, "_footer", lambda blob: footers.append(blob.name) or read(blob))
    result = resume(lab, params)
    assert len(footers) == len(set(footers)) == result["shards"]
    # To judge the last tries, to resume, to decide, to count the tries, and to say what they cost.
    assert lists == ["", "parts/0/", "parts/0/", "attempts/", ""]


def test_after_the_lifecycle_rules_the_same_request_reuses_the_run(
    lab: Lab, params: dict[str, str]
) -> None:
    first = resume(lab, params)
    left = lifecycle(store_of(lab, params))
    assert left >= KEPT
    assert not any(name.endswith(".parquet") for name in left)
    again = resume(lab, params)
    assert (again["reused"], again["run_id"]) == (True, first["run_id"])
    assert_each_row_is_there_once(lab, params)
    assert status(lab.clients, "dev", first["run_id"])["state"] == "succeeded"


@pytest.mark.slow
def test_a_loaded_run_without_a_result_is_not_loaded_again_after_the_lifecycle_rules(
    lab: Lab, params: dict[str, str]
) -> None:
    resume(lab, params)
    store = store_of(lab, params)
    delete(store, "result.json")
    lifecycle(store)
    assert resume(lab, params)["rows"] == ROWS
    assert_each_row_is_there_once(lab, params)


def test_a_decided_run_without_its_parts_raises_a_conflict(
    lab: Lab, params: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = stopped_before_the_load(lab, params, monkeypatch)
    lifecycle(store)
    with pytest.raises(Conflict, match="was deleted before it was loaded"):
        resume(lab, params)


@pytest.mark.slow
@pytest.mark.parametrize("gone", [["plan.json"], ["publish.json"], ["plan.json", "publish.json"]])
def test_a_finished_run_that_lost_some_objects_is_reused(
    lab: Lab, params: dict[str, str], gone: list[str]
) -> None:
    resume(lab, params)
    delete(store_of(lab, params), *gone)
    assert resume(lab, params)["reused"]
    assert_each_row_is_there_once(lab, params)


@pytest.mark.slow
def test_a_decision_of_a_deleted_plan_is_not_loaded_again(lab: Lab, params: dict[str, str]) -> None:
    resume(lab, params)
    delete(store_of(lab, params), "plan.json", "result.json")
    with pytest.raises(Conflict, match="earlier plan"):
        resume(lab, params)
    assert_each_row_is_there_once(lab, params)


def test_the_result_of_another_request_is_not_returned(lab: Lab, params: dict[str, str]) -> None:
    result = resume(lab, params)
    store = store_of(lab, params)
    delete(store, "result.json")
    store.create("result.json", result | {"output_table": "p.d.other"})
    with pytest.raises(Conflict, match="earlier plan"):
        resume(lab, params)


@pytest.mark.slow
@pytest.mark.parametrize(
    "what", ["parts/0/00000-000000000000.parquet", "parts/*", "session-0.json"]
)
def test_objects_deleted_before_the_decision_are_scored_again(
    lab: Lab, params: dict[str, str], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    delete(stopped_after_the_parts(lab, params, monkeypatch), what)
    for _ in range(3):
        try:
            result = resume(lab, params)
            break
        except TryAgain:
            continue
    assert result["rows"] == ROWS
    assert_each_row_is_there_once(lab, params)


@pytest.mark.slow
@pytest.mark.parametrize("when", ["parts listed", "footers read"])
def test_a_part_deleted_during_the_run_can_be_retried(
    lab: Lab, params: dict[str, str], monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    store = store_of(lab, params)

    def late(do: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any) -> Any:
            delete(store, "parts/0/00000-000000000000.parquet")
            return do(*args)

        return wrapped

    with monkeypatch.context() as patch:
        name = "_complete_chains" if when == "footers read" else "score_shards"
        if when == "footers read":
            patch.setattr(decision, name, late(decision._complete_chains))
        else:
            parts = RunStore.parts
            patch.setattr(RunStore, "parts", lambda self, *n: late(parts)(self, *n))
        with pytest.raises(TryAgain) as caught:
            resume(lab, params)
    assert status_of(caught.value)[0] == 503
    assert resume(lab, params)["rows"] == ROWS
    assert_each_row_is_there_once(lab, params)


@pytest.mark.slow
@pytest.mark.parametrize("garbage", [b"", b"no Parquet at all" * 100])
def test_a_damaged_part_is_scored_again(
    lab: Lab, params: dict[str, str], monkeypatch: pytest.MonkeyPatch, garbage: bytes
) -> None:
    store = stopped_after_the_parts(lab, params, monkeypatch)
    store.blob("parts/0/00000-000000000000.parquet").upload_from_string(garbage)
    assert status(lab.clients, "dev", store.run_id)["state"] == "running"
    with pytest.raises(TryAgain, match="damaged"):
        resume(lab, params)
    assert resume(lab, params)["rows"] == ROWS
    assert_each_row_is_there_once(lab, params)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plan.json", "session-0.json", "publish.json", "result.json"])
def test_a_damaged_object_is_named(
    lab: Lab, params: dict[str, str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    store = stopped_after_the_parts(lab, params, monkeypatch)
    for garbage in GARBAGE:
        store.blob(name).upload_from_string(garbage)
        with pytest.raises(Conflict, match=name) as caught:
            resume(lab, params)
        assert status_of(caught.value)[0] == 409
    assert not lab.exists(params["output_table"])


def test_a_plan_of_a_newer_release_is_left_to_that_release(
    lab: Lab, params: dict[str, str]
) -> None:
    prepared = prepare(lab.clients, lab.request(params))
    prepared.close()
    store, plan = prepared.store, prepared.plan.to_dict()
    model, output = plan["model"] | {"quantized": True}, plan["output"] | {"sorted_by": "id"}
    for newer, name in (
        ({"sampled": 0.5}, "sampled"),
        ({"model": model}, "quantized"),
        ({"output": output}, "sorted_by"),
    ):
        store.note("plan.json", plan | newer)
        problem = lab.here(params).problem(503, "newer-release", f"does not know {name}")
        assert "rolled back, pass a run_id of your own" in problem["detail"]
        lab.here({"env": "dev"}, f"/runs/{store.run_id}").problem(503, "newer-release", name)
        data = base64.b64encode(json.dumps(params).encode()).decode()
        assert lab.push(wrapped({}, data)).status == 503  # it is delivered again
    store.note("plan.json", plan)
    assert lab.here(params).done()["run_id"] == store.run_id


@pytest.mark.slow
def test_a_damaged_failure_is_reported_and_does_not_stop_the_run(
    lab: Lab, params: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = stopped_after_the_parts(lab, params, monkeypatch)
    for garbage in (*GARBAGE, b'{"state": "failed"}'):
        store.blob("failure.json").upload_from_string(garbage)
        state = status(lab.stack.clients, "dev", store.run_id)
        assert state["state"] == "failed"
        assert "failure.json is damaged: repeat the request" in state["failure"]["detail"]
    assert resume(lab, params)["rows"] == ROWS


def test_parts_deleted_as_the_load_begins_raise_a_conflict(
    lab: Lab, params: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped_before_the_load(lab, params, monkeypatch)
    store, start = store_of(lab, params), load._start

    def late(*args: Any) -> Any:
        delete(store, "parts/*")
        return start(*args)

    with monkeypatch.context() as patch:
        patch.setattr(load, "_start", late)
        with pytest.raises(Conflict, match="was deleted before it was loaded"):
            resume(lab, params)
