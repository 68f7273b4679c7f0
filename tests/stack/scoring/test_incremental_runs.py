"""`incremental` scores only the rows that are new, by a column's watermark or by their ids."""

import datetime as dt
import functools
from typing import Any

import numpy as np
import pandas as pd
import pytest
from google.cloud import bigquery
from sklearn.tree import DecisionTreeRegressor

from mlsys.cloud.tables import TableRef
from mlsys.errors import TryAgain
from mlsys.local.stack import LocalStack
from scoring_cases import TIMEOUT, Lab
from workers.scoring.journal.store import RunStore
from workers.scoring.planning import claims
from workers.scoring.planning.incremental import Incremental, Watermark
from workers.scoring.planning.incremental_sql import counts_sql
from workers.scoring.publishing import publication

pytestmark = pytest.mark.usefixtures("environment")

X = pd.DataFrame({"a": np.linspace(0, 1, 40), "b": np.linspace(3, -2, 40)})
# A tree: the last bits of a linear model depend on the rows beside a row.
MODEL = DecisionTreeRegressor(random_state=0).fit(X, X["a"] + 2 * X["b"])
NOON = pd.Timestamp("2026-11-28 12:00:00.000001", tz="UTC")


@pytest.fixture(scope="module")
def lab(stack: LocalStack) -> Lab:
    return Lab(stack)


@pytest.fixture
def model(lab: Lab) -> str:
    return lab.upload(MODEL, X)


def rows(first: int, last: int, at: pd.Timestamp = NOON, **more: Any) -> pd.DataFrame:
    """Return some rows, one a second."""
    seconds = [at + pd.Timedelta(seconds=n) for n in range(last - first)]
    return X[first:last].assign(id=range(first, last), at=seconds, **more)


def ids(lab: Lab, table: str) -> list[int]:
    return lab.rows(table)["id"].tolist()


LAST = (NOON + pd.Timedelta(seconds=19)).isoformat(" ")
NEXT = (NOON + pd.Timedelta(hours=1, seconds=4)).isoformat(" ")


def grow(lab: Lab, table: str) -> None:
    """Add five rows above the watermark LAST, and three at or below it."""
    lab.put(rows(20, 25, NOON + pd.Timedelta(hours=1)), table)
    lab.put(rows(25, 28), table)


def test_a_table_that_grows_is_scored_once_by_a_column_and_late_rows_by_ids(
    lab: Lab, model: str
) -> None:
    table = lab.put(rows(0, 20))
    params = lab.params(table, model, incremental="at")
    first = lab.here(params).done()
    assert (first["rows"], first["incremental"], first["watermark"]) == (20, "at", LAST)
    grow(lab, table)
    second = lab.here(params).done()
    assert (second["rows_read"], second["rows_below"], second["rows_late"]) == (5, 23, 3)
    assert (second["watermark_before"], second["watermark"]) == (LAST, NEXT)
    [late] = second["warnings"]
    assert late.startswith("3 rows at or below the watermark at = ") and "incremental=ids" in late
    assert ids(lab, params["output_table"]) == list(range(25))
    assert lab.here(params | {"incremental": "ids"}).done()["rows_read"] == 3
    assert ids(lab, params["output_table"]) == list(range(28))
    lab.put(rows(28, 29, pd.NaT), table)  # a where would begin with all rows
    advice = "fill the NULLs, or pass incremental=ids."
    lab.here(params).problem(422, "schema-mismatch", advice)


