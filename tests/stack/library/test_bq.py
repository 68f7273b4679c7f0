"""bq_get and bq_put: a table returns the values that were written, or they are refused by name."""

import contextlib
import datetime as dt
import io
import uuid
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from google.api_core.exceptions import BadRequest
from google.api_core.exceptions import Conflict as AlreadyExists
from google.cloud import bigquery

import mlsys.bq
from mlsys.bq import TableRef, bq_get, bq_put, load_rows
from mlsys.cloud.clients import Clients
from mlsys.columns.arrow_types import sql_name
from mlsys.errors import Conflict, InvalidRequest, TableNotFound

NAN = float("nan")
TEN = pd.Timestamp("2024-02-29 10:00:00.000001")


@pytest.fixture(scope="module")
def dataset(clients: Clients) -> Iterator[str]:
    name = f"{clients.settings.project}.bq_{uuid.uuid4().hex[:8]}"
    clients.bigquery.create_dataset(name, timeout=30)
    yield name
    clients.bigquery.delete_dataset(name, delete_contents=True, timeout=30)


@pytest.fixture
def table(dataset: str, environment: dict[str, str]) -> str:
    """Return the id of a table that does not exist yet."""
    return f"{dataset}.t_{uuid.uuid4().hex[:8]}"


def read(table: str, order: str = "1") -> dict[str, list[Any]]:
    return bq_get(f"SELECT * FROM `{table}` ORDER BY {order}").to_dict("list")


def schema(clients: Clients, table: str) -> dict[str, str]:
    return {f.name: f.field_type for f in clients.bigquery.get_table(table, timeout=30).schema}


def create(clients: Clients, table: str, **columns: str) -> None:
    fields = [bigquery.SchemaField(name, *kind.split()) for name, kind in columns.items()]
    clients.bigquery.create_table(bigquery.Table(table, fields), timeout=30)


# Types: the values written, the column's type, and the values read (dtype and values).
TYPES = [
    ("int64", [1, -(2**63)], "INT64", "int64", [1, -(2**63)]),
    ("Int64", [2**63 - 1, 2], "INT64", "int64", [2**63 - 1, 2]),
    ("Int64", [1, None], "INT64", "float64", [1.0, NAN]),
    ("int8", [1, -128], "INT64", "int64", [1, -128]),
    ("uint32", [1, 2**32 - 1], "INT64", "int64", [1, 2**32 - 1]),
    ("float64", [1.5, NAN], "FLOAT64", "float64", [1.5, NAN]),
    ("float64", [float("inf"), -1e308], "FLOAT64", "float64", [float("inf"), -1e308]),
    ("float32", [0.5, NAN], "FLOAT64", "float64", [0.5, NAN]),
    ("bool", [True, False], "BOOL", "bool", [True, False]),
    ("boolean", [True, None], "BOOL", "object", [True, None]),
    ("object", [True, None], "BOOL", "object", [True, None]),
    ("str", ["ä\n😀", None], "STRING", "str", ["ä\n😀", NAN]),
    ("object", ["", None], "STRING", "str", ["", NAN]),
    ("category", ["b", None], "STRING", "str", ["b", NAN]),
    ("object", [b"\x00\xff", None], "BYTES", "object", [b"\x00\xff", None]),
    ("object", [dt.date(2024, 2, 29), None], "DATE", "object", [dt.date(2024, 2, 29), None]),
    ("object", [dt.time(1, 2, 3, 4), None], "TIME", "object", [dt.time(1, 2, 3, 4), None]),
    ("datetime64[us]", [TEN, pd.NaT], "DATETIME", "datetime64[us]", [TEN, pd.NaT]),
    (
        "datetime64[us, Europe/Berlin]",
        [TEN.tz_localize("Europe/Berlin"), pd.NaT],
        "TIMESTAMP",
        "datetime64[us, UTC]",
        [TEN.tz_localize("UTC") - pd.Timedelta(hours=1), pd.NaT],
    ),
    ("object", [Decimal("1.000000001"), None], "NUMERIC", "object", [Decimal("1.000000001"), None]),
    ("object", [None, None], "STRING", "str", [NAN, NAN]),
]


