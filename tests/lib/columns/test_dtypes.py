"""Every dtype that `upload_model` accepts survives the round trip from training through a table."""

import datetime as dt
import json
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from mlsys.artifact.describe import build
from mlsys.artifact.golden import golden_table, replay
from mlsys.artifact.metadata import ModelMetadata
from mlsys.artifact.signatures import Signature
from mlsys.columns.arrow_types import arrow_type
from mlsys.columns.dtypes import arrow_of, is_readable, name_of
from mlsys.columns.frames import to_model_frame
from mlsys.errors import InvalidRequest, MetadataInvalid
from mlsys.local.stack import LocalStack
from scoring_cases import Lab

MOMENT = dt.datetime(2024, 2, 29, 12, 30, 15, 250)
AWARE = MOMENT.replace(tzinfo=dt.UTC)
DAY, CLOCK, MONEY = MOMENT.date(), MOMENT.time(), Decimal("12.500000001")
BIG = Decimal("0." + "1" * 20 + "0" * 18)  # in BigQuery's form of a BIGNUMERIC


def arrow(kind: pa.DataType, *values: Any) -> pd.Series:
    return pd.Series(values, dtype=pd.ArrowDtype(kind))


TAKEN = {
    "decimal": (arrow(pa.decimal128(38, 9), MONEY, None, MONEY), "NUMERIC"),
    "small decimal": (arrow(pa.decimal128(10, 2), Decimal("1.25"), None), "NUMERIC"),
    "wide decimal": (arrow(pa.decimal256(76, 38), BIG, None), "BIGNUMERIC"),
    "timestamp": (arrow(pa.timestamp("us"), MOMENT, None), "DATETIME"),
    "timestamp ns": (arrow(pa.timestamp("ns"), MOMENT), "DATETIME"),
    "timestamp UTC": (arrow(pa.timestamp("us", tz="UTC"), AWARE, None), "TIMESTAMP"),
    "timestamp Berlin": (arrow(pa.timestamp("ns", tz="Europe/Berlin"), AWARE), "TIMESTAMP"),
    "arrow text": (arrow(pa.string(), "a", None), "STRING"),
    "large text": (arrow(pa.large_string(), "a", None), "STRING"),
    "arrow integers": (arrow(pa.int64(), 2**60 + 1, None), "INT64"),
    "arrow int8": (arrow(pa.int8(), 1, None), "INT64"),
    "arrow uint32": (arrow(pa.uint32(), 1, 2), "INT64"),
    "arrow doubles": (arrow(pa.float64(), 1.5, None), "FLOAT64"),
    "arrow floats": (arrow(pa.float32(), 1.5, None), "FLOAT64"),
    "arrow booleans": (arrow(pa.bool_(), True, None), "BOOL"),
    "arrow bytes": (arrow(pa.binary(), b"a", None), "BYTES"),
    "date32": (arrow(pa.date32(), DAY, None), "DATE"),
    "date64": (arrow(pa.date64(), DAY, None), "DATE"),
    "time64": (arrow(pa.time64("us"), CLOCK, None), "TIME"),
    "time64 ns": (arrow(pa.time64("ns"), CLOCK), "TIME"),
    "dictionary": (arrow(pa.dictionary(pa.int32(), pa.string()), "a", None, "b"), "STRING"),
    "Int64": (pd.Series([2**60 + 1, None], dtype="Int64"), "INT64"),
    "UInt8": (pd.Series([1, None], dtype="UInt8"), "INT64"),
    "Float32": (pd.Series([1.5, None], dtype="Float32"), "FLOAT64"),
    "boolean": (pd.Series([True, None], dtype="boolean"), "BOOL"),
    "string": (pd.Series(["a", None], dtype="string"), "STRING"),
    "str": (pd.Series(["a", None]), "STRING"),
    "float16": (pd.Series([1.5, 2.0], dtype="float16"), "FLOAT64"),
    "uint64": (pd.Series([1, 2**62], dtype="uint64"), "INT64"),
    "text categories": (pd.Series(["b", "a", None], dtype="category"), "STRING"),
    "ordered numbers": (
        pd.Series(pd.Categorical([3, 1], [3, 2, 1], ordered=True)),
        "INT64",
    ),
    "boolean categories": (pd.Series([True, False, None], dtype="category"), "BOOL"),
    "float categories": (pd.Series([1.5, None], dtype="category"), "FLOAT64"),
    "datetime s": (pd.Series([MOMENT.replace(microsecond=0)], dtype="datetime64[s]"), "DATETIME"),
    "datetime ms, missing": (
        pd.Series([MOMENT.replace(microsecond=0), None], dtype="datetime64[ms]"),
        "DATETIME",
    ),
    "datetime Berlin": (
        pd.Series([AWARE, None], dtype="datetime64[ns, Europe/Berlin]"),
        "TIMESTAMP",
    ),
    "datetime of an offset": (pd.Series([pd.Timestamp("2024-01-01T00:00+01:00")]), "TIMESTAMP"),
    "decimals": (pd.Series([MONEY, None]), "NUMERIC"),
    "long decimals": (pd.Series([BIG]), "NUMERIC"),
    "dates": (pd.Series([DAY, None]), "DATE"),
    "times": (pd.Series([CLOCK, None]), "TIME"),
    "floats beside pd.NA": (pd.Series([1.5, pd.NA], dtype=object), "FLOAT64"),
    "text beside pd.NA": (pd.Series(["a", pd.NA], dtype=object), "STRING"),
    "text beside None": (pd.Series(["a", None], dtype=object), "STRING"),
}


