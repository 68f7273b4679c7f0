"""Signatures: the names and types of a training frame's columns in BigQuery, and the refusals."""

import datetime as dt
import json
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsys.artifact.signatures import Signature
from mlsys.columns.features import ACCEPTED, UNKNOWN, Feature, sql_type
from mlsys.errors import InvalidRequest, MetadataInvalid

UTC = dt.UTC
MOMENT = dt.datetime(2026, 1, 2, 3, 4, 5, 6)


@pytest.mark.parametrize(
    ("values", "dtype", "kind", "seen_as", "nullable"),
    [
        pytest.param([1, 2], None, "INT64", "int64", False, id="integers"),
        pytest.param([1, 2], "int8", "INT64", "int8", False, id="small integers"),
        pytest.param([1, 2], "uint32", "INT64", "uint32", False, id="unsigned integers"),
        pytest.param([1, None], "Int64", "INT64", "Int64", True, id="nullable integers"),
        pytest.param([1, None], None, "FLOAT64", "float64", True, id="integers with NULLs"),
        pytest.param([1.5, 2], "float32", "FLOAT64", "float32", False, id="float32"),
        pytest.param([1.5, None], "Float64", "FLOAT64", "Float64", True, id="nullable floats"),
        pytest.param([True, False], None, "BOOL", "bool", False, id="booleans"),
        pytest.param([True, None], "boolean", "BOOL", "boolean", True, id="nullable booleans"),
        pytest.param([True, None], object, "BOOL", "object", True, id="booleans as objects"),
        pytest.param(["a", None], None, "STRING", "str", True, id="text"),
        pytest.param(["a", None], object, "STRING", "object", True, id="text as objects"),
        pytest.param(["a", "b"], "string", "STRING", "string", False, id="nullable text"),
        pytest.param([None, None], object, "STRING", "object", True, id="nothing but NULLs"),
        pytest.param(["a", "b"], "category", "STRING", "category", False, id="text categories"),
        pytest.param([3, 1, 3], "category", "INT64", "category", False, id="number categories"),
        pytest.param([True], "category", "BOOL", "category", False, id="boolean categories"),
        pytest.param([b"a", None], object, "BYTES", "object", True, id="bytes"),
        pytest.param([MOMENT.date()], object, "DATE", "object", False, id="dates"),
        pytest.param([MOMENT.time()], object, "TIME", "object", False, id="times"),
        pytest.param([Decimal("1.5")], object, "NUMERIC", "object", False, id="decimals"),
        pytest.param(
            [MOMENT], "datetime64[ns]", "DATETIME", "datetime64[ns]", False, id="moments in ns"
        ),
        pytest.param(
            [MOMENT.replace(tzinfo=UTC), None],
            "datetime64[us, UTC]",
            "TIMESTAMP",
            "datetime64[us, UTC]",
            True,
            id="moments of a time zone",
        ),
    ],
)
def test_a_training_column_has_the_bigquery_type_and_its_own_dtype(
    values: list[Any], dtype: Any, kind: str, seen_as: str, nullable: bool
) -> None:
    feature = Feature.from_series("a", pd.Series(values, dtype=dtype))
    assert (feature.type, feature.dtype, feature.nullable) == (kind, seen_as, nullable)


def test_categories_keep_their_order() -> None:
    dtype = pd.CategoricalDtype(["low", "high"], ordered=True)
    feature = Feature.from_series("a", pd.Series(["high", None], dtype=dtype))
    assert feature.categories == ("low", "high")
    assert feature.ordered
    assert feature.nullable


@pytest.mark.parametrize(
    ("missing", "spelling"),
    [
        pytest.param(None, "none", id="None"),
        pytest.param(np.nan, "nan", id="NaN"),
        pytest.param(pd.NA, "na", id="NA"),
    ],
)
def test_an_object_column_keeps_its_spelling_of_a_missing_value(
    missing: Any, spelling: str
) -> None:
    feature = Feature.from_series("a", pd.Series(["x", missing], dtype=object))
    assert feature.missing == spelling


