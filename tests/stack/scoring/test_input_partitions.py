"""`input_table=...$20261122` scores one partition, which is a run of its own state."""

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
import pytest
from google.cloud import bigquery
from sklearn.linear_model import LinearRegression

from mlsys.cloud.partitions import concrete
from mlsys.local.stack import LocalStack
from scoring_cases import Lab

pytestmark = pytest.mark.usefixtures("environment")

X = pd.DataFrame({"a": np.linspace(0, 1, 30), "b": np.linspace(3, -2, 30)})
MODEL = LinearRegression().fit(X, X["a"])
HOUR = pd.Timestamp("2026-11-23T22:30", tz="UTC")
TIMES = [HOUR + pd.Timedelta(hours=n % 3) for n in range(30)]  # the last one is another day
KINDS = {"day": "DATE", "at": "TIMESTAMP", "local": "DATETIME", "n": "INT64"}


@pytest.fixture(scope="module")
def lab(stack: LocalStack) -> Lab:
    return Lab(stack)


@pytest.fixture
def model(lab: Lab) -> str:
    return lab.upload(MODEL, X, id_columns=["id", *KINDS])


def partitioned(lab: Lab, field: str, kind: str) -> str:
    """Return a table of three hours on two days, partitioned by one of its columns."""
    fields = {"id": "INT64", "a": "FLOAT64", "b": "FLOAT64"} | KINDS
    numbers = bigquery.PartitionRange(start=0, end=100, interval=10)
    about: dict[str, Any] = {"range_partitioning": bigquery.RangePartitioning(numbers, field=field)}
    if kind != "RANGE":
        about = {"time_partitioning": bigquery.TimePartitioning(field=field, type_=kind)}
    name = lab.create(fields, **about)
    lab.put(rows(range(30)), name, types=KINDS)
    return name


def rows(ids: Any) -> pd.DataFrame:
    times = pd.Series([TIMES[n % 30] for n in ids])
    picked = X.iloc[[n % 30 for n in ids]].reset_index(drop=True)
    local = times.dt.tz_localize(None)
    return picked.assign(id=list(ids), day=times.dt.date, at=times, local=local, n=list(ids))


@pytest.mark.parametrize(
    ("field", "kind", "partition", "ids"),
    [
        ("day", "DAY", "20261124", {n for n in range(30) if n % 3 == 2}),
        pytest.param(
            *("at", "HOUR", "2026112323", {n for n in range(30) if n % 3 == 1}),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *("local", "HOUR", "2026112322", {n for n in range(30) if n % 3 == 0}),
            marks=pytest.mark.slow,
        ),
        pytest.param("n", "RANGE", "20", set(range(20, 30)), marks=pytest.mark.slow),
    ],
)
def test_one_partition_goes_into_the_same_one_of_a_new_table(
    lab: Lab, model: str, field: str, kind: str, partition: str, ids: set[int]
) -> None:
    table, output = partitioned(lab, field, kind), lab.name("output")
    params = lab.params(f"{table}${partition}", model, output_table=f"{output}${partition}")
    params["write_disposition"] = "WRITE_TRUNCATE"
    result = lab.here(params).done()
    assert (result["rows"], result["input_table"]) == (len(ids), params["input_table"])
    assert set(lab.rows(output)["id"]) == ids
    made = lab.clients.bigquery.get_table(output, timeout=30)
    by = made.range_partitioning if kind == "RANGE" else made.time_partitioning
    assert by.field == field
    assert kind == "RANGE" or by.type_ == kind


@pytest.mark.slow
def test_a_write_to_another_partition_leaves_a_run_as_it_is(lab: Lab, model: str) -> None:
    table = partitioned(lab, "n", "RANGE")
    params = lab.params(f"{table}$10", model, where="id > 11 OR id < 0")
    first = lab.here(params).done()
    assert first["rows"] == 8
    lab.put(rows([25, 26]), table, types=KINDS)
    assert lab.here(params).done() == first | {"reused": True}
    checked = lab.here(params | {"input_table": f"{table}$20", "dry_run": "true"}).json
    assert (checked["ok"], checked["rows"]) == (True, 12)
    lab.put(rows([15]), table, types=KINDS)
    again = lab.here(params).done()
    assert (again["rows"], again["reused"]) == (9, False)
    assert again["run_id"] != first["run_id"]


def test_the_contract_and_preview_see_only_the_partition(lab: Lab, model: str) -> None:
    table = partitioned(lab, "n", "RANGE")
    shown = lab.here(lab.params(f"{table}$10", model, preview="30")).json
    assert sorted(row["output"]["id"] for row in shown["rows"]) == list(range(10, 20))


@pytest.mark.slow
def test_what_has_no_such_partition_is_refused_before_anything_begins(lab: Lab, model: str) -> None:
    table = partitioned(lab, "day", "DAY")
    plain, view = lab.put(rows(range(3)), types=KINDS), lab.view(f"SELECT * FROM `{table}`")
    for source, partition, words in (
        (table, "202611", ("by day: pass a partition such as $", "not $202611")),
        (plain, "20261123", ("is not partitioned", "without the $")),
        (view, "20261123", ("is a VIEW, which has no partitions", "without the $")),
    ):
        params = lab.params(f"{source}${partition}", model)
        lab.here(params).problem(422, "schema-mismatch", *words)
        assert not lab.exists(params["output_table"])
    empty = lab.params(f"{table}$20200101", model)
    assert lab.here(empty).done()["rows"] == 0


def test_a_word_names_the_partition_of_the_run(lab: Lab, model: str) -> None:
    table = partitioned(lab, "day", "DAY")
    due = dt.datetime(2026, 11, 25, 0, 0, 1, tzinfo=dt.UTC)
    params = lab.params(f"{table}$yesterday", model)
    headers = {"X-CloudScheduler-ScheduleTime": due.isoformat()}
    for reused in (False, True):
        answer = lab.client.get("/predict", query_string=params, headers=headers).get_json()
        assert answer["input_table"] == concrete(params["input_table"], due)
        assert (answer["rows"], answer["reused"]) == (10, reused)