@pytest.mark.parametrize(("dtype", "given", "kind", "read_as", "expected"), TYPES)
def test_every_type_is_read_as_it_was_written(
    clients: Clients,
    table: str,
    dtype: str,
    given: list[Any],
    kind: str,
    read_as: str,
    expected: list[Any],
) -> None:
    df = pd.DataFrame({"row": [1, 2], "value": pd.Series(given, dtype=dtype)})
    bq_put(df, table)
    assert schema(clients, table) == {"row": "INT64", "value": kind}
    found = bq_get(f"SELECT value FROM `{table}` ORDER BY row")["value"]
    pd.testing.assert_series_equal(found, pd.Series(expected, dtype=read_as, name="value"))
    bq_put(found.to_frame(), table)  # and the values read can be appended again
    again = bq_get(f"SELECT value FROM `{table}` WHERE row IS NULL")["value"]
    assert sorted(map(str, again)) == sorted(map(str, found))


def test_the_index_is_left_out_and_a_frame_without_rows_makes_an_empty_table(
    clients: Clients, table: str
) -> None:
    bq_put(pd.DataFrame({"a": [1.5]}, index=["x"]).head(0), table)
    assert schema(clients, table) == {"a": "FLOAT64"}
    assert read(table) == {"a": []}


def test_an_append_matches_columns_by_name(table: str) -> None:
    bq_put(pd.DataFrame({"a": ["a1"], "b": ["b1"], "c": [1]}), table)
    bq_put(pd.DataFrame({"c": [2], "b": ["b2"], "a": ["a2"]}), table)
    bq_put(pd.DataFrame({"B": ["b3"], "C": [3]}), table, "WRITE_APPEND")
    rows = read(table, "c")
    assert rows == {"a": ["a1", "a2", rows["a"][2]], "b": ["b1", "b2", "b3"], "c": [1, 2, 3]}
    assert pd.isna(rows["a"][2])


FITTING = [
    ("INT64", pd.Series([2.0, None]), [2.0, NAN]),
    ("FLOAT64", pd.Series([2]), [2.0]),
    ("FLOAT64", pd.Series([Decimal("0.5")]), [0.5]),
    ("NUMERIC", pd.Series([2]), [Decimal(2)]),
    ("NUMERIC", pd.Series([19.99]), [Decimal("19.990000000")]),
    ("FLOAT64", pd.Series([Decimal("0.1")]), [0.1]),
    ("DATE", pd.to_datetime(pd.Series(["2024-02-29"])), [dt.date(2024, 2, 29)]),
    ("TIMESTAMP", pd.Series([TEN]), [TEN.tz_localize("UTC")]),
    ("DATETIME", pd.Series([TEN.tz_localize("UTC")]), [TEN]),
    ("DATETIME", pd.Series([dt.date(2024, 2, 29)]), [pd.Timestamp("2024-02-29")]),
    *((kind, pd.Series([None]), None) for kind in ("INT64", "BOOL", "DATE", "TIME", "BYTES")),
]


@pytest.mark.parametrize(("kind", "given", "expected"), FITTING)
def test_values_that_keep_their_meaning_are_appended_to_a_column_of_another_type(
    clients: Clients, table: str, kind: str, given: "pd.Series[Any]", expected: list[Any] | None
) -> None:
    create(clients, table, value=kind)
    bq_put(given.to_frame("value"), table)
    found = bq_get(f"SELECT value FROM `{table}` ORDER BY value NULLS LAST")["value"]
    if expected is None:
        assert found.isna().all() and len(found) == len(given)
    else:
        assert str(found.tolist()) == str(expected) or found.tolist() == expected


REFUSED = [
    ("INT64", ["abc"], "holds STRING"),
    ("INT64", ["12"], "holds STRING"),
    ("INT64", [1.5], "truncated"),
    ("INT64", [True], "holds BOOL"),
    ("FLOAT64", ["1.5"], "holds STRING"),
    ("FLOAT64", [2**60 + 1], "not in range"),
    ("BOOL", [2], "holds INT64"),
    ("STRING", [12], "holds INT64"),
    ("STRING", [b"x"], "holds BYTES"),
    ("BYTES", ["x"], "holds STRING"),
    ("DATE", ["2024-02-29"], "holds STRING"),
    ("DATE", [TEN], "times of day"),
    ("TIME", ["10:00:00"], "holds STRING"),
    ("TIMESTAMP", [1700000000], "holds INT64"),
    ("NUMERIC", [1e30], "cannot hold exactly"),
    ("NUMERIC", [1e-12], "row 0 holds 1e-12"),
    ("NUMERIC", [1 / 3], "cannot hold exactly"),
    ("NUMERIC", [float("inf")], "row 0 holds inf"),
    ("FLOAT64", [Decimal("12345678901234567.12")], "row 0 holds 12345678901234567.12"),
    ("JSON", ["{}"], "JSON"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "given", "problem"), REFUSED)