@pytest.mark.slow
def test_a_dry_run_and_the_ledger_say_what_is_new_and_a_repeat_is_free(
    lab: Lab, model: str
) -> None:
    table = lab.put(rows(0, 20))
    params = lab.params(table, model, incremental="at")
    first = lab.here(params).done()
    assert (first["watermark_before"], first["rows_below"], first["rows_late"]) == (None, 0, 0)
    again = lab.here(params).done()
    assert again["reused"] and again["run_id"] == first["run_id"]
    grow(lab, table)
    verdict = lab.here(params | {"dry_run": "true"}).json
    assert verdict["ok"] and verdict["rows"] == 5
    assert verdict["incremental"] == {
        "by": "at",
        "rows": 5,
        "watermark_before": LAST,
        "watermark": NEXT,
        "rows_below": 23,
        "rows_late": 3,
    }
    second = lab.here(params).done()
    assert verdict["warnings"] == second["warnings"]
    by_ids = params | {"incremental": "ids"}
    verdict = lab.here(by_ids | {"dry_run": "true"}).json
    assert (verdict["rows"], verdict["incremental"]["by"]) == (3, "ids")
    third = lab.here(by_ids).done()
    assert (third["rows_read"], third["watermark"]) == (3, NEXT)
    assert lab.here(by_ids).done()["reused"]
    _, full = lab.score(table, model)
    output = lab.rows(params["output_table"])
    assert output["id"].tolist() == list(range(28))
    assert output["prediction"].tolist() == full["prediction"].tolist()  # bit by bit

    lab.put(rows(28, 29), table)  # late as well, and counted since the run by ids
    fourth = lab.here(params).done()
    assert (fourth["rows_read"], fourth["rows_late"]) == (0, 1)
    sql = (
        "SELECT watermark, rows_below, rows_late FROM mlsys_dev.prediction_runs "
        f"WHERE output_table = '{params['output_table']}' ORDER BY finished_at"
    )
    ledger = [tuple(r.values()) for r in lab.clients.bigquery.query(sql).result(timeout=TIMEOUT)]
    assert ledger == [(LAST, 0, 0), (NEXT, 23, 3), (NEXT, None, None), (NEXT, 29, 1)]

    lab.upload(MODEL, X, model, "v2")
    assert lab.here(params | {"model_version": "v2"}).done()["rows_read"] == 0
    assert lab.here(by_ids | {"model_version": "v2"}).done()["rows_read"] == 29


@pytest.mark.slow
def test_the_undo_of_the_newest_run_steps_the_watermark_back(lab: Lab, model: str) -> None:
    table = lab.put(rows(0, 20))
    params = lab.params(table, model, incremental="at")
    first = lab.here(params).done()
    grow(lab, table)
    second = lab.here(params).done()

    def undo(run_id: str) -> None:
        query = {"env": "dev", "why": "a wrong model"}
        answer = lab.client.post(f"/runs/{run_id}/undo", query_string=query)
        assert answer.status_code == 200, answer.text

    undo(second["run_id"])
    assert ids(lab, params["output_table"]) == list(range(20))
    third = lab.here(params).done()
    assert (third["run_id"], third["rows_read"]) == (f"{second['run_id']}-2", 5)
    undo(first["run_id"])  # its rows lie below the watermark, which stays
    fourth = lab.here(params).done()
    assert (fourth["rows_read"], fourth["watermark_before"]) == (0, NEXT)
    assert ids(lab, params["output_table"]) == list(range(20, 25))
    assert lab.here(params | {"incremental": "ids"}).done()["rows_read"] == 23
    assert ids(lab, params["output_table"]) == list(range(28))


@pytest.mark.slow
def test_rows_that_a_full_run_has_written_since_are_scored_again_with_a_warning(
    lab: Lab, model: str
) -> None:
    table = lab.put(rows(0, 5))
    params = lab.params(table, model, incremental="at")
    first = lab.here(params).done()
    grow(lab, table)
    everything = {name: value for name, value in params.items() if name != "incremental"}
    full = lab.here(everything).done()
    [again] = [w for w in lab.here(params | {"dry_run": "true"}).json["warnings"] if "again" in w]
    assert again.startswith(f"{full['run_id']} has written rows of {table} into")
    assert f"the watermark of {first['run_id']} again" in again
    assert again in lab.here(params).done()["warnings"]
    lab.put(rows(90, 92, NOON + pd.Timedelta(days=9)), table)
    assert "again" not in str(lab.here(params | {"dry_run": "true"}).json["warnings"])


@pytest.mark.slow
def test_each_partition_of_the_input_has_a_watermark_of_its_own(lab: Lab, model: str) -> None:
    fields = {"id": "INT64", "at": "TIMESTAMP", "a": "FLOAT64", "b": "FLOAT64", "day": "DATE"}
    table = bigquery.Table(lab.name(), [bigquery.SchemaField(n, t) for n, t in fields.items()])
    table.time_partitioning = bigquery.TimePartitioning(field="day")
    lab.clients.bigquery.create_table(table, timeout=TIMEOUT)
    name = f"{table.project}.{table.dataset_id}.{table.table_id}"
    first, second = dt.date(2026, 11, 27), dt.date(2026, 11, 28)
    lab.put(rows(0, 5, day=first), name)
    lab.put(rows(5, 8, NOON - pd.Timedelta(days=9), day=second), name)
    params = lab.params(f"{name}$20261127", model, incremental="at")
    other = params | {"input_table": f"{name}$20261128"}
    assert [lab.here(request).done()["rows"] for request in (params, other)] == [5, 3]
    lab.put(rows(8, 10, day=second), name)
    result = lab.here(other).done()
    assert (result["rows"], result["rows_below"]) == (2, 3)
    assert lab.here(other | {"incremental": "ids"}).done()["rows"] == 0
    assert ids(lab, params["output_table"]) == list(range(10))


