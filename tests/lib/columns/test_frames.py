"""Frames: a model gets the same values and dtypes in scoring as in training."""

import datetime as dt
import re
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsys.artifact.signatures import Signature
from mlsys.bq import bq_put
from mlsys.cloud.tables import TableRef
from mlsys.columns.arrow_types import arrow_type, sql_name
from mlsys.columns.decimals import floats_of
from mlsys.columns.features import UNKNOWN, Feature
from mlsys.columns.frames import from_frame, to_frame, to_model_frame
from mlsys.errors import InvalidRequest, SchemaMismatch

UTC = dt.UTC
MOMENT = dt.datetime(2026, 1, 2, 3, 4, 5, 6)
ZONED = MOMENT.replace(tzinfo=UTC)
EXACT = 2**53  # every integer up to this one is exact as a double

# One value of each BigQuery type, and its dtypes in the result of a notebook's query.
TYPES = [
    ("INT64", 7, "int64", "float64"),
    ("FLOAT64", 1.5, "float64", "float64"),
    ("BOOL", True, "bool", "object"),
    ("STRING", "a", "str", "str"),
    ("BYTES", b"a", "object", "object"),
    ("DATE", MOMENT.date(), "object", "object"),
    ("TIME", MOMENT.time(), "object", "object"),
    ("DATETIME", MOMENT, "datetime64[us]", "datetime64[us]"),
    ("TIMESTAMP", ZONED, "datetime64[us, UTC]", "datetime64[us, UTC]"),
    ("NUMERIC", Decimal("1.500000000"), "object", "object"),
    ("BIGNUMERIC", Decimal(1).scaleb(-38), "object", "object"),
]


def column(kind: str, *values: Any) -> pa.Table:
    """Return a table of one column `a` of a BigQuery type."""
    return pa.table({"a": pa.array(values, arrow_type(kind))})


def given_to_model(table: pa.Table, kind: str, dtype: str, **more: Any) -> pd.Series:
    """Return the column `a` as the model gets it."""
    return to_model_frame(table, [Feature("a", kind, dtype, **more)])["a"]


@pytest.mark.parametrize(
    ("kind", "value", "dtype", "with_null"), [pytest.param(*t, id=t[0]) for t in TYPES]
)
def test_each_type_has_the_documented_dtype(
    kind: str, value: Any, dtype: str, with_null: str
) -> None:
    full, sparse = to_frame(column(kind, value)), to_frame(column(kind, value, None))
    assert str(full["a"].dtype) == dtype
    assert str(sparse["a"].dtype) == with_null
    assert full["a"][0] == sparse["a"][0] == value
    assert type(full["a"].iloc[0]) is type(value) or str(full["a"].dtype) != "object"
    assert pd.isna(sparse["a"][1])


@pytest.mark.parametrize("nulls", [False, True], ids=["without NULLs", "with NULLs"])
@pytest.mark.parametrize(("kind", "value"), [pytest.param(*t[:2], id=t[0]) for t in TYPES])
def test_scoring_passes_the_model_the_frame_that_the_notebook_read(
    kind: str, value: Any, nulls: bool
) -> None:
    """Train on the result of `bq_get` and score the same rows: the frames are equal."""
    table = column(kind, value, None) if nulls else column(kind, value, value)
    trained_on = to_frame(table)
    signature = Signature.from_data(trained_on)
    if kind != "BIGNUMERIC":  # a Decimal becomes NUMERIC
        assert signature.features[0].accepts(kind)
    pd.testing.assert_frame_equal(to_model_frame(table, signature.features), trained_on)