def test_values_that_do_not_fit_their_column_are_refused_by_its_name(
    clients: Clients, table: str, kind: str, given: list[Any], problem: str
) -> None:
    create(clients, table, other="INT64", value=kind)
    with pytest.raises(InvalidRequest) as refused:
        bq_put(pd.DataFrame({"other": [1], "value": given}), table)
    [(name, text)] = refused.value.problems
    assert name == "df"
    assert text.startswith(f"column 'value' does not fit {table}, where it is {kind}")
    assert problem in text
    assert read(table)["other"] == []


def test_columns_that_the_table_lacks_are_refused_by_name(clients: Clients, table: str) -> None:
    create(clients, table, a="INT64")
    with pytest.raises(InvalidRequest, match=r"has no columns \['b', 'c'\]: drop or rename"):
        bq_put(pd.DataFrame({"b": [1], "a": [1], "c": [1]}), table)


def test_missing_required_columns_are_named(clients: Clients, table: str) -> None:
    create(clients, table, a="INT64 REQUIRED", b="INT64")
    with pytest.raises(InvalidRequest, match="requires the column 'a': add it"):
        bq_put(pd.DataFrame({"b": [1]}), table)
    bq_put(pd.DataFrame({"a": [1]}), table)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ([1, "a"], "holds 1 in row 0 (INT64) and 'a' in row 1 (STRING)"),
        ([[1], [2]], "no flat column type for list"),
        ([{"a": 1}, {"a": 2}], "no flat column type for struct"),
        ([Decimal("1.0000000001"), None], "needs BIGNUMERIC, which the local BigQuery"),
        (np.array([2**63, 1], dtype="uint64"), "outside INT64"),
        ([1j, 2j], "no flat column type for complex"),
        (pd.to_timedelta([1, 2], "s"), "no flat column type for duration"),
    ],
)
def test_a_column_that_no_table_can_hold_is_refused_by_name(
    table: str, value: Any, problem: str
) -> None:
    with pytest.raises(InvalidRequest, match=r"^df: column 'odd': ") as refused:
        bq_put(pd.DataFrame({"fine": [1, 2], "odd": value}), table)
    assert problem in str(refused.value)


def test_write_empty_fills_an_empty_table_and_refuses_a_filled_one(
    clients: Clients, table: str
) -> None:
    create(clients, table, a="INT64")
    bq_put(pd.DataFrame({"a": [1]}), table, "WRITE_EMPTY")
    with pytest.raises(Conflict, match=f"{table} has rows, and write_disposition is WRITE_EMPTY"):
        bq_put(pd.DataFrame({"a": [2]}), table, "WRITE_EMPTY")
    assert read(table) == {"a": [1]}