@pytest.mark.slow
def test_the_first_run_into_a_partition_warns_of_rows_that_are_there(lab: Lab, model: str) -> None:
    fields = {"id": "INT64", "at": "TIMESTAMP", "a": "FLOAT64", "b": "FLOAT64", "day": "DATE"}
    by_day = bigquery.TimePartitioning(field="day")
    table, output = lab.create(fields, time_partitioning=by_day), lab.name("output")
    for n in range(3):
        lab.put(rows(5 * n, 5 * n + 5, day=dt.date(2026, 11, 26 + n)), table)

    def warned(day: str) -> bool:
        request = lab.params(f"{table}${day}", model, output_table=f"{output}${day}")
        result = lab.here(request | {"incremental": "at", "id_columns": "id,day"}).done()
        return any(f"{output}${day} has rows" in each for each in result["warnings"])

    assert [warned(day) for day in ("20261126", "20261127")] == [False, False]
    lab.put(pd.DataFrame({"id": [99], "day": [dt.date(2026, 11, 28)]}), output)
    assert warned("20261128")


@pytest.mark.slow
def test_a_view_with_a_filter_and_unusual_names_goes_on_from_its_watermark(
    lab: Lab, model: str
) -> None:
    table = lab.put(rows(0, 10).rename(columns={"at": "at time"}))
    view = lab.view(f"SELECT * FROM `{table}`")
    params = lab.params(view, model, incremental="`at time`", where="id < 30")
    assert lab.here(params).done()["rows"] == 10
    lab.put(rows(10, 35, NOON + pd.Timedelta(hours=1)).rename(columns={"at": "at time"}), table)
    assert lab.here(params).done()["rows"] == 20
    assert lab.here(params | {"incremental": "ids"}).done()["rows"] == 0
    assert ids(lab, params["output_table"]) == list(range(30))


def test_every_kind_of_watermark_restricts_what_is_read(lab: Lab) -> None:
    kinds = {
        "i": ("INT64", "5"),
        "n": ("NUMERIC", "NUMERIC '5'"),
        "g": ("BIGNUMERIC", "BIGNUMERIC '5.5'"),
        "d": ("DATE", "DATE '2026-11-28'"),
        "t": ("DATETIME", "DATETIME '2026-11-28 10:00:00.000005'"),
        "s": ("TIMESTAMP", "TIMESTAMP '2026-11-28 10:00:00.000005+00:00'"),
    }
    name = lab.name()
    values = ", ".join(f"{literal} AS {column}" for column, (_, literal) in kinds.items())
    lab.clients.bigquery.query(f"CREATE TABLE `{name}` AS SELECT {values}").result(timeout=TIMEOUT)

    ref = TableRef.parse(name)
    for column, (kind, literal) in kinds.items():
        sql = counts_sql(ref, [], column=column)
        [row] = lab.clients.bigquery.query(sql).result(timeout=TIMEOUT)
        mark = Watermark.of(column, kind, row["up_to"], 1)
        assert mark.sql == literal
        for above, count in ((None, 1), (mark, 0)):
            part = Incremental(column, "s", 0, None, above=above, up_to=mark)
            read = lab.clients.bigquery_read.create_read_session(
                parent=f"projects/{lab.project}",
                read_session={
                    "table": ref.path,
                    "data_format": "ARROW",
                    "read_options": {"row_restriction": part.bounds(f"`{column}`")},
                },
                max_stream_count=1,
            )
            assert (
                sum(
                    m.row_count
                    for stream in read.streams
                    for m in lab.clients.bigquery_read.read_rows(stream.name)
                )
                == count
            )