class Seen(BaseEstimator):
    """Answers with the dtypes and values that it was given, so that any difference is visible."""

    fitted_ = True

    def fit(self, X: pd.DataFrame, y: Any = None) -> "Seen":
        return self

    def predict(self, X: pd.DataFrame) -> np.ndarray:
        kinds = ",".join(map(str, X.dtypes))
        values = zip(*(X.iloc[:, i] for i in range(X.shape[1])), strict=True)
        return np.array([f"{kinds}: {row!r}" for row in values])


@pytest.mark.parametrize("case", TAKEN)
def test_a_column_read_from_a_table_equals_the_training_column(case: str) -> None:
    series, kind = TAKEN[case]
    X = pd.DataFrame({"a": series, "n": 1.0})
    metadata = ModelMetadata.parse(json.dumps(build(Seen(), X=X)).encode())
    assert metadata.signature is not None
    assert metadata.signature.features[0].type == kind
    table = golden_table(metadata)
    assert table is not None
    pd.testing.assert_frame_equal(to_model_frame(table, metadata.signature.features), X)
    assert replay(Seen(), metadata) is None
    nulls = pa.table({n: pa.nulls(2, arrow_type(t)) for n, t in (("a", kind), ("n", "FLOAT64"))})
    assert to_model_frame(nulls, metadata.signature.features)["a"].isna().all()


@pytest.mark.filterwarnings("ignore:pandas.DataFrame with sparse columns")
@pytest.mark.parametrize("values", [[0.0, 1.5, 0.0], [True, False, False], [0, 3, 0], [np.nan, 1]])
def test_sparse_columns_come_back_dense(values: list[Any]) -> None:
    X = pd.DataFrame({"a": pd.arrays.SparseArray(values), "n": np.arange(len(values))})
    model = Ridge().fit(X.fillna(0), range(len(X)))
    document = build(model, X=X.fillna(0))
    metadata = ModelMetadata.parse(json.dumps(document).encode())
    assert metadata.signature is not None
    assert metadata.signature.features[0].dtype == str(np.array(values).dtype)
    assert replay(model, metadata) is None
    old = {"features": [{"name": "a", "type": "FLOAT64", "dtype": "Sparse[float64, 0]"}]}
    assert Signature.from_dict(old).features[0].dtype == "float64"


@pytest.mark.parametrize(
    ("series", "held"),
    [
        (arrow(pa.list_(pa.int64()), [1]), "list"),
        (arrow(pa.duration("us"), dt.timedelta(1)), "duration"),
        (arrow(pa.struct([("a", pa.int64())]), {"a": 1}), "struct"),
        (arrow(pa.null(), None), "null"),
        (pd.Series(pd.interval_range(0, 2)), "Interval"),
        (pd.Series([1j]), "complex"),
        (pd.Series([dt.timedelta(1)]), "duration"),
    ],
)
def test_a_column_that_no_table_can_hold_is_refused_by_name(series: pd.Series, held: str) -> None:
    with pytest.raises(InvalidRequest, match=f"^X: column 'a' holds .*{held}"):
        build(Seen(), X=pd.DataFrame({"a": series}))


