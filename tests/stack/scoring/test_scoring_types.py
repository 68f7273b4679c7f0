"""A column reaches the model as in training, or the table is refused with the column's name."""

import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from google.cloud import bigquery
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from in_process import SandboxHere
from mlsys.bq import bq_get
from mlsys.local.stack import LocalStack
from scoring_cases import Lab, column

pytestmark = pytest.mark.usefixtures("environment")

UTC = dt.UTC
seen: list[pd.DataFrame] = []


def look(X: pd.DataFrame) -> pd.DataFrame:
    """Return the frame unchanged, and record it."""
    seen.append(X.copy())
    return X


class Counting(RegressorMixin, BaseEstimator):
    """Counts the values of each row that are not missing."""

    def fit(self, X: Any, y: Any = None) -> "Counting":
        self.fitted_ = True
        return self

    def predict(self, X: pd.DataFrame) -> np.ndarray:
        return X.notna().sum(axis=1).to_numpy().astype("float64")


def witness() -> Any:
    """Return a model that accepts any columns, and records the frames it is given."""
    return make_pipeline(FunctionTransformer(look), Counting())


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Load the models in this process, where the tests see their input."""
    monkeypatch.setattr("workers.sandbox.start.Sandbox", SandboxHere)


COLUMNS = {
    "whole": ("INT64", [1, 2, -3, 2**53 + 1]),
    "whole_nulls": ("INT64", [1, None, 3, None]),
    "broken": ("FLOAT64", [0.1, -0.0, 1e300, 5e-324]),
    "broken_nulls": ("FLOAT64", [None, 0.1, None, 3.0]),
    "flag": ("BOOL", [True, False, True, True]),
    "flag_nulls": ("BOOL", [True, None, False, None]),
    "word": ("STRING", ["a", "", "Zürich", "42"]),
    "word_nulls": ("STRING", [None, "a", None, "NaN"]),
    "moment": (
        "TIMESTAMP",
        [dt.datetime(2026, 1, d, 12, 30, 15, 123456, tzinfo=UTC) for d in (1, 2, 3, 4)],
    ),
    "moment_nulls": ("TIMESTAMP", [None, dt.datetime(1969, 12, 31, tzinfo=UTC), None, None]),
    "day": ("DATE", [dt.date(2026, 2, d) for d in (1, 2, 3, 28)]),
    "day_nulls": ("DATE", [dt.date(1, 1, 1), None, dt.date(9999, 12, 31), None]),
    "local": ("DATETIME", [dt.datetime(2026, 3, d, 1, 2, 3, 4) for d in (1, 2, 3, 4)]),
    "local_nulls": ("DATETIME", [None, None, dt.datetime(2026, 3, 1), None]),
    "price": ("NUMERIC", [Decimal("1.5"), Decimal("0.000000001"), Decimal("-7"), Decimal("0")]),
    "price_nulls": ("NUMERIC", [None, Decimal("12345678901234567890.5"), None, Decimal("1")]),
    "raw": ("BYTES", [b"a", b"", b"\x00\xff", b"z"]),
    "hour": ("TIME", [dt.time(0, 0), dt.time(23, 59, 59, 999999), dt.time(1), dt.time(2)]),
    "hour_nulls": ("TIME", [None, dt.time(1, 2, 3), None, None]),
}


@pytest.fixture(scope="module")
def lab(stack: LocalStack) -> Lab:
    return Lab(stack)


@pytest.fixture(scope="module")
def everything(lab: Lab) -> str:
    """Return a table with a column of every flat type, with and without NULLs."""
    data = {"id": column("INT64", [1, 2, 3, 4])}
    data |= {name: column(kind, values) for name, (kind, values) in COLUMNS.items()}
    return lab.put(pa.table(data))


def forms(frame: pd.DataFrame) -> dict[str, list[tuple[type, str]]]:
    """Return each value's type and repr: None and NaN differ."""
    return {
        name: [(type(v), repr(v)) for v in frame[name].astype("object")] for name in frame.columns
    }


def test_every_type_reaches_the_model_as_in_training(lab: Lab, everything: str) -> None:
    train = bq_get(f"SELECT * FROM `{everything}` ORDER BY id")
    X = train[list(COLUMNS)]
    name = lab.upload(witness().fit(X), X)
    seen.clear()
    _, rows = lab.score(everything, name)
    assert len(seen) == 2  # the golden rows, and the table in one batch
    assert seen[-1].dtypes.to_dict() == X.dtypes.to_dict()
    assert forms(seen[-1]) == forms(X)
    assert rows["prediction"].tolist() == X.notna().sum(axis=1).tolist()