@pytest.mark.parametrize(
    ("series", "found"),
    [
        pytest.param(
            pd.Series([1, "a"], dtype=object),
            r"holds 1 in row 0 \(INT64\) and 'a' in row 1",
            id="number and text",
        ),
        pytest.param(
            pd.Series([b"a", "a"], dtype=object),
            r"holds b'a' in row 0 \(BYTES\) and 'a'",
            id="bytes and text",
        ),
        pytest.param(pd.Series([[1], [2]]), r"holds \[1\] in row 0, .* for list", id="lists"),
        pytest.param(pd.Series([1j]), "holds 1j in row 0, .* for complex", id="complex numbers"),
        pytest.param(pd.Series(pd.to_timedelta([1], "s")), "holds .* for duration", id="durations"),
        pytest.param(
            pd.Series(pd.period_range("2026", periods=2)), "holds .* for Period", id="periods"
        ),
        pytest.param(
            pd.Series(pd.cut([1, 2], 2)), "holds .* for Interval", id="intervals of pd.cut"
        ),
        pytest.param(
            pd.Series(pd.to_datetime(["2026-01-01"])).astype("category"),
            "has DATETIME values as categories",
            id="dates as categories",
        ),
    ],
)
def test_a_column_without_one_flat_type_is_refused_by_name(series: pd.Series, found: str) -> None:
    with pytest.raises(InvalidRequest, match=f"^X: column 'speed' {found}"):
        Signature.from_data(pd.DataFrame({"speed": series}))


def test_the_order_and_spelling_of_columns_are_kept() -> None:
    signature = Signature.from_data(pd.DataFrame({"Sex": ["f"], "age": [1.0], "c7": [True]}))
    assert signature.names == ["Sex", "age", "c7"]
    assert not signature.positional


def test_columns_that_differ_only_in_case_are_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"\['AGE', 'Age'\] are the same to BigQuery"):
        Signature.from_data(pd.DataFrame({"Age": [1], "AGE": [2], "Sex": [3]}))


def test_an_array_has_a_signature_of_positions() -> None:
    signature = Signature.from_data(np.array([[1.0, 2.0], [3.0, np.nan]]))
    assert signature.positional
    assert signature.names == ["x0", "x1"]
    assert [f.nullable for f in signature.features] == [False, True]
    assert Signature.from_data([[1, 2]]) == Signature.from_data(np.array([[1, 2]]))


@pytest.mark.parametrize("X", [pd.Series(["a", "b"]), np.array(["a", "b"]), ["a", "b"]])
def test_an_unnamed_series_has_a_signature_of_positions(X: Any) -> None:
    signature = Signature.from_data(X)
    assert (signature.series, signature.positional) == (True, True)
    assert [(f.name, f.type) for f in signature.features] == [("x0", "STRING")]


def test_a_named_series_is_one_column_of_that_name() -> None:
    signature = Signature.from_data(pd.Series(["a", None], name="text"))
    assert (signature.series, signature.positional) == (True, False)
    assert [(f.name, f.type) for f in signature.features] == [("text", "STRING")]
    assert Signature.from_dict(json.loads(json.dumps(signature.to_dict()))) == signature


def test_a_frame_of_numbered_columns_has_a_signature_of_positions() -> None:
    frame = pd.DataFrame([[1.0, "a"], [2.0, "b"]])
    signature = Signature.from_data(frame)
    assert signature.positional
    assert [(f.name, f.type) for f in signature.features] == [("x0", "FLOAT64"), ("x1", "STRING")]


def test_an_array_has_the_names_that_the_model_was_fitted_with() -> None:
    signature = Signature.from_data(np.zeros((2, 2)), ["a", "b"])
    assert (signature.names, signature.positional) == (["a", "b"], False)
    assert Signature.from_data(np.zeros((2, 2)), ["a"]).positional


@pytest.mark.parametrize(
    "X",
    [
        pytest.param(np.zeros((2, 2, 2)), id="three dimensions"),
        pytest.param(np.array(7), id="an array without dimensions"),
        pytest.param(7, id="a number"),
    ],
)
def test_training_data_has_one_or_two_dimensions(X: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"dimensions?: pass rows x features"):
        Signature.from_data(X)


@pytest.mark.parametrize(
    ("trained_on", "column", "accepted"),
    [
        pytest.param("FLOAT64", "INTEGER", True, id="whole numbers for floats"),
        pytest.param("FLOAT64", "NUMERIC", True, id="decimals for floats"),
        pytest.param("INT64", "INTEGER", True, id="the legacy name"),
        pytest.param("INT64", "FLOAT", False, id="floats for whole numbers"),
        pytest.param("INT64", "STRING", False, id="digits as text"),
        pytest.param("BOOL", "INT64", False, id="0 and 1 for booleans"),
        pytest.param("STRING", "BYTES", False, id="bytes for text"),
        pytest.param("TIMESTAMP", "DATETIME", False, id="no time zone"),
        pytest.param("NUMERIC", "FLOAT64", False, id="floats for decimals"),
    ],
)
def test_a_column_is_accepted_if_its_values_keep_their_meaning(
    trained_on: str, column: str, accepted: bool
) -> None:
    assert Feature("a", trained_on, "object").accepts(column) is accepted