@pytest.mark.parametrize(
    ("kind", "dtype", "values", "expected"),
    [
        pytest.param("INT64", "int8", [1, 2], [1, 2], id="int8"),
        pytest.param("INT64", "uint64", [1, 2**63 - 1], [1, 2**63 - 1], id="uint64"),
        pytest.param("INT64", "Int64", [EXACT + 1], [EXACT + 1], id="Int64"),
        pytest.param("INT64", "Int64", [EXACT + 1, None], [EXACT + 1, pd.NA], id="Int64, NULL"),
        pytest.param("INT64", "Int8", [-1, None], [-1, pd.NA], id="Int8, NULL"),
        pytest.param(
            "INT64", "int64[pyarrow]", [EXACT + 1, None], [EXACT + 1, pd.NA], id="Arrow, NULL"
        ),
        pytest.param("FLOAT64", "float32", [1.5, None], [1.5, np.nan], id="float32"),
        pytest.param("FLOAT64", "Float64", [1.5, None], [1.5, pd.NA], id="Float64"),
        pytest.param("BOOL", "boolean", [True, None], [True, pd.NA], id="boolean"),
        pytest.param("STRING", "string", ["a", None], ["a", pd.NA], id="string"),
        pytest.param("STRING", "str", [None, None], [np.nan, np.nan], id="str, NULLs alone"),
        pytest.param("STRING", "object", ["a", None], ["a", np.nan], id="object, NULL"),
        pytest.param("TIMESTAMP", "datetime64[ns, UTC]", [ZONED], [ZONED], id="timestamps in ns"),
        pytest.param("DATETIME", "datetime64[ns]", [MOMENT, None], [MOMENT, pd.NaT], id="in ns"),
    ],
)
def test_a_column_has_its_training_dtype(
    kind: str, dtype: str, values: list[Any], expected: list[Any]
) -> None:
    seen = given_to_model(column(kind, *values), kind, dtype)
    assert str(seen.dtype) == dtype
    for got, wanted in zip(seen.tolist(), expected, strict=True):
        assert got == wanted if not pd.isna(wanted) else pd.isna(got)


def test_a_null_where_training_had_none_turns_integers_into_floats() -> None:
    """No integer dtype can hold a NULL, so the model's own imputer handles it."""
    seen = given_to_model(column("INT64", 1, None), "INT64", "int64")
    assert str(seen.dtype) == "float64"
    assert seen[0] == 1.0
    assert np.isnan(seen[1])
    assert given_to_model(column("BOOL", True, None), "BOOL", "bool").tolist() == [True, None]


@pytest.mark.parametrize("dtype", ["int64", UNKNOWN])
def test_a_null_beside_an_integer_too_large_for_a_float_gives_a_nullable_dtype(dtype: str) -> None:
    table = column("INT64", -EXACT - 1, None)
    for seen in (to_frame(table)["a"], given_to_model(table, "INT64", dtype)):
        assert str(seen.dtype) == "Int64"
        assert seen.tolist() == [-EXACT - 1, pd.NA]


@pytest.mark.parametrize(
    ("spelling", "kind", "value"),
    [
        ("none", "STRING", "a"),
        ("nan", "STRING", "a"),
        ("none", "INT64", EXACT + 1),
        ("nan", "BOOL", True),
    ],
)
def test_a_missing_object_is_the_same_value_as_in_training(
    spelling: str, kind: str, value: Any
) -> None:
    seen = given_to_model(column(kind, value, None), kind, "object", missing=spelling)
    assert seen.dtype == object
    assert seen[0] == value
    assert type(seen[0]) is type(value)
    assert seen[1] is None if spelling == "none" else np.isnan(seen[1])


@pytest.mark.parametrize(
    ("kind", "categories", "values", "codes"),
    [
        pytest.param("STRING", ("b", "a"), ["a", "b", "c", None], [1, 0, -1, -1], id="text"),
        pytest.param("INT64", (3, 1), [1, 3, 2, None], [1, 0, -1, -1], id="numbers"),
        pytest.param("BOOL", (True,), [True, False, None], [0, -1, -1], id="booleans"),
        pytest.param("FLOAT64", (0.5,), [0.5, 1.0], [0, -1], id="floats"),
        pytest.param("INT64", (1, EXACT + 1), [EXACT + 1, EXACT, None], [1, -1, -1], id="large"),
        pytest.param("STRING", (), ["a", None], [-1, -1], id="no category was seen"),
    ],
)
def test_categories_keep_their_codes_and_an_unseen_value_is_missing(
    kind: str, categories: tuple[Any, ...], values: list[Any], codes: list[int]
) -> None:
    seen = given_to_model(column(kind, *values), kind, "category", categories=categories)
    assert seen.cat.codes.tolist() == codes
    assert tuple(seen.cat.categories) == categories
    assert not seen.cat.ordered


