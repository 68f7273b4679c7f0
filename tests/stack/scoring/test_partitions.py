"""`output_table=...$20261122` writes one partition, also on the local stack."""

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
import pytest
from google.cloud import bigquery
from sklearn.linear_model import LinearRegression

from mlsys.cloud.tables import TableRef
from mlsys.errors import InvalidRequest
from mlsys.local.stack import LocalStack
from scoring_cases import Lab, unique

pytestmark = pytest.mark.usefixtures("environment")

X = pd.DataFrame({"a": np.linspace(0, 1, 30), "b": np.linspace(3, -2, 30)})
MODEL = LinearRegression().fit(X, X["a"])
STAMPS = {
    "predicted_at": "TIMESTAMP",
    "model_name": "STRING",
    "model_version": "STRING",
    "run_id": "STRING",
}
MONDAY, TUESDAY = dt.date(2026, 11, 23), dt.date(2026, 11, 24)


@pytest.fixture(scope="module")
def lab(stack: LocalStack) -> Lab:
    return Lab(stack)


@pytest.fixture
def params(lab: Lab) -> dict[str, str]:
    """Return a request whose rows all have one day, and an output table partitioned by it."""
    table = lab.put(X.assign(id=range(30), day=MONDAY))
    name = lab.upload(MODEL, X, id_columns=["id", "day"])
    return lab.params(table, name, output_table=by_day(lab, "day"))


def by_day(lab: Lab, field: str, kind: str = "DAY") -> str:
    """Return an output table that is partitioned by a column."""
    fields = {
        "id": "INT64",
        "day": "DATE",
        "prediction": "FLOAT64",
        "predicted_at": "TIMESTAMP",
        "model_name": "STRING",
        "model_version": "STRING",
        "run_id": "STRING",
    }
    table = bigquery.Table(lab.name(), [bigquery.SchemaField(n, t) for n, t in fields.items()])
    table.time_partitioning = bigquery.TimePartitioning(field=field, type_=kind)
    lab.clients.bigquery.create_table(table, timeout=30)
    return f"{table.project}.{table.dataset_id}.{table.table_id}"


def test_one_partition_is_replaced_and_the_others_stay(lab: Lab, params: dict[str, str]) -> None:
    table = params["output_table"]
    tuesday = lab.put(X.assign(id=range(100, 130), day=TUESDAY))
    lab.here(params | {"input_table": tuesday}).done()
    lab.here(params).done()
    params |= {"output_table": f"{table}$20261123", "write_disposition": "WRITE_TRUNCATE"}
    result = lab.here(params).done()
    assert result["output_table"] == f"{table}$20261123"
    rows = lab.rows(table)
    assert rows["id"].tolist() == [*range(30), *range(100, 130)]
    assert set(rows["run_id"][:30]) == {result["run_id"]}
    assert result["run_id"] not in set(rows["run_id"][30:])
    assert lab.here(params).done()["reused"]
    other = lab.here(params | {"run_id": unique("other")}).done()
    assert set(lab.rows(table)["run_id"][:30]) == {other["run_id"]}
    assert lab.here(params).done()["run_id"] == result["run_id"] + "-2"


def test_rows_of_another_partition_are_refused(lab: Lab, params: dict[str, str]) -> None:
    params["output_table"] += "$20261122"
    params["write_disposition"] = "WRITE_TRUNCATE"
    lab.here(params).problem(422, "schema-mismatch", "$20261122", "another partition", "where")
    assert lab.count(params["output_table"].partition("$")[0]) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "partition", "words"),
    [
        ("DAY", "2026112", ("by day", "such as $", "not $2026112")),
        ("DAY", "20261301", ("by day", "not $20261301")),
        ("MONTH", "20261123", ("by month", "not $20261123")),
        ("YEAR", "202611", ("by year",)),
        ("HOUR", "20261123", ("by hour",)),
    ],
)
def test_a_partition_that_the_table_cannot_have_is_refused(
    lab: Lab, params: dict[str, str], kind: str, partition: str, words: tuple[str, ...]
) -> None:
    field = "predicted_at" if kind == "HOUR" else "day"
    output = f"{by_day(lab, field, kind)}${partition}"
    lab.here(params | {"output_table": output}).problem(422, "schema-mismatch", *words)