def test_without_a_signature_every_type_reaches_the_model_as_in_bigquery(
    lab: Lab, everything: str
) -> None:
    train = bq_get(f"SELECT * FROM `{everything}` ORDER BY id")
    X = train[list(COLUMNS)]
    name = lab.put_pickle(witness().fit(X))
    seen.clear()
    lab.score(everything, name)
    assert seen[-1].dtypes.to_dict() == X.dtypes.to_dict()
    assert forms(seen[-1]) == forms(X)


def test_a_table_without_nulls_keeps_the_training_dtypes(lab: Lab, everything: str) -> None:
    nullable = [name for name in COLUMNS if name.endswith("_nulls")]
    X = bq_get(f"SELECT * FROM `{everything}` ORDER BY id")[nullable]
    name = lab.upload(witness().fit(X), X)
    full = {"id": column("INT64", [7])}
    for feature in nullable:
        kind, values = COLUMNS[feature]
        full[feature] = column(kind, [v for v in values if v is not None][:1])
    seen.clear()
    lab.score(lab.put(pa.table(full), types={n: COLUMNS[n][0] for n in nullable}), name)
    assert seen[-1].dtypes.to_dict() == X.dtypes.to_dict()
    assert seen[-1].notna().all(axis=None)


def test_a_table_of_only_nulls_keeps_the_training_dtypes(lab: Lab, everything: str) -> None:
    nullable = [name for name in COLUMNS if name.endswith("_nulls")]
    X = bq_get(f"SELECT * FROM `{everything}` ORDER BY id")[nullable]
    name = lab.upload(witness().fit(X), X)
    bare = {n: column(COLUMNS[n][0], [None, None]) for n in nullable}
    seen.clear()
    lab.score(lab.put(pa.table({"id": column("INT64", [1, 2])} | bare)), name)
    assert seen[-1].dtypes.to_dict() == X.dtypes.to_dict()
    assert seen[-1].isna().all(axis=None)


def test_nulls_that_the_training_did_not_have_are_missing_values(lab: Lab, everything: str) -> None:
    names = ["whole", "broken", "flag", "word", "moment", "day", "local", "price"]
    X = bq_get(f"SELECT * FROM `{everything}` ORDER BY id")[names]
    name = lab.upload(witness().fit(X), X)
    bare = {n: column(COLUMNS[n][0], [COLUMNS[n][1][0], None]) for n in names}
    seen.clear()
    _, rows = lab.score(lab.put(pa.table({"id": column("INT64", [1, 2])} | bare)), name)
    assert rows["prediction"].tolist() == [len(names), 0]
    assert seen[-1]["whole"].dtype == "float64"
    assert seen[-1]["flag"].dtype == "object"


@pytest.mark.slow
@pytest.mark.parametrize(
    "dtype",
    ["Int64", "Float64", "boolean", "string", "int32", "float32", "object"],
)
def test_the_notebooks_own_dtypes_are_restored(lab: Lab, dtype: str) -> None:
    values: dict[str, Any] = {
        "boolean": [True, False, None],
        "string": ["a", None, "b"],
        "object": ["a", None, "b"],
        "int32": [1, 2, 3],
    }
    X = pd.DataFrame({"a": pd.Series(values.get(dtype, [1, 2, None]), dtype=dtype)})
    name = lab.upload(witness().fit(X), X)
    seen.clear()
    lab.score(lab.put(X.assign(id=[1, 2, 3])), name)
    pd.testing.assert_frame_equal(seen[-1], X)
    assert forms(seen[-1]) == forms(X)


@pytest.mark.parametrize(
    ("trained", "found"),
    [
        ("FLOAT64", "STRING"),
        ("FLOAT64", "BOOL"),
        ("FLOAT64", "TIMESTAMP"),
        ("INT64", "FLOAT64"),
        ("INT64", "NUMERIC"),
        ("INT64", "BOOL"),
        ("INT64", "STRING"),
        ("BOOL", "INT64"),
        ("STRING", "INT64"),
        ("STRING", "BYTES"),
        ("TIMESTAMP", "DATETIME"),
        ("DATETIME", "TIMESTAMP"),
        ("DATE", "TIMESTAMP"),
        ("NUMERIC", "FLOAT64"),
    ],
)
def test_a_column_of_another_type_is_refused_by_name(lab: Lab, trained: str, found: str) -> None:
    examples = {kind: values for kind, values in COLUMNS.values() if None not in values}
    X = pa.table({"a": column(trained, examples[trained])}).to_pandas()
    name = lab.upload(witness().fit(X), X)
    data = {"id": column("INT64", [1, 2, 3, 4]), "a": column(found, examples[found])}
    params = lab.params(lab.put(pa.table(data)), name)
    body = lab.here(params).problem(422, "schema-mismatch", "does not fit the model")
    assert body["columns"] == [
        {"name": "a", "problem": f"is {found}, and was {trained} in training"}
    ]
    assert not lab.exists(params["output_table"])