def test_an_ordered_category_stays_ordered() -> None:
    seen = given_to_model(
        column("STRING", "low"), "STRING", "category", categories=("low", "high"), ordered=True
    )
    assert seen.dtype == pd.CategoricalDtype(["low", "high"], ordered=True)


def test_whole_numbers_and_decimals_are_widened_to_floats() -> None:
    for kind, value in (("INT64", EXACT), ("NUMERIC", Decimal("0.5")), ("BIGNUMERIC", Decimal(2))):
        seen = given_to_model(column(kind, value, None), "FLOAT64", "float64")
        assert str(seen.dtype) == "float64"
        assert seen[0] == float(value)


DECIMALS = [Decimal(i).scaleb(-2) for i in range(-200, 200)] + [
    *(Decimal(7).scaleb(power) for power in range(-9, 29)),
    *(Decimal(-(2**53) - 1).scaleb(-9), None),
]


@pytest.mark.parametrize("kind", ["NUMERIC", "BIGNUMERIC"])
def test_decimals_become_the_floats_that_python_makes_of_them(kind: str) -> None:
    """Arrow's cast makes 0.06999999999999999 of 0.07."""
    table = column(kind, *DECIMALS)
    floats = [None if value is None else float(value) for value in DECIMALS]
    decimals = table.column(0)
    assert floats_of(decimals).to_pylist() == floats
    assert floats_of(decimals.slice(7, 90)).to_pylist() == floats[7:97]
    assert floats_of(decimals.slice(0, 0)).to_pylist() == []
    seen = given_to_model(table, "FLOAT64", "float64")
    assert seen[:-1].tolist() == floats[:-1]


@pytest.mark.parametrize(
    ("table", "kind", "dtype"),
    [
        pytest.param(column("INT64", EXACT + 1), "FLOAT64", "float64", id="2^53 + 1 as a float"),
        pytest.param(column("INT64", EXACT + 1), "FLOAT64", "float32", id="2^53 + 1 as float32"),
        pytest.param(column("INT64", 300), "INT64", "int8", id="beyond int8"),
        pytest.param(column("INT64", 300, None), "INT64", "Int8", id="beyond Int8"),
        pytest.param(column("INT64", -1), "INT64", "uint64", id="negative as unsigned"),
        pytest.param(column("FLOAT64", 1e300), "FLOAT64", "float32", id="beyond float32"),
        pytest.param(column("FLOAT64", 1e300), "FLOAT64", "Float32", id="beyond Float32"),
        pytest.param(
            column("DATETIME", dt.datetime(9999, 1, 1)), "DATETIME", "datetime64[ns]", id="in ns"
        ),
        pytest.param(column("DATETIME", MOMENT), "DATETIME", "datetime64[s]", id="in seconds"),
        pytest.param(column("DATETIME", MOMENT), "DATETIME", "datetime64[ms]", id="milliseconds"),
        pytest.param(
            column("TIMESTAMP", None, ZONED),
            "TIMESTAMP",
            "datetime64[s, Europe/Berlin]",
            id="in seconds with a zone, beside a NULL",
        ),
        pytest.param(
            column("DATETIME", None, MOMENT), "DATETIME", "timestamp[s][pyarrow]", id="Arrow's"
        ),
        pytest.param(column("STRING", "a"), "STRING", "no-such-dtype", id="a handwritten dtype"),
    ],
)
def test_a_value_that_would_change_is_refused_by_its_columns_name(
    table: pa.Table, kind: str, dtype: str
) -> None:
    with pytest.raises(SchemaMismatch) as caught:
        given_to_model(table, kind, dtype)
    [(name, text)] = caught.value.columns
    assert name == "a"
    assert f"values do not fit {dtype}: " in text


