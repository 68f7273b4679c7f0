"""Rows that the model cannot score are found, stored with the reason, and counted."""

import datetime as dt
import json
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from mlsys.errors import InvalidRequest, PredictionFailed, RunInterrupted
from mlsys.local.stack import LocalStack
from scoring_cases import Lab, rejected_ids, rejects_of
from team_models import WrongShape
from workers.scoring.engines.run import execute
from workers.scoring.planning.find_run import prepare
from workers.scoring.request.parsed import MaxRejects
from workers.scoring.shards import read_session, rejects
from workers.scoring.shards.part import PartWriter
from workers.scoring.shards.rejects import plain, score_rows
from workers.scoring.shards.scorer import Batch

pytestmark = pytest.mark.usefixtures("environment")

ROWS = 600
X = pd.DataFrame({"a": np.linspace(-1, 1, ROWS), "b": np.linspace(3, -2, ROWS)})
MODEL = LogisticRegression().fit(X, X["a"] > 0)
BAD = [0, 17, 599]


@pytest.fixture(scope="module")
def lab(stack: LocalStack) -> Lab:
    return Lab(stack)


@pytest.fixture(scope="module")
def model(lab: Lab, stack: LocalStack) -> str:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in stack.environment.items():
            patch.setenv(name, value)
        return lab.upload(MODEL, X)


@pytest.fixture
def params(lab: Lab, model: str) -> dict[str, str]:
    """Return a request for a table with three rows that the model cannot score."""
    rows = X.assign(id=range(ROWS))
    rows.loc[BAD, "a"] = np.nan
    return lab.params(lab.put(rows), model)


# The decision


@pytest.mark.parametrize(
    ("text", "expected", "of_1000"),
    [
        ("0", MaxRejects(0), 0),
        ("25", MaxRejects(25), 25),
        ("0.01", MaxRejects(share=Fraction(1, 100)), 10),
        (".5", MaxRejects(share=Fraction(1, 2)), 500),
        ("1%", MaxRejects(share=Fraction(1, 100)), 10),
        ("0.05%", MaxRejects(share=Fraction(5, 10_000)), 0),
        ("100%", MaxRejects(share=Fraction(1)), 1000),
    ],
)
def test_max_rejects_is_a_count_or_a_share(text: str, expected: MaxRejects, of_1000: int) -> None:
    assert MaxRejects.parse(text) == expected
    assert expected.limit(1000) == of_1000
    assert MaxRejects.parse(str(expected)) == expected


@pytest.mark.parametrize("text", ["", "-1", "1.5", "101%", "1e3", "all", "%", " 1", "1 %", "0.5%%"])
def test_a_malformed_max_rejects_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="is not a number of rows or a share"):
        MaxRejects.parse(text)


class OnlyNumbers:
    """Scores rows by their value; raises if one of them is in `bad`."""

    def __init__(self, bad: set[int]) -> None:
        self.bad = bad
        self.calls = 0

    def score(self, batch: Batch) -> pa.Table:
        self.calls += 1
        if bad_rows := self.bad.intersection(batch.table["x"].to_pylist()):
            raise PredictionFailed(f"bad: {min(bad_rows)}")
        return batch.table


@settings(max_examples=200)
@given(st.integers(1, 300), st.sets(st.integers(0, 299)))
def test_bisection_finds_every_bad_row_and_keeps_the_others_in_order(
    rows: int, bad: set[int]
) -> None:
    predictor: Any = OnlyNumbers(bad)
    scored, bad_rows = score_rows(predictor, Batch(pa.table({"x": range(rows)})), room=rows)
    assert [r.row["x"] for r in bad_rows] == sorted(bad & set(range(rows)))
    assert [r.reason for r in bad_rows] == [f"bad: {r.row['x']}" for r in bad_rows]
    kept = [x for part in scored for x in part["x"].to_pylist()]
    assert kept == [x for x in range(rows) if x not in bad]
    assert predictor.calls <= 1 + 2 * len(bad_rows) * (rows.bit_length() + 1)