def test_write_empty_refuses_a_table_that_was_filled_meanwhile(
    clients: Clients, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BigQuery then fails the job with the reason `duplicate`, which its client maps to a 409."""

    def filled(*_: Any, **__: Any) -> Any:
        raise AlreadyExists(f"Already Exists: Table {table}")

    monkeypatch.setattr(clients.bigquery, "load_table_from_file", filled)
    with pytest.raises(Conflict, match="has rows"):
        bq_put(pd.DataFrame({"a": [1]}), table, "WRITE_EMPTY")
    with pytest.raises(Conflict, match="^Already Exists: Table"):  # of another job
        bq_put(pd.DataFrame({"a": [1]}), table)


@pytest.mark.parametrize(
    "after",
    [
        pd.DataFrame({"a": [3], "b": ["z"]}),
        pd.DataFrame({"b": ["z"], "a": [3]}),
        pd.DataFrame({"b": ["z"], "c": ["y"]}),
        pd.DataFrame({"a": ["now a string"]}),
        pd.DataFrame({"a": [3], "b": ["z"], "c": [1.5]}),
    ],
    ids=lambda df: "-".join(df.columns),
)
def test_write_truncate_replaces_rows_and_columns(table: str, after: pd.DataFrame) -> None:
    bq_put(pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}), table)
    bq_put(after, table, "WRITE_TRUNCATE")
    assert read(table) == after.to_dict("list")


def test_a_frame_without_columns_is_refused_and_nothing_is_lost(table: str) -> None:
    bq_put(pd.DataFrame({"a": [1]}), table)
    for disposition in ("WRITE_TRUNCATE", "WRITE_APPEND"):
        with pytest.raises(InvalidRequest, match="^df: has no columns"):
            bq_put(pd.DataFrame(), table, disposition)
    assert read(table) == {"a": [1]}


def test_write_truncate_creates_a_missing_table(table: str) -> None:
    bq_put(pd.DataFrame({"a": [1]}), table, "WRITE_TRUNCATE")
    assert read(table) == {"a": [1]}


def describe(clients: Clients, table: str) -> dict[str, Any]:
    """Return a table's metadata."""
    resource = clients.bigquery.get_table(table, timeout=30).to_api_repr()
    names = ("timePartitioning", "rangePartitioning", "clustering", "description", "labels")
    return {name: resource.get(name) for name in names}


@pytest.mark.parametrize(
    "made",
    [
        """CREATE TABLE `{}` (d DATE, a INT64) PARTITION BY d CLUSTER BY a
           OPTIONS (description = 'Days', labels = [('team', 'ml')])""",
        "CREATE TABLE `{}` (d DATE, a INT64) PARTITION BY RANGE_BUCKET(a, GENERATE_ARRAY(0, 9, 3))",
    ],
)
def test_write_truncate_keeps_a_tables_partitioning_and_descriptions(
    clients: Clients, table: str, made: str
) -> None:
    bq_get(made.format(table))
    before = describe(clients, table)
    assert before["timePartitioning"] or before["rangePartitioning"]
    day = dt.date(2024, 2, 29)
    bq_put(pd.DataFrame({"a": [1], "d": [day], "c": ["new"]}), table, "WRITE_TRUNCATE")
    assert describe(clients, table) == before
    assert read(table) == {"a": [1], "d": [day], "c": ["new"]}
    with pytest.raises(InvalidRequest, match=r"and WRITE_TRUNCATE keeps that: add the column"):
        bq_put(pd.DataFrame({"c": ["x"]}), table, "WRITE_TRUNCATE")


def test_write_truncate_keeps_a_columns_description_and_mode_if_they_fit(
    clients: Clients, table: str
) -> None:
    fields = [
        bigquery.SchemaField("a", "INT64", "REQUIRED", description="A number"),
        bigquery.SchemaField("b", "STRING", description="A text"),
    ]
    clients.bigquery.create_table(bigquery.Table(table, fields), timeout=30)
    for values, mode in (([1], "REQUIRED"), (pd.array([None], "Int64"), "NULLABLE")):
        bq_put(pd.DataFrame({"b": [1.5], "a": values}), table, "WRITE_TRUNCATE")
        b, a = clients.bigquery.get_table(table, timeout=30).schema
        assert (a.mode, a.description, b.field_type) == (mode, "A number", "FLOAT64")
        assert b.description is None  # another type makes it another column


def test_a_failed_load_leaves_the_table_unchanged(clients: Clients, table: str) -> None:
    """Load with WRITE_TRUNCATE: equal columns, other columns, and a table that does not exist."""
    bq_put(pd.DataFrame({"a": [1, 2]}), table)
    before = describe(clients, table), schema(clients, table)
    for name, kind in (("a", "INT64"), ("b", "INT64")):
        config = bigquery.LoadJobConfig(
            source_format="PARQUET",
            write_disposition="WRITE_TRUNCATE",
            schema=[bigquery.SchemaField(name, kind)],
        )
        for target in (table, f"{table}_new"):
            job = clients.bigquery.load_table_from_file(
                io.BytesIO(b"this is not Parquet"), target, job_config=config, timeout=30
            )
            with pytest.raises(BadRequest):
                job.result(timeout=30)
    assert read(table) == {"a": [1, 2]}
    assert (describe(clients, table), schema(clients, table)) == before
    with pytest.raises(TableNotFound):
        read(f"{table}_new")


def test_write_truncate_data_replaces_rows_and_keeps_the_schema(
    clients: Clients, table: str
) -> None:
    bq_put(pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}), table)
    before = schema(clients, table)
    parts = TableRef.parse(table)
    for rows, fits in (({"a": [3]}, True), ({"a": [4], "c": [1.5]}, False)):
        arrow = pa.table(rows)
        fields = [bigquery.SchemaField(f.name, sql_name(f.type)) for f in arrow.schema]
        with contextlib.nullcontext() if fits else pytest.raises(BadRequest, match="Cannot add"):
            load_rows(clients, arrow, parts, fields, "WRITE_TRUNCATE_DATA")
        assert bq_get(f"SELECT a, b IS NULL AS b FROM `{table}`").values.tolist() == [[3, True]]
        assert schema(clients, table) == before