@pytest.mark.parametrize(
    ("kind", "dtype", "advice"),
    [
        ("DATETIME", "datetime64[s]", "cut to a second, the unit of the training data: "),
        ("DATETIME", "datetime64[ms]", "DATETIME_TRUNC(a, MILLISECOND) AS a"),
        ("TIMESTAMP", "datetime64[s, UTC]", "TIMESTAMP_TRUNC(a, SECOND) AS a"),
        ("TIMESTAMP", "timestamp[ms, tz=UTC][pyarrow]", "TIMESTAMP_TRUNC(a, MILLISECOND) AS a"),
    ],
)
def test_a_time_that_is_finer_than_in_training_is_refused_and_a_whole_one_is_not(
    kind: str, dtype: str, advice: str
) -> None:
    finer = MOMENT if kind == "DATETIME" else ZONED
    with pytest.raises(SchemaMismatch, match=re.escape(advice)) as caught:
        given_to_model(column(kind, None, finer), kind, dtype)
    assert finer.isoformat(" ") in str(caught.value)
    whole = finer.replace(microsecond=0)
    assert given_to_model(column(kind, whole, None), kind, dtype)[0] == whole


def test_infinity_stays_infinity_in_float32() -> None:
    assert given_to_model(column("FLOAT64", np.inf), "FLOAT64", "float32")[0] == np.inf


def test_columns_are_matched_without_case_and_get_the_models_order_and_spelling() -> None:
    table = pa.table({"ID": [1], "age": [30.0], "SEX": ["f"]})
    frame = to_model_frame(
        table, [Feature("Sex", "STRING", "str"), Feature("Age", "FLOAT64", "float64")]
    )
    assert frame.columns.tolist() == ["Sex", "Age"]
    assert frame.iloc[0].tolist() == ["f", 30.0]


def test_a_feature_of_unknown_dtype_has_the_dtype_of_a_query() -> None:
    table = pa.table({"a": [1, None], "b": ["x", None], "c": [True, False]})
    features = [Feature(n, "STRING", UNKNOWN) for n in "abc"]
    pd.testing.assert_frame_equal(to_model_frame(table, features), to_frame(table))


INT64 = st.integers(-(2**63), 2**63 - 1)
COLUMNS = st.one_of(
    st.tuples(st.just("INT64"), st.just("int64"), st.lists(INT64)),
    st.tuples(st.just("INT64"), st.just("Int64"), st.lists(INT64 | st.none())),
    st.tuples(st.just("INT64"), st.just("object"), st.lists(INT64 | st.none())),
    st.tuples(st.just("FLOAT64"), st.just("float64"), st.lists(st.floats() | st.none())),
    st.tuples(st.just("FLOAT64"), st.just("Float64"), st.lists(st.none() | st.floats(-9, 9))),
    st.tuples(st.just("BOOL"), st.just("boolean"), st.lists(st.booleans() | st.none())),
    st.tuples(st.just("STRING"), st.just("str"), st.lists(st.text() | st.none())),
    st.tuples(st.just("STRING"), st.just("object"), st.lists(st.text() | st.none())),
    st.tuples(st.just("STRING"), st.just("string"), st.lists(st.text() | st.none())),
)


@given(COLUMNS, st.data())
def test_values_and_dtypes_do_not_depend_on_the_batch_boundaries(
    case: tuple[str, str, list[Any]], data: st.DataObject
) -> None:
    kind, dtype, values = case
    features = [Feature("a", kind, dtype, missing="none")]
    table = column(kind, *values)
    cut = data.draw(st.integers(0, len(values)))
    whole = to_model_frame(table, features)
    parts = [to_model_frame(table.slice(*where), features) for where in ((0, cut), (cut, None))]
    assert {str(part["a"].dtype) for part in [whole, *parts]} == {dtype}
    pd.testing.assert_frame_equal(pd.concat(parts, ignore_index=True), whole)
    for got, wanted in zip(whole["a"].tolist(), values, strict=True):
        assert pd.isna(got) if wanted is None or wanted != wanted else got == wanted