@pytest.mark.parametrize("kind", sorted(ACCEPTED))
def test_every_type_accepts_itself(kind: str) -> None:
    assert Feature("a", kind, "object").accepts(kind)


@pytest.mark.parametrize(
    ("legacy", "standard"),
    [("INTEGER", "INT64"), ("FLOAT", "FLOAT64"), ("boolean", "BOOL"), ("RECORD", "STRUCT")],
)
def test_legacy_type_names_are_translated(legacy: str, standard: str) -> None:
    assert sql_type(legacy) == standard


features = st.builds(
    Feature,
    name=st.text(max_size=20),
    type=st.sampled_from(sorted(ACCEPTED)),
    dtype=st.sampled_from(["int64", "Int64", "object", "str", UNKNOWN]),
    nullable=st.booleans(),
    missing=st.sampled_from(["nan", "none"]),
)
categoricals = st.builds(
    Feature,
    name=st.text(max_size=20),
    type=st.sampled_from(["STRING", "INT64", "BOOL"]),
    dtype=st.just("category"),
    categories=st.lists(
        st.text() | st.integers() | st.booleans(), unique_by=lambda c: (type(c), c)
    ).map(tuple),
    ordered=st.booleans(),
)


@given(st.lists(features | categoricals, min_size=1, unique_by=lambda f: f.name), st.booleans())
def test_a_signature_survives_the_round_trip_through_json(
    found: list[Feature], positional: bool
) -> None:
    signature = Signature(tuple(found), positional)
    assert Signature.from_dict(json.loads(json.dumps(signature.to_dict()))) == signature


@pytest.mark.parametrize(
    ("item", "dtype"),
    [
        pytest.param({"type": "INTEGER"}, "int64", id="INT64"),
        pytest.param({"type": "float64"}, "float64", id="FLOAT64"),
        pytest.param({"type": "STRING"}, "str", id="STRING"),
        pytest.param({"type": "TIMESTAMP"}, "datetime64[us, UTC]", id="TIMESTAMP"),
        pytest.param({"type": "NUMERIC"}, "object", id="NUMERIC"),
        pytest.param({"type": "STRING", "categories": ["a"]}, "category", id="categories"),
        pytest.param({"type": "INT64", "dtype": "int8"}, "int8", id="an explicit dtype"),
    ],
)
def test_a_handwritten_feature_gets_the_default_dtype_of_its_type(
    item: dict[str, Any], dtype: str
) -> None:
    signature = Signature.from_dict({"features": [{"name": "a", **item}]})
    assert signature.features[0].dtype == dtype
    assert signature.features[0].nullable


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        pytest.param(None, "signature: pass", id="null"),
        pytest.param([], "signature: pass", id="a list"),
        pytest.param("a", "signature: pass", id="text"),
        pytest.param({}, "signature: pass", id="no features"),
        pytest.param({"features": []}, "signature: pass", id="empty features"),
        pytest.param({"features": {"a": "INT64"}}, "signature: pass", id="features by name"),
        pytest.param({"features": ["a"]}, r"features\[0\] has no name", id="names alone"),
        pytest.param({"features": [{"name": 1}]}, r"features\[0\] has no name", id="number name"),
        pytest.param({"features": [{"name": "a"}]}, "'a' has type None", id="no type"),
        pytest.param(
            {"features": [{"name": "a", "type": "int"}]},
            r"'a' has type 'int': pass one of \['BIGNUMERIC'",
            id="an unknown type",
        ),
        pytest.param(
            {"features": [{"name": "a", "type": "ARRAY"}]}, "'a' has type 'ARRAY'", id="an array"
        ),
        pytest.param(
            {"features": [{"name": "a", "type": "INT64"}] * 2}, "'a' is a duplicate", id="duplicate"
        ),
        pytest.param(
            {"features": [{"name": "a", "type": "STRING", "dtype": "category"}]},
            "'a' needs a list of categories",
            id="a category without categories",
        ),
    ],
)
def test_a_malformed_signature_is_refused_with_the_reason(value: Any, reason: str) -> None:
    with pytest.raises(MetadataInvalid, match=reason):
        Signature.from_dict(value)