@pytest.mark.parametrize(
    "dtype", ["no such", "decimal128(99, 9)[pyarrow]", "nothing[pyarrow]", "timestamp[h][pyarrow]"]
)
def test_an_unknown_dtype_in_metadata_is_refused(dtype: str) -> None:
    features = [{"name": "a", "type": "INT64", "dtype": dtype}]
    with pytest.raises(MetadataInvalid, match="'a' has dtype"):
        Signature.from_dict({"features": features})


def test_values_that_an_arrow_dtype_cannot_hold_are_refused() -> None:
    for kind, dtype, value in (
        ("INT64", "int8[pyarrow]", 300),
        ("FLOAT64", "float[pyarrow]", 1e300),
        ("NUMERIC", "decimal128(10, 2)[pyarrow]", Decimal("1.001")),
    ):
        features = Signature.from_dict(
            {"features": [{"name": "a", "type": kind, "dtype": dtype}]}
        ).features
        with pytest.raises(Exception, match=r"a: .* do not fit"):
            to_model_frame(pa.table({"a": pa.array([value], arrow_type(kind))}), features)


def test_arrow_types_are_read_from_their_names() -> None:
    for series, _ in TAKEN.values():
        if isinstance(series.dtype, pd.ArrowDtype):
            assert arrow_of(name_of(series.dtype)) == series.dtype.pyarrow_dtype
    assert is_readable("datetime64[us, UTC]")


class ByIndex(Seen):
    """Reads the index, which no table has."""

    def predict(self, X: pd.DataFrame) -> np.ndarray:
        return X.index.to_numpy()


def test_a_model_whose_answers_change_for_rows_from_a_table_is_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"^X: comes back from a table in another form.*a \("):
        build(ByIndex(), X=pd.DataFrame({"a": np.arange(40.0)}))


# On the local stack


@pytest.fixture
def lab(stack: LocalStack, environment: dict[str, str]) -> Lab:
    return Lab(stack)


def test_a_frame_of_arrow_dtypes_is_uploaded_and_scored(lab: Lab) -> None:
    rows = 40
    plain = pd.DataFrame(
        {
            "price": [Decimal(i) / 4 for i in range(rows)],
            "count": range(rows),
            "rate": np.linspace(0, 1, rows),
            "sold": [i % 3 == 0 for i in range(rows)],
            "kind": [["a", "b", None][i % 3] for i in range(rows)],
            "place": ["x", "y"] * (rows // 2),
        }
    )
    kinds = {
        "price": pa.decimal128(38, 9),
        "count": pa.int64(),
        "rate": pa.float64(),
        "sold": pa.bool_(),
        "kind": pa.large_string(),
        "place": pa.dictionary(pa.int32(), pa.string()),
    }
    X = plain.astype({name: pd.ArrowDtype(kind) for name, kind in kinds.items()})
    numbers = ["price", "count", "rate", "sold"]
    model = make_pipeline(
        ColumnTransformer([("n", StandardScaler(), numbers), ("t", OneHotEncoder(), ["place"])]),
        Ridge(),
    ).fit(X, np.arange(rows) ** 2)
    table = lab.put(plain.assign(id=range(rows)))
    _, got = lab.score(table, lab.upload(model, X), id_columns="id")
    np.testing.assert_allclose(got["prediction"], model.predict(X), rtol=1e-9)


@pytest.mark.parametrize("bare", [False, True], ids=["uploaded", "a bare pickle"])
def test_columns_without_names_are_scored_in_their_order(lab: Lab, bare: bool) -> None:
    numbers = np.random.RandomState(0).rand(40, 3)
    y = numbers @ [1.0, 2.0, 3.0]
    table = lab.put(pd.DataFrame(numbers, columns=["u", "v", "w"]).assign(id=range(40)))
    for X in (pd.DataFrame(numbers), numbers):
        model = LinearRegression().fit(X, y)
        name = lab.put_pickle(model) if bare else lab.upload(model, X)
        _, got = lab.score(table, name, id_columns="id")
        np.testing.assert_allclose(got["prediction"], y)


def test_an_array_of_a_model_that_knows_its_names_is_matched_by_name(lab: Lab) -> None:
    X = pd.DataFrame(np.random.RandomState(0).rand(40, 2), columns=["u", "v"])
    model = HistGradientBoostingRegressor(max_iter=5).fit(X, X["u"] - X["v"])
    table = lab.put(X[["v", "u"]].assign(id=range(40)))
    _, got = lab.score(table, lab.upload(model, X.to_numpy()))
    np.testing.assert_allclose(got["prediction"], model.predict(X))