@pytest.mark.slow
@pytest.mark.parametrize("found", ["INT64", "NUMERIC"])
def test_a_number_is_widened_if_the_training_had_floats(lab: Lab, found: str) -> None:
    X = pd.DataFrame({"a": [0.5, 1.5]})
    name = lab.upload(witness().fit(X), X)
    data = {"id": column("INT64", [1, 2, 3]), "a": column(found, [3, None, 5])}
    seen.clear()
    lab.score(lab.put(pa.table(data)), name)
    np.testing.assert_array_equal(seen[-1]["a"], np.array([3.0, np.nan, 5.0]))
    assert seen[-1]["a"].dtype == "float64"


def test_a_whole_number_that_no_float_can_hold_is_refused(lab: Lab) -> None:
    X = pd.DataFrame({"a": [0.5, 1.5]})
    name = lab.upload(witness().fit(X), X)
    table = lab.put(pa.table({"id": column("INT64", [1]), "a": column("INT64", [2**53 + 1])}))
    params = lab.params(table, name)
    [row] = lab.here(params).problem(422, "prediction-failed", "id=1")["rows"]
    assert row["id"] == 1
    assert "a: int64 values do not fit float64" in row["reason"]
    assert not lab.exists(params["output_table"])


def test_missing_columns_are_all_named(lab: Lab) -> None:
    X = pd.DataFrame({"a": [1.0], "b": ["x"], "c": [1]})
    name = lab.upload(witness().fit(X), X)
    body = lab.here(lab.params(lab.put(pd.DataFrame({"id": [1], "b": ["x"]})), name)).problem(
        422, "schema-mismatch"
    )
    assert body["columns"] == [
        {"name": "a", "problem": "is missing, the model needs it as FLOAT64"},
        {"name": "c", "problem": "is missing, the model needs it as INT64"},
    ]


def test_id_columns_of_every_type_pass_through_unchanged(lab: Lab, everything: str) -> None:
    X = pd.DataFrame({"broken": [1.0]})
    name = lab.upload(witness().fit(X), X, id_columns=[])
    params = lab.params(everything, name)
    lab.here(params).done()
    ids = ["id", *(n for n in COLUMNS if n != "broken")]
    given = lab.arrow(everything).select(ids).sort_by("id")
    found = lab.arrow(params["output_table"]).select(ids).sort_by("id")
    assert found.to_pylist() == given.to_pylist()
    schema = lab.schema(params["output_table"])
    assert list(schema)[: len(ids)] == ids
    assert {n: schema[n] for n in ids} == {"id": "INT64"} | {
        n: kind for n, (kind, _) in COLUMNS.items() if n != "broken"
    }


def test_nested_columns_are_ignored_unless_they_are_requested(lab: Lab) -> None:
    table = lab.name()
    fields = [
        bigquery.SchemaField("id", "INT64"),
        bigquery.SchemaField("a", "FLOAT64"),
        bigquery.SchemaField("tags", "STRING", mode="REPEATED"),
        bigquery.SchemaField("place", "RECORD", fields=[bigquery.SchemaField("x", "INT64")]),
        bigquery.SchemaField("doc", "JSON"),
    ]
    lab.clients.bigquery.create_table(bigquery.Table(table, fields), timeout=30)
    sql = f"INSERT INTO `{table}` (id, a, tags) VALUES (1, 0.5, ['x', 'y'])"
    lab.clients.bigquery.query_and_wait(sql, wait_timeout=60, api_timeout=30)
    X = pd.DataFrame({"a": [1.0]})
    name = lab.upload(witness().fit(X), X)
    _, rows = lab.score(table, name)
    assert rows["id"].tolist() == [1]
    bare = lab.put_pickle(witness().fit(X))
    body = lab.here(lab.params(table, bare)).problem(422, "schema-mismatch", "pass id_columns")
    assert body["columns"] == [
        {"name": "tags", "problem": "is ARRAY"},
        {"name": "place", "problem": "is STRUCT"},
        {"name": "doc", "problem": "is JSON"},
    ]
    nested = pd.DataFrame({"a": [1.0], "tags": ["x"]})
    name = lab.upload(witness().fit(nested), nested)
    body = lab.here(lab.params(table, name)).problem(422, "schema-mismatch")
    problem = "is ARRAY, which cannot be passed to a model"
    assert body["columns"] == [{"name": "tags", "problem": problem}]