@pytest.mark.parametrize(
    ("after", "disposition"),
    [
        ({"a": [3], "b": ["z"]}, "WRITE_TRUNCATE_DATA"),
        ({"b": ["z"], "a": [3]}, "WRITE_TRUNCATE"),
        ({"a": [3]}, "WRITE_TRUNCATE"),
        ({"a": [3], "b": [1.5]}, "WRITE_TRUNCATE"),
        ({"a": [None], "b": ["z"]}, "WRITE_TRUNCATE"),
    ],
    ids=["equal", "another order", "one fewer", "another type", "a NULL in a REQUIRED column"],
)
def test_write_truncate_keeps_the_table_only_if_its_columns_stay(
    clients: Clients,
    table: str,
    after: dict[str, Any],
    disposition: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fields = [
        bigquery.SchemaField("a", "INTEGER", "REQUIRED"),
        bigquery.SchemaField("b", "STRING", description="A text"),
    ]
    clients.bigquery.create_table(bigquery.Table(table, fields), timeout=30)
    sent = []
    load = mlsys.bq.load_rows

    def keep(*args: Any, **options: Any) -> None:
        sent.append(args[4])
        load(*args, **options)

    monkeypatch.setattr(mlsys.bq, "load_rows", keep)
    frame = pd.DataFrame(after).astype({"a": "Int64"})
    bq_put(frame, table, "WRITE_TRUNCATE")
    assert sent == [disposition]
    assert read(table).get("b") == after.get("b")
    assert len(read(table)["a"]) == 1


@pytest.mark.parametrize("disposition", ["WRITE_APPEND", "WRITE_TRUNCATE", "WRITE_EMPTY"])
def test_a_view_is_refused_at_once(table: str, disposition: str) -> None:
    bq_get(f"CREATE VIEW `{table}` AS SELECT 1 AS a")
    with pytest.raises(InvalidRequest, match=f"^table_id: {table} is a VIEW, and only .* a table"):
        bq_put(pd.DataFrame({"a": [1]}), table, disposition)


def test_columns_that_the_frame_lacks_get_their_default_or_null(table: str) -> None:
    """Include columns of types that pandas does not have."""
    bq_get(
        f"CREATE TABLE `{table}` (a INT64 NOT NULL, b INT64 DEFAULT 5, l ARRAY<INT64>, "
        "s STRUCT<x INT64>, j JSON, g GEOGRAPHY, t STRING DEFAULT 'x')"
    )
    bq_put(pd.DataFrame({"t": [None, "y"], "a": [1, 2]}), table)
    rows = read(table)
    assert rows["a"] == [1, 2]
    assert rows["b"] == [5, 5]
    assert pd.isna(rows["t"][0]) and rows["t"][1] == "y"  # a NULL that is written stays a NULL
    assert [len(values) for values in rows["l"]] == [0, 0]
    assert pd.isna([*rows["s"], *rows["j"], *rows["g"]]).all()


def test_columns_that_bq_put_cannot_write_are_refused_by_name(table: str) -> None:
    bq_get(f"CREATE TABLE `{table}` (a INT64 NOT NULL, l ARRAY<INT64>, s STRUCT<x INT64>)")
    for name, kind in (("l", "ARRAY<INT64>"), ("s", "STRUCT")):
        with pytest.raises(InvalidRequest, match=f"column '{name}' .* {kind}, which bq_put cannot"):
            bq_put(pd.DataFrame({"a": [1], name: [1]}), table)
    with pytest.raises(InvalidRequest, match="column 'a' .* REQUIRED: row 1 has no value"):
        bq_put(pd.DataFrame({"a": [1, None]}), table)


def test_the_load_job_has_the_tables_column_modes(
    clients: Clients, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BigQuery refuses other modes, and so does the local one."""
    create(clients, table, a="INT64 REQUIRED", b="STRING")
    bq_put(pd.DataFrame({"b": ["x"], "a": [1]}), table)
    monkeypatch.setattr(
        "mlsys.bq.sent_fields", lambda rows, _: [bigquery.SchemaField("a", "INT64")]
    )
    with pytest.raises(InvalidRequest, match="Field a has changed mode from REQUIRED to NULLABLE"):
        bq_put(pd.DataFrame({"a": [1]}), table)
    assert read(table) == {"a": [1], "b": ["x"]}


def test_integers_beside_nulls_keep_every_digit(clients: Clients, table: str) -> None:
    """The values read are written again as INT64, with the same digits."""
    big = 2**53 + 1
    df = bq_get(f"SELECT x FROM UNNEST([{big}, NULL, {-(2**63)}]) AS x")
    assert str(df["x"].dtype) == "Int64"
    bq_put(df, table)
    assert schema(clients, table) == {"x": "INT64"}
    assert sorted(bq_get(f"SELECT * FROM `{table}`")["x"].dropna()) == [-(2**63), big]


def test_a_missing_dataset_is_named(environment: dict[str, str]) -> None:
    with pytest.raises(TableNotFound, match=r"dataset mlsys-local\.nowhere does not exist: create"):
        bq_put(pd.DataFrame({"a": [1]}), "mlsys-local.nowhere.t")
    with pytest.raises(TableNotFound, match="nowhere"):
        bq_get("SELECT * FROM `mlsys-local.nowhere.t`")


def test_a_missing_table_is_named(table: str) -> None:
    with pytest.raises(TableNotFound, match=table.split(".")[-1]):
        bq_get(f"SELECT * FROM `{table}`")


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("SELCT 1", "SELCT|selct"),
        ("SELECT no_such_column FROM titanic.train", "no_such_column"),
        ("SELECT", "."),
    ],
)
def test_a_refused_query_raises_bigquerys_message(
    environment: dict[str, str], query: str, words: str
) -> None:
    with pytest.raises(InvalidRequest, match=f"^query: .*(?:{words})"):
        bq_get(query)


def test_a_query_can_read_the_sample_tables(environment: dict[str, str]) -> None:
    df = bq_get("SELECT * FROM titanic.train ORDER BY PassengerId LIMIT 3")
    assert df["PassengerId"].tolist() == [1, 2, 3]
    assert df["Survived"].dtype == np.int64
    assert bq_get("SELECT 1 AS x FROM titanic.train WHERE FALSE")["x"].tolist() == []


MALFORMED = [
    *("", "t", "dataset.t", "p.d.t", "my-project.d.t.u", "my-project.d.", "my-project..t"),
    *("My-Project.d.t", "my-project.d-d.t", "my-project.d.t\n", "my-project.d.t;DROP TABLE x"),
    *("my-project.d.`t`", "my-project.d.t x", "1project.d.t", "my-project-.d.t", "`a`.b.c"),
]


@pytest.mark.parametrize("text", MALFORMED)
def test_a_malformed_table_id_is_refused(environment: dict[str, str], text: str) -> None:
    with pytest.raises(InvalidRequest, match="^table_id: .*pass project.dataset.table"):
        bq_put(pd.DataFrame({"a": [1]}), text)


def test_an_unknown_write_disposition_is_refused(table: str) -> None:
    with pytest.raises(
        InvalidRequest, match="^write_disposition: 'append': pass WRITE_APPEND, WRITE_TRUNCATE or"
    ):
        bq_put(pd.DataFrame({"a": [1]}), table, "append")