def test_bisection_ends_once_there_are_too_many_bad_rows() -> None:
    predictor: Any = OnlyNumbers(set(range(100_000)))
    _, bad_rows = score_rows(predictor, Batch(pa.table({"x": range(100_000)})), room=0)
    assert len(bad_rows) == rejects.EXAMPLES + 1
    assert predictor.calls < 100


def test_bisection_ends_when_the_run_must_stop() -> None:
    predictor: Any = OnlyNumbers({3})
    with pytest.raises(RunInterrupted):
        score_rows(predictor, Batch(pa.table({"x": range(10)})), room=10, stop=lambda: True)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (2**50, 2**50),
        (2**60 + 1, str(2**60 + 1)),
        (float("nan"), "NaN"),
        (float("inf"), "Infinity"),
        (float("-inf"), "-Infinity"),
        (b"\x00\xff", "AP8="),
        (dt.date(2026, 11, 23), "2026-11-23"),
        (dt.datetime(2026, 11, 23, 1, 2, tzinfo=dt.UTC), "2026-11-23T01:02:00Z"),
        ({"a": b"x"}, {"a": "eA=="}),
    ],
)
def test_a_rejected_rows_values_are_stored_as_json(value: Any, expected: Any) -> None:
    assert json.loads(json.dumps(plain(value), allow_nan=False)) == expected


# Complete runs


def test_without_max_rejects_a_bad_row_fails_the_run_and_is_named(
    lab: Lab, params: dict[str, str]
) -> None:
    body = lab.here(params).problem(
        422, "prediction-failed", "max_rejects is 0", "id=0", "_rejects"
    )
    assert [row["id"] for row in body["rows"]] == BAD
    assert all("Columns with NULLs: a" in row["reason"] for row in body["rows"])
    assert not lab.exists(params["output_table"])
    assert not lab.exists(params["output_table"] + "_rejects")


def test_the_status_of_a_failed_run_names_the_rows(lab: Lab, params: dict[str, str]) -> None:
    prepared = prepare(lab.clients, lab.request(params))
    with pytest.raises(PredictionFailed):
        execute(lab.clients, prepared)
    state = lab.here({"env": "dev"}, f"/runs/{prepared.plan.run_id}").json
    assert state["state"] == "failed"
    assert [row["id"] for row in state["failure"]["rows"]] == BAD


@pytest.mark.parametrize("allowed", ["3", "0.5%", "100%"])
def test_bad_rows_are_rejected_with_the_reason(
    lab: Lab, params: dict[str, str], allowed: str
) -> None:
    result = lab.here(params | {"max_rejects": allowed}).done()
    assert (result["rows"], result["rows_read"], result["rows_rejected"]) == (597, 600, 3)
    assert result["rejects_table"] == params["output_table"] + "_rejects"
    rows = lab.rows(params["output_table"])
    assert rows["id"].tolist() == [i for i in range(ROWS) if i not in BAD]
    bad_rows = rejects_of(lab, result["rejects_table"])
    assert bad_rows["ids"].tolist() == [{"id": i} for i in BAD]
    assert bad_rows["row"].tolist() == [{"a": None, "b": X["b"][i], "id": i} for i in BAD]
    assert all("Columns with NULLs: a" in reason for reason in bad_rows["reason"])
    assert set(bad_rows["run_id"]) == {result["run_id"]}
    assert set(bad_rows["model_version"]) == {"v1"}


@pytest.mark.slow
@pytest.mark.parametrize("allowed", ["2", "0.4%"])
def test_one_bad_row_too_many_publishes_nothing(
    lab: Lab, params: dict[str, str], allowed: str
) -> None:
    words = (f"max_rejects is {allowed}", "3 of 600 rows")
    lab.here(params | {"max_rejects": allowed}).problem(422, "prediction-failed", *words)
    assert not lab.exists(params["output_table"])
    assert not lab.exists(params["output_table"] + "_rejects")