@pytest.mark.parametrize("new", [True, False], ids=["a new table", "an existing table"])
def test_a_partition_by_predicted_at_must_be_todays(
    lab: Lab, params: dict[str, str], new: bool
) -> None:
    table = lab.name() if new else by_day(lab, "predicted_at")
    today = dt.datetime.now(dt.UTC)
    yesterday = today - dt.timedelta(days=1)

    def ask(day: dt.datetime) -> dict[str, str]:
        return params | {"output_table": f"{table}${day:%Y%m%d}", "dry_run": "true"}

    assert lab.here(ask(today)).json["ok"]
    refused = lab.here(ask(yesterday)).json
    assert not refused["ok"]
    assert f"${today:%Y%m%d} (UTC)" in refused["problems"][0]["detail"]


HOURS = {
    "HOUR": ("2026112305", dt.datetime(2026, 11, 23, 5, 59), dt.datetime(2026, 11, 23, 6)),
    "DAY": ("20261123", dt.datetime(2026, 11, 23, 23), dt.datetime(2026, 11, 24)),
    "MONTH": ("202611", dt.datetime(2026, 11, 30), dt.datetime(2026, 12, 1)),
    "YEAR": ("2026", dt.datetime(2026, 12, 31), dt.datetime(2027, 1, 1)),
}


def create(lab: Lab, partition_by: str, key: str = "TIMESTAMP") -> str:
    """Return an output table with a column `key`, created by a statement."""
    table = lab.name()
    sql = (
        f"CREATE TABLE `{table}` (id INT64, key {key}, prediction FLOAT64, predicted_at TIMESTAMP, "
        f"model_name STRING, model_version STRING, run_id STRING) PARTITION BY {partition_by}"
    )
    lab.clients.bigquery.query(sql, timeout=30).result(timeout=30)
    return table


def replaced(lab: Lab, table: str, partition: str, inside: list[Any], outside: list[Any]) -> None:
    """Fill the table from all keys, replace the rows of one partition, and check the others."""
    data = X.head(len(inside) + len(outside)).assign(id=range(len(inside) + len(outside)))
    source = lab.put(data.assign(key=[*inside, *outside]))
    name = lab.upload(MODEL, X, id_columns=["id", "key"])
    first = lab.here(lab.params(source, name, output_table=table)).done()
    only = {"where": f"id < {len(inside)}", "write_disposition": "WRITE_TRUNCATE"}
    params = lab.params(source, name, output_table=f"{table}${partition}", **only)
    second = lab.here(params).done()
    assert second["rows"] == len(inside)
    runs = lab.rows(table)["run_id"].tolist()
    assert runs == [second["run_id"]] * len(inside) + [first["run_id"]] * len(outside)
    del params["where"]
    lab.here(params).problem(422, "schema-mismatch", "another partition")
    assert lab.rows(table)["run_id"].tolist() == runs


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "kind"), [*(("statement", kind) for kind in HOURS), ("api", "MONTH")]
)
def test_partitions_by_hour_day_month_and_year_can_be_replaced(
    lab: Lab, kind: str, how: str
) -> None:
    partition, inside, outside = HOURS[kind]
    if how == "statement":
        table = create(lab, f"TIMESTAMP_TRUNC(key, {kind})")
    else:
        table = lab.name()
        fields = {"id": "INT64", "key": "TIMESTAMP", "prediction": "FLOAT64"} | STAMPS
        made = bigquery.Table(table, [bigquery.SchemaField(n, t) for n, t in fields.items()])
        made.time_partitioning = bigquery.TimePartitioning(field="key", type_=kind)
        lab.clients.bigquery.create_table(made, timeout=30)
    keys = [moment.replace(tzinfo=dt.UTC) for moment in (inside, inside, outside)]
    replaced(lab, table, partition, keys[:2], keys[2:])


