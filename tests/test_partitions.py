"""`output_table=...$20261122` writes one partition. The local BigQuery refuses such a name."""

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
import pytest
from google.api_core.exceptions import BadRequest
from google.cloud import bigquery
from scoring_cases import Lab, unique
from sklearn.linear_model import LinearRegression

from mlsys.bq import TableRef
from mlsys.errors import InvalidRequest
from mlsys.local.stack import LocalStack

pytestmark = pytest.mark.usefixtures("environment")

X = pd.DataFrame({"a": np.linspace(0, 1, 30), "b": np.linspace(3, -2, 30)})
MODEL = LinearRegression().fit(X, X["a"])
MONDAY, TUESDAY = dt.date(2026, 11, 23), dt.date(2026, 11, 24)


@pytest.fixture(scope="module")
def lab(stack: LocalStack) -> Lab:
    return Lab(stack)


@pytest.fixture
def params(lab: Lab) -> dict[str, str]:
    """A request whose rows are all of Monday, and an output table partitioned by their day."""
    table = lab.put(X.assign(id=range(30), day=MONDAY))
    name = lab.upload(MODEL, X, id_columns=["id", "day"])
    return lab.params(table, name, output_table=by_day(lab, "day"))


def by_day(lab: Lab, field: str, kind: str = "DAY") -> str:
    """An output table that is partitioned by a column."""
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


@pytest.fixture
def decorators(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer that loads into one partition as BigQuery does.

    WRITE_TRUNCATE replaces that partition alone, and rows of another one are refused:
    https://cloud.google.com/bigquery/docs/managing-partitioned-table-data#load-data-partition
    """
    client = lab.clients.bigquery
    load = client.load_table_from_uri

    def start(uris: list[str], table: str, *, job_config: Any, **options: Any) -> Any:
        ref = TableRef.parse(table, partition=True)
        if ref.partition is None:
            return load(uris, table, job_config=job_config, **options)
        day = dt.datetime.strptime(ref.partition, "%Y%m%d").date()
        staged = lab.name("staged")
        job = load(uris, staged, job_config=job_config, **options)
        job.result(timeout=60)
        rows = lab.rows(staged)
        if set(rows["day"]) != {day}:
            raise BadRequest("Some rows belong to different partitions")
        if job_config.write_disposition == "WRITE_TRUNCATE":
            sql = f"DELETE FROM `{ref.base}` WHERE day = DATE '{day}'"
            client.query(sql, timeout=30).result(timeout=30)
        sql = f"INSERT INTO `{ref.base}` SELECT * FROM `{staged}`"
        client.query(sql, timeout=30).result(timeout=30)
        return job

    monkeypatch.setattr(client, "load_table_from_uri", start)


@pytest.mark.usefixtures("decorators")
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


@pytest.mark.usefixtures("decorators")
def test_rows_of_another_partition_are_refused(lab: Lab, params: dict[str, str]) -> None:
    params["output_table"] += "$20261122"
    params["write_disposition"] = "WRITE_TRUNCATE"
    lab.here(params).problem(422, "schema-mismatch", "$20261122", "another partition")


@pytest.mark.parametrize(
    ("kind", "partition", "words"),
    [
        ("DAY", "2026112", ("by day", "such as $", "and not $2026112")),
        ("DAY", "20261301", ("by day", "and not $20261301")),
        ("MONTH", "20261123", ("by month", "and not $20261123")),
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
def test_a_partition_by_predicted_at_is_todays(lab: Lab, params: dict[str, str], new: bool) -> None:
    table = lab.name() if new else by_day(lab, "predicted_at")
    today = dt.datetime.now(dt.UTC)
    yesterday = today - dt.timedelta(days=1)

    def ask(day: dt.datetime) -> dict[str, str]:
        return params | {"output_table": f"{table}${day:%Y%m%d}", "dry_run": "true"}

    assert lab.here(ask(today)).json["ok"]
    refused = lab.here(ask(yesterday)).json
    assert not refused["ok"]
    assert f"${today:%Y%m%d} (UTC)" in refused["problems"][0]["detail"]


def test_a_table_without_partitions_has_none(lab: Lab, params: dict[str, str]) -> None:
    lab.here(params | {"output_table": (table := lab.name())}).done()
    plain = lab.create(lab.schema(table))
    lab.here(params | {"output_table": f"{plain}$20261123"}).problem(
        422, "schema-mismatch", "is not partitioned", "without $20261123"
    )


def test_a_partition_of_the_input_is_no_output_and_no_input(
    lab: Lab, params: dict[str, str]
) -> None:
    own = params | {"output_table": params["input_table"] + "$20261123"}
    lab.here(own).problem(400, "invalid-request", "is the input table")
    part = params | {"input_table": params["input_table"] + "$20261123"}
    lab.here(part).problem(400, "invalid-request", "pass the table, without the $")


def test_a_table_name_keeps_its_partition() -> None:
    ref = TableRef.parse("my-project.d.t$20261122", partition=True)
    assert (ref.table, ref.partition, str(ref)) == ("t", "20261122", "my-project.d.t$20261122")
    assert str(ref.base) == "my-project.d.t"
    for text in ("my-project.d.t$", "my-project.d.t$today", "my-project.d.t$2026$2"):
        with pytest.raises(InvalidRequest):
            TableRef.parse(text, partition=True)