@pytest.mark.slow
def test_what_cannot_be_incremental_is_refused_and_nothing_is_written(lab: Lab, model: str) -> None:
    table = lab.put(rows(0, 5, text="x", share=0.5))
    lab.put(rows(4, 6, pd.NaT, text="x", share=0.5), table)
    params = lab.params(table, model)
    for column, words in (
        ("at", ("at: is NULL in 2 of 7 rows", "incremental=ids")),
        ("text", ("text: is STRING", "INT64")),
        ("share", ("share: is FLOAT64",)),
        ("nope", ("nope: is not in the input table",)),
        ("ids", ("1 row of", "has the id of another row")),
    ):
        request = params | {"incremental": column}
        lab.here(request).problem(422, "schema-mismatch", *words)
        verdict = lab.here(request | {"dry_run": "true"}).json
        assert not verdict["ok"] and words[0] in verdict["problems"][0]["detail"]
    lab.here(params | {"incremental": "at", "write_disposition": "WRITE_TRUNCATE"}).problem(
        400, "invalid-request", "pass WRITE_APPEND"
    )
    lab.here(params | {"incremental": "at", "preview": "3"}).problem(
        400, "invalid-request", "without incremental"
    )
    assert not lab.exists(params["output_table"])
    lacking = lab.create({"id": "STRING", "prediction": "FLOAT64"})
    lab.here(params | {"incremental": "ids", "output_table": lacking}).problem(
        422, "schema-mismatch"
    )
    assert lab.objects("_incremental/") == {} or lab.count(lacking) == 0


@pytest.mark.slow
def test_null_ids_are_found_in_the_output_and_another_column_is_refused(
    lab: Lab, model: str
) -> None:
    frame = rows(0, 4).assign(id=pd.array([0, 1, None, 3], "Int64"))
    table = lab.put(frame)
    params = lab.params(table, model, incremental="ids")
    assert lab.here(params).done()["rows"] == 4
    lab.put(rows(4, 6), table)
    assert lab.here(params).done()["rows"] == 2
    assert lab.count(params["output_table"]) == 6
    lab.here(params | {"incremental": "at"}).problem(409, "conflict", "has no watermark")
    table = lab.put(rows(0, 4).assign(ids=range(4)))
    params = lab.params(table, model, incremental="`ids`")
    assert lab.here(params).done()["rows"] == 4
    lab.here(params | {"incremental": "at"}).problem(409, "conflict", "by incremental=`ids` (")


@pytest.mark.slow
def test_a_deleted_output_begins_again(lab: Lab, model: str) -> None:
    params = lab.params(lab.put(rows(0, 4)), model, incremental="at")
    first = lab.here(params).done()
    lab.clients.bigquery.delete_table(params["output_table"], timeout=TIMEOUT)
    again = lab.here(params).done()
    assert (again["run_id"], again["rows"]) == (f"{first['run_id']}-2", 4)
    assert again["watermark_before"] is None


@pytest.mark.slow
def test_a_run_that_dies_between_its_claim_and_its_result_is_settled_by_the_next(
    lab: Lab, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = lab.put(rows(0, 4))
    params = lab.params(table, model, incremental="at")

    def grow(first: int, last: int) -> None:
        lab.put(rows(first, last, NOON + pd.Timedelta(hours=first)), table)

    create = RunStore.create

    def die(self: RunStore, name: str, value: Any) -> bool:
        if name == "publish.json":
            raise TryAgain("the process ends")
        return create(self, name, value)

    with monkeypatch.context() as dying:
        dying.setattr(RunStore, "create", die)
        lab.here(params).problem(503, "try-again")
    grow(4, 6)
    lab.here(params).problem(503, "try-again", "publishes rows of the same input now")
    assert lab.here(params | {"dry_run": "true"}).status == 503
    monkeypatch.setattr(claims, "SETTLE_AFTER", dt.timedelta(0))
    with monkeypatch.context() as dying:
        die_there = functools.partial(die, lab.store("x"), "publish.json", {})
        dying.setattr(publication, "publish_output", lambda *_: die_there())
        lab.here(params).problem(503, "try-again", "the process ends")
    sql = "SELECT state FROM mlsys_dev.prediction_runs WHERE output_table = '{}'"
    query = lab.clients.bigquery.query(sql.format(params["output_table"]))
    assert [row["state"] for row in query.result(timeout=TIMEOUT)] == ["cancelled"]

    grow(6, 9)  # the run that goes on from the second one loads its rows first
    result = lab.here(params).done()
    assert (result["rows"], result["rows_below"], result["rows_late"]) == (3, 6, 0)
    output = lab.rows(params["output_table"])
    assert output["id"].tolist() == list(range(9))
    assert output["run_id"].nunique() == 2