@pytest.mark.slow
@pytest.mark.parametrize("how", ["statement", "api"])
def test_partitions_by_integer_range_can_be_replaced(lab: Lab, how: str) -> None:
    table = lab.name()
    if how == "statement":
        table = create(lab, "RANGE_BUCKET(key, GENERATE_ARRAY(0, 100, 10))", "INT64")
    else:
        fields = {"id": "INT64", "key": "INT64", "prediction": "FLOAT64"} | STAMPS
        made = bigquery.Table(table, [bigquery.SchemaField(n, t) for n, t in fields.items()])
        made.range_partitioning = bigquery.RangePartitioning(
            field="key", range_=bigquery.PartitionRange(start=0, end=100, interval=10)
        )
        lab.clients.bigquery.create_table(made, timeout=30)
    replaced(lab, table, "20", [20, 29], [30, 19])
    params = lab.params(lab.put(X.assign(id=1, key=20)), lab.upload(MODEL, X, id_columns=["key"]))
    for wrong in ("25", "100", "020"):
        params["output_table"] = f"{table}${wrong}"
        lab.here(params).problem(422, "schema-mismatch", "in ranges of 10 from 0", f"not ${wrong}")


@pytest.mark.slow
def test_a_table_created_by_a_run_is_partitioned(lab: Lab, params: dict[str, str]) -> None:
    table = lab.name()
    today = f"{dt.datetime.now(dt.UTC):%Y%m%d}"
    first = lab.here(params | {"output_table": table}).done()
    again = params | {"output_table": f"{table}${today}", "write_disposition": "WRITE_TRUNCATE"}
    second = lab.here(again).done()
    assert second["run_id"] != first["run_id"]
    assert set(lab.rows(table)["run_id"]) == {second["run_id"]}
    new = lab.here(params | {"output_table": f"{lab.name()}${today}"}).done()
    assert new["rows"] == 30
    filled = params | {"output_table": f"{table}${today}", "write_disposition": "WRITE_EMPTY"}
    lab.here(filled).problem(409, "conflict", "has rows now")


def test_a_partition_column_that_the_run_does_not_write_is_refused(
    lab: Lab, params: dict[str, str]
) -> None:
    params |= {"output_table": f"{params['output_table']}$20261123", "id_columns": "id"}
    assert not lab.here(params | {"dry_run": "true"}).json["ok"]
    lab.here(params).problem(422, "schema-mismatch", "add day to id_columns")


def test_ingestion_time_partitions_are_refused_on_the_local_stack(
    lab: Lab, params: dict[str, str]
) -> None:
    made = bigquery.Table(lab.name(), [bigquery.SchemaField(n, t) for n, t in STAMPS.items()])
    made.time_partitioning = bigquery.TimePartitioning()
    lab.clients.bigquery.create_table(made, timeout=30)
    params["output_table"] = f"{made.project}.{made.dataset_id}.{made.table_id}$20261123"
    verdict = lab.here(params | {"dry_run": "true"}).json
    assert "ingestion time" in verdict["problems"][0]["detail"]


def test_a_partition_of_an_unpartitioned_table_is_refused(lab: Lab, params: dict[str, str]) -> None:
    lab.here(params | {"output_table": (table := lab.name())}).done()
    plain = lab.create(lab.schema(table))
    lab.here(params | {"output_table": f"{plain}$20261123"}).problem(
        422, "schema-mismatch", "is not partitioned", "without $20261123"
    )


def test_a_partition_of_the_input_table_cannot_be_the_output(
    lab: Lab, params: dict[str, str]
) -> None:
    own = params | {"output_table": params["input_table"] + "$20261123"}
    lab.here(own).problem(400, "invalid-request", "is the input table")


def test_a_table_id_keeps_its_partition() -> None:
    ref = TableRef.parse("my-project.d.t$20261122", partition=True)
    assert (ref.table, ref.partition, str(ref)) == ("t", "20261122", "my-project.d.t$20261122")
    assert str(ref.base) == "my-project.d.t"
    for text in ("my-project.d.t$", "my-project.d.t$today", "my-project.d.t$2026$2"):
        with pytest.raises(InvalidRequest):
            TableRef.parse(text, partition=True)