@pytest.mark.parametrize(
    ("values", "kind", "stored"),
    [
        pytest.param(pd.Series([1, 2], dtype="int8"), "INT64", [1, 2], id="int8"),
        pytest.param(pd.Series([1, None], dtype="Int64"), "INT64", [1, None], id="Int64"),
        pytest.param(pd.Series([1.5, np.nan]), "FLOAT64", [1.5, None], id="NaN is NULL"),
        pytest.param(pd.Series([1.5], dtype="float16"), "FLOAT64", [1.5], id="float16"),
        pytest.param(pd.Series([True, None], dtype="boolean"), "BOOL", [True, None], id="boolean"),
        pytest.param(pd.Series(["a", None]), "STRING", ["a", None], id="text"),
        pytest.param(pd.Series(["a", np.nan], dtype=object), "STRING", ["a", None], id="objects"),
        pytest.param(
            pd.Series(["a", None, "a"], dtype="category"), "STRING", ["a", None, "a"], id="category"
        ),
        pytest.param(pd.Series([3, 1], dtype="category"), "INT64", [3, 1], id="number category"),
        pytest.param(pd.Series([None, None], dtype=object), "STRING", [None, None], id="all None"),
        pytest.param(pd.Series([b"a", None]), "BYTES", [b"a", None], id="bytes"),
        pytest.param(pd.Series([Decimal("1.5")]), "NUMERIC", [Decimal("1.5")], id="decimals"),
        pytest.param(pd.Series([MOMENT.date(), None]), "DATE", [MOMENT.date(), None], id="dates"),
        pytest.param(pd.Series([MOMENT.time()]), "TIME", [MOMENT.time()], id="times"),
        pytest.param(
            pd.Series([MOMENT, None], dtype="datetime64[ns]"), "DATETIME", [MOMENT, None], id="ns"
        ),
        pytest.param(
            pd.Series([ZONED]).dt.tz_convert("Asia/Tokyo"), "TIMESTAMP", [ZONED], id="another zone"
        ),
    ],
)
def test_a_pandas_column_is_stored_as(values: pd.Series, kind: str, stored: list[Any]) -> None:
    table = from_frame(pd.DataFrame({"a": values}))
    assert table.schema.field("a").type == arrow_type(kind)
    assert sql_name(table.schema.field("a").type) == kind
    assert table.column("a").to_pylist() == stored


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(pd.Series([1, "a"], dtype=object), id="mixed types"),
        pytest.param(pd.Series([[1, 2]]), id="lists"),
        pytest.param(pd.Series([{"a": 1}]), id="dictionaries"),
        pytest.param(pd.Series([1j]), id="complex numbers"),
        pytest.param(pd.Series(pd.to_timedelta([1], "s")), id="durations"),
        pytest.param(pd.Series(pd.period_range("2026", periods=1)), id="periods"),
        pytest.param(pd.Series(pd.cut([1, 2], 2)), id="intervals"),
        pytest.param(pd.Series([2**63], dtype="uint64"), id="beyond INT64"),
        pytest.param(pd.Series([2**70], dtype=object), id="far beyond INT64"),
        pytest.param(pd.Series([Decimal(1).scaleb(-39)]), id="more digits than BIGNUMERIC has"),
    ],
)
def test_a_pandas_column_without_a_flat_type_is_refused_by_name(values: pd.Series) -> None:
    with pytest.raises(InvalidRequest, match="^df: column 'speed': (?!df)"):
        from_frame(pd.DataFrame({"ok": range(len(values)), "speed": values}))


def test_a_default_index_is_left_out_and_column_names_are_kept() -> None:
    table = from_frame(pd.DataFrame({"first name": [1], "größe": [2]}, index=[7]))
    assert table.schema.names == ["first name", "größe"]


PROJECT = st.from_regex(
    r"([a-z0-9][a-z0-9.-]{1,9}[a-z0-9]:)?[a-z][a-z0-9-]{4,28}[a-z0-9]", fullmatch=True
)
DATASET = st.from_regex(r"[A-Za-z0-9_]{1,20}", fullmatch=True)
TABLE = st.from_regex(r"[\w-]{1,20}", fullmatch=True)


@given(PROJECT, DATASET, TABLE)
def test_a_table_id_survives_the_round_trip_through_text(
    project: str, dataset: str, table: str
) -> None:
    ref = TableRef(project, dataset, table)
    assert TableRef.parse(str(ref)) == ref
    assert ref.path == f"projects/{project}/datasets/{dataset}/tables/{table}"