def test_a_run_that_failed_for_bad_rows_resumes_with_a_larger_max_rejects(
    lab: Lab, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = pd.concat([X] * 100, ignore_index=True).assign(id=range(100 * ROWS))
    rows.loc[100 * ROWS - 1, "a"] = np.nan
    monkeypatch.setattr(read_session, "streams_to_request", lambda _: (4, 4))
    params = lab.params(lab.put(rows), model)
    prepared = prepare(lab.clients, lab.request(params))
    with pytest.raises(PredictionFailed):
        execute(lab.clients, prepared)
    kept = lab.objects(f"{prepared.plan.run_id}/parts/")
    assert len(kept) >= 2
    result = lab.here(params | {"max_rejects": "1"}).done()
    assert result["run_id"] == prepared.plan.run_id
    assert result["attempts"] == 2
    assert lab.objects(f"{prepared.plan.run_id}/parts/").items() >= kept.items()
    assert lab.count(params["output_table"]) == 100 * ROWS - 1


@pytest.mark.slow
def test_bad_rows_of_all_shards_are_counted_together(
    lab: Lab, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = pd.concat([X] * 100, ignore_index=True).assign(id=range(100 * ROWS))
    rows.loc[[1, 100 * ROWS - 1], "a"] = np.nan
    monkeypatch.setattr(read_session, "streams_to_request", lambda _: (4, 4))
    params = lab.params(lab.put(rows), model, max_rejects="1")
    body = lab.here(params).problem(
        422, "prediction-failed", "2 of 60,000 rows", "max_rejects is 1"
    )
    assert {row["id"] for row in body["rows"]} == {1, 100 * ROWS - 1}
    assert not lab.exists(params["output_table"])
    assert lab.here(params | {"max_rejects": "2"}).done()["rows_rejected"] == 2


@pytest.mark.slow
def test_a_second_runs_rejects_are_appended(lab: Lab, params: dict[str, str]) -> None:
    params |= {"max_rejects": "3", "write_disposition": "WRITE_TRUNCATE"}
    first = lab.here(params | {"run_id": f"first-{params['model_name']}"}).done()
    second = lab.here(params | {"run_id": f"second-{params['model_name']}"}).done()
    bad_rows = lab.rows(second["rejects_table"], by=None)
    assert sorted(bad_rows["run_id"]) == sorted([first["run_id"], second["run_id"]] * 3)
    assert set(lab.rows(params["output_table"])["run_id"]) == {second["run_id"]}


def die_between_the_loads(
    lab: Lab, params: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Publish only the output of a run that may reject rows, and not its rejects."""

    def crash(*_: Any) -> None:
        raise KeyboardInterrupt

    prepared = prepare(lab.clients, lab.request(params | {"max_rejects": "3"}))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("workers.scoring.publishing.publication.publish_rejects", crash)
        execute(lab.clients, prepared)


def test_a_crash_between_the_two_loads_loses_and_duplicates_nothing(
    lab: Lab, params: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    die_between_the_loads(lab, params, monkeypatch)
    assert lab.count(params["output_table"]) == ROWS - len(BAD)
    result = lab.here(params | {"max_rejects": "3"}).done()
    assert lab.count(params["output_table"]) == ROWS - len(BAD)
    assert rejected_ids(lab, result["rejects_table"]) == BAD


@pytest.mark.slow
def test_id_columns_of_any_name_and_type_fit_every_table_of_rejects(lab: Lab, model: str) -> None:
    rows = X.assign(id=range(ROWS), Reason="late", row=range(ROWS), rejected_at=1.5)
    rows.loc[BAD, "a"] = np.nan
    params = lab.params(
        lab.put(rows), model, max_rejects="3", id_columns="id,Reason,row,rejected_at"
    )
    result = lab.here(params).done()
    bad_rows = rejects_of(lab, result["rejects_table"])
    assert bad_rows["ids"].tolist() == [
        {"id": i, "Reason": "late", "row": i, "rejected_at": 1.5} for i in BAD
    ]
    assert all("NULLs" in reason for reason in bad_rows["reason"])
    words = X.assign(id=[f"p{i}" for i in range(ROWS)])
    words.loc[BAD, "a"] = np.nan
    other = lab.create({**lab.schema(params["output_table"]), "id": "STRING"})
    lab.here(
        params | {"input_table": lab.put(words), "output_table": other, "id_columns": "id"}
    ).done()


def test_an_existing_table_that_is_not_a_table_of_rejects_is_refused(
    lab: Lab, params: dict[str, str]
) -> None:
    lab.create({"x": "INT64"}, params["output_table"] + "_rejects")
    body = lab.here(params).problem(422, "schema-mismatch", "_rejects")
    assert "row" in {c["name"] for c in body["columns"]}


def test_a_view_with_the_rejects_tables_name_is_refused(lab: Lab, params: dict[str, str]) -> None:
    name = lab.name("output")
    lab.clients.bigquery.query(f"CREATE VIEW `{name}_rejects` AS SELECT 1 AS x", timeout=30).result(
        timeout=30
    )
    lab.here(params | {"output_table": name}).problem(422, "schema-mismatch", "VIEW")


@pytest.mark.slow
def test_an_unusable_rejects_table_keeps_the_output_unpublished(
    lab: Lab, params: dict[str, str]
) -> None:
    """Nothing is published if the rejects cannot be."""
    lab.here(params).problem(422, "prediction-failed")
    lab.create({"x": "INT64"}, params["output_table"] + "_rejects")
    lab.here(params | {"max_rejects": "3"}).problem(422, "schema-mismatch", "_rejects")
    assert not lab.exists(params["output_table"])
    lab.clients.bigquery.delete_table(params["output_table"] + "_rejects", timeout=30)
    assert lab.here(params | {"max_rejects": "3"}).done()["rows_rejected"] == 3


def test_a_decision_to_publish_stands_whatever_the_next_callers_max_rejects(
    lab: Lab, params: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    die_between_the_loads(lab, params, monkeypatch)
    result = lab.here(params).done()
    assert (result["rows"], result["rows_rejected"]) == (ROWS - len(BAD), len(BAD))
    assert lab.count(params["output_table"]) == ROWS - len(BAD)


@pytest.mark.slow
def test_a_part_is_published_with_the_rejects_of_the_same_try(
    lab: Lab, params: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A try that died before its part leaves rejects that nothing refers to."""
    prepared = prepare(lab.clients, lab.request(params | {"max_rejects": "3"}))
    close = PartWriter._close
    parts: list[str] = []

    def dying(self: PartWriter) -> None:
        parts.append(self._upload._blob.name)
        if "/parts/" in parts[-1]:
            raise KeyboardInterrupt
        close(self)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(PartWriter, "_close", dying)
        execute(lab.clients, prepared)
    assert len(lab.objects(f"{prepared.plan.run_id}/rejects/")) == 1
    result = lab.here(params | {"max_rejects": "3"}).done()
    assert len(lab.objects(f"{prepared.plan.run_id}/rejects/")) == 2
    assert rejected_ids(lab, result["rejects_table"]) == BAD


@pytest.mark.slow
def test_many_bad_rows_give_one_row_group_a_batch(lab: Lab, model: str) -> None:
    rows = X.assign(id=range(ROWS))
    rows.loc[::7, "a"] = np.nan
    result = lab.here(lab.params(lab.put(rows), model, max_rejects="50%")).done()
    [blob] = lab.store(result["run_id"]).parts(0).values()
    with blob.open("rb") as file:
        assert pq.read_metadata(file).num_row_groups == 1


def test_the_excerpt_of_a_bad_row_is_bounded(lab: Lab, model: str) -> None:
    rows = X.assign(id=range(ROWS), story="x" * 5000)
    rows.loc[0, "a"] = np.nan
    params = lab.params(lab.put(rows), model, id_columns="id,story")
    [row] = lab.here(params).problem(422, "prediction-failed")["rows"]
    assert row["story"].startswith("xxx")
    assert row["story"].endswith("... (5000 characters)")
    assert len(row["story"]) < 250


def test_a_broken_model_is_not_mistaken_for_bad_rows(lab: Lab, params: dict[str, str]) -> None:
    request = params | {"model_name": lab.put_pickle(WrongShape()), "max_rejects": "100%"}
    lab.here(request | {"id_columns": "id"}).problem(422, "model-unusable", "gives 1 answer to 3")
    assert not lab.exists(params["output_table"])
