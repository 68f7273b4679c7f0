"""A run's objects may go or be damaged at any time: no row is doubled, and nothing is a 500."""

import fnmatch
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from app.api.problems import status_of
from mlsys.errors import Conflict, RunInterrupted, TryAgain
from mlsys.local.stack import LocalStack
from scoring_cases import Lab
from terraform_cases import MODULE, Config, files_of
from workers.scoring import run
from workers.scoring.planning.find_run import prepare
from workers.scoring.publishing import decision, load
from workers.scoring.run import execute
from workers.scoring.shards import read_session
from workers.scoring.status import status
from workers.scoring.store import RunStore

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
    """A request for a table of one stream, scored in this process."""
    monkeypatch.setattr(read_session, "ROWS_PER_STREAM", ROWS // 2)
    return lab.params(table, model)


def go_on(lab: Lab, params: dict[str, str], **more: Any) -> dict[str, Any]:
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
    """Delete what the bucket's rules delete in the end; return what is left."""
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
    """A run that has decided, and whose load job was not inserted."""

    def stop(*_: Any) -> Any:
        raise RunInterrupted("here")

    with monkeypatch.context() as patch:
        patch.setattr(run, "publish_output", stop)
        with pytest.raises(RunInterrupted):
            go_on(lab, params)
    return store_of(lab, params)


def stopped_after_the_parts(
    lab: Lab, params: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> RunStore:
    """A run that has all its parts, and has decided nothing."""

    def stop(*_: Any) -> Any:
        raise RunInterrupted("here")

    with monkeypatch.context() as patch:
        patch.setattr(decision, "read_footers", stop)
        with pytest.raises(RunInterrupted):
            go_on(lab, params)
    return store_of(lab, params)


def test_after_the_lifecycle_the_same_request_is_reused(lab: Lab, params: dict[str, str]) -> None:
    first = go_on(lab, params)
    left = lifecycle(store_of(lab, params))
    assert left >= KEPT
    assert not any(name.endswith(".parquet") for name in left)
    again = go_on(lab, params)
    assert (again["reused"], again["run_id"]) == (True, first["run_id"])
    assert_each_row_is_there_once(lab, params)
    assert status(lab.clients, "dev", first["run_id"])["state"] == "succeeded"


def test_a_run_that_was_loaded_and_not_noted_is_not_loaded_again_after_the_lifecycle(
    lab: Lab, params: dict[str, str]
) -> None:
    go_on(lab, params)
    store = store_of(lab, params)
    delete(store, "result.json")
    lifecycle(store)
    assert go_on(lab, params)["rows"] == ROWS
    assert_each_row_is_there_once(lab, params)


def test_a_run_that_decided_and_lost_its_parts_says_so(
    lab: Lab, params: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = stopped_before_the_load(lab, params, monkeypatch)
    lifecycle(store)
    with pytest.raises(Conflict, match="was deleted before it was loaded"):
        go_on(lab, params)


@pytest.mark.parametrize("gone", [["plan.json"], ["publish.json"], ["plan.json", "publish.json"]])
def test_a_finished_run_that_lost_some_objects_is_reused(
    lab: Lab, params: dict[str, str], gone: list[str]
) -> None:
    go_on(lab, params)
    delete(store_of(lab, params), *gone)
    assert go_on(lab, params)["reused"]
    assert_each_row_is_there_once(lab, params)


def test_a_decision_of_a_plan_that_was_deleted_is_not_loaded_again(
    lab: Lab, params: dict[str, str]
) -> None:
    go_on(lab, params)
    delete(store_of(lab, params), "plan.json", "result.json")
    with pytest.raises(Conflict, match="earlier plan"):
        go_on(lab, params)
    assert_each_row_is_there_once(lab, params)


def test_a_result_of_another_request_is_not_answered(lab: Lab, params: dict[str, str]) -> None:
    result = go_on(lab, params)
    store = store_of(lab, params)
    delete(store, "result.json")
    store.create("result.json", result | {"output_table": "p.d.other"})
    with pytest.raises(Conflict, match="earlier plan"):
        go_on(lab, params)


@pytest.mark.parametrize("what", ["parts/0/00000.parquet", "parts/*", "session-0.json"])
def test_what_is_deleted_before_the_decision_is_scored_again(
    lab: Lab, params: dict[str, str], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    delete(stopped_after_the_parts(lab, params, monkeypatch), what)
    for _ in range(3):
        try:
            result = go_on(lab, params)
            break
        except TryAgain:
            continue
    assert result["rows"] == ROWS
    assert_each_row_is_there_once(lab, params)


@pytest.mark.parametrize("when", ["parts listed", "footers read"])
def test_a_part_that_is_deleted_in_mid_run_may_be_tried_again(
    lab: Lab, params: dict[str, str], monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    store = store_of(lab, params)

    def late(do: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any) -> Any:
            delete(store, "parts/0/00000.parquet")
            return do(*args)

        return wrapped

    with monkeypatch.context() as patch:
        name = "_footers" if when == "footers read" else "score_shards"
        if when == "footers read":
            patch.setattr(decision, name, late(decision._footers))
        else:
            parts = RunStore.parts
            patch.setattr(RunStore, "parts", lambda self, n: late(parts)(self, n))
        with pytest.raises(TryAgain) as caught:
            go_on(lab, params)
    assert status_of(caught.value)[0] == 503
    assert go_on(lab, params)["rows"] == ROWS
    assert_each_row_is_there_once(lab, params)


@pytest.mark.parametrize("garbage", [b"", b"no Parquet at all" * 100])
def test_a_part_that_is_damaged_is_scored_again(
    lab: Lab, params: dict[str, str], monkeypatch: pytest.MonkeyPatch, garbage: bytes
) -> None:
    store = stopped_after_the_parts(lab, params, monkeypatch)
    store.blob("parts/0/00000.parquet").upload_from_string(garbage)
    assert status(lab.clients, "dev", store.run_id)["state"] == "running"
    with pytest.raises(TryAgain, match="damaged"):
        go_on(lab, params)
    assert go_on(lab, params)["rows"] == ROWS
    assert_each_row_is_there_once(lab, params)


@pytest.mark.parametrize("name", ["plan.json", "session-0.json", "publish.json", "result.json"])
def test_an_object_that_is_damaged_is_named(
    lab: Lab, params: dict[str, str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    store = stopped_after_the_parts(lab, params, monkeypatch)
    for garbage in GARBAGE:
        store.blob(name).upload_from_string(garbage)
        with pytest.raises(Conflict, match=name) as caught:
            go_on(lab, params)
        assert status_of(caught.value)[0] == 409
    assert not lab.exists(params["output_table"])


def test_a_damaged_failure_is_told_and_decides_nothing(
    lab: Lab, params: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = stopped_after_the_parts(lab, params, monkeypatch)
    for garbage in (*GARBAGE, b'{"state": "failed"}'):
        store.blob("failure.json").upload_from_string(garbage)
        told = status(lab.stack.clients, "dev", store.run_id)
        assert told["state"] == "failed"
        assert "failure.json is damaged: repeat the request" in told["failure"]["detail"]
    assert go_on(lab, params)["rows"] == ROWS


def test_the_load_of_parts_that_went_as_it_began_says_so(
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
            go_on(lab, params)