@given(st.text())
def test_a_text_is_parsed_unchanged_or_refused(text: str) -> None:
    try:
        ref = TableRef.parse(text)
    except InvalidRequest:
        return
    assert str(ref) == text


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("titanic.train", id="no project"),
        pytest.param("my-project.titanic.train.more", id="four names"),
        pytest.param("my-project.titanic.", id="no table"),
        pytest.param("my-project.titanic.train\n", id="a newline"),
        pytest.param("My-Project.titanic.train", id="an upper-case project"),
        pytest.param("my-project.ti-tanic.train", id="a hyphen in the dataset"),
        pytest.param("my-project.titanic.train`; DROP TABLE x", id="SQL"),
        pytest.param("my-project.titanic.train$20260101", id="a partition"),
        pytest.param("`my-project.titanic.train`", id="quotes"),
        pytest.param("my-project.titanic." + "t" * 1025, id="too long"),
    ],
)
def test_a_malformed_table_id_is_refused_by_the_parameters_name(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        TableRef.parse(text, "input_table")
    [(parameter, problem)] = caught.value.problems
    assert parameter == "input_table"
    assert "pass project.dataset.table" in problem or "pass the table" in problem


@pytest.mark.parametrize(
    ("df", "problem"),
    [
        (pd.Series([1], name="a"), r"df: is a pandas Series: pass df\.to_frame\(\)$"),
        (pd.Series([1]), r"df: is a pandas Series: pass df\.to_frame\('name'\)$"),
        ({"a": [1]}, r"df: is a dict: pass pd\.DataFrame\(df\)$"),
        (np.ones((1, 1)), "df: is a NumPy ndarray: pass a pandas DataFrame$"),
        (None, "df: is None: pass a pandas DataFrame$"),
        (pd.DataFrame, "df: is the class DataFrame: pass a pandas DataFrame$"),
        (pd.DataFrame([[1, 2]], columns=["a", "A"]), r"df: columns \['A', 'a'\] are the same"),
    ],
)
def test_a_frame_that_is_not_a_dataframe_is_refused(df: Any, problem: str) -> None:
    with pytest.raises(InvalidRequest, match=problem):
        from_frame(df)


def test_a_pyarrow_table_is_refused_with_a_lossless_conversion() -> None:
    big = 2**53 + 1
    table = pa.table(
        {
            "n": [big, None],
            "s": ["a", None],
            "d": [dt.date(2026, 1, 2), None],
            "t": [dt.datetime(2026, 1, 2, 3, tzinfo=dt.UTC), None],
            "x": [0.1, None],
            "b": [True, None],
        },
        schema=pa.schema(
            [
                ("n", pa.int64()),
                ("s", pa.string()),
                ("d", pa.date32()),
                ("t", pa.timestamp("us", "UTC")),
                ("x", pa.float64()),
                ("b", pa.bool_()),
            ]
        ),
    )
    with pytest.raises(InvalidRequest, match=r"df: is a pyarrow\.Table: pass df\.to_pandas") as no:
        bq_put(table, "demo-project.d.t")  # type: ignore[arg-type]
    instead = str(no.value).partition("pass ")[2]
    frame = eval(instead, {"df": table, "pd": pd})
    assert from_frame(frame).to_pylist() == table.to_pylist()
    assert from_frame(frame).schema.types == table.schema.types


@pytest.mark.parametrize(
    ("module", "method", "instead"),
    [
        ("polars.dataframe.frame", "to_pandas", "df.to_pandas()"),
        ("polars.lazyframe.frame", "collect", "df.collect().to_pandas()"),
        ("pyspark.sql.dataframe", "toPandas", "df.toPandas()"),
        ("dask.dataframe", "compute", "df.compute()"),
    ],
)
def test_tables_of_other_libraries_are_refused_with_the_call_that_converts_them(
    module: str, method: str, instead: str
) -> None:
    kind = type("DataFrame", (), {"__module__": module, method: lambda self: None})
    with pytest.raises(InvalidRequest) as caught:
        from_frame(kind())
    assert str(caught.value).endswith(f": pass {instead}")
