"""Column names: compared as BigQuery compares them, and refused where BigQuery refuses them."""

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from in_process import columns_of_outputs, features_of
from mlsys.artifact.describe import build
from mlsys.artifact.metadata import ModelMetadata
from mlsys.artifact.signatures import Signature
from mlsys.bq import bq_put
from mlsys.cloud.tables import TableRef
from mlsys.columns.arrow_types import arrow_type
from mlsys.columns.frames import from_frame, to_model_frame
from mlsys.columns.names import (
    MAX_NAME,
    RESERVED_PREFIXES,
    check_column_names,
    duplicates,
    fold,
    is_plain,
    name_fault,
    proposed_name,
    same_name,
)
from mlsys.errors import InvalidRequest, SchemaMismatch
from workers.query import column_sql
from workers.scoring.planning.columns import (
    PARQUET_TYPES,
    Column,
    check_output_names,
    choose_ids,
)
from workers.scoring.shards.open_session import check_flat
from workers.scoring.shards.scorer import arrow_schema, assemble

# Pairs that one of Python's ways to ignore case takes for equal: casefold, lower or upper.
TWO_NAMES = [
    pytest.param("straße", "strasse", id="sharp s"),
    pytest.param("µ", "μ", id="micro sign and mu"),
    pytest.param("ς", "σ", id="final sigma"),
    pytest.param("İ", "i̇", id="dotted I"),
    pytest.param("ı", "I", id="dotless i"),
    pytest.param("ſ", "s", id="long s"),
    pytest.param("\u212a", "k", id="Kelvin sign"),
    pytest.param("Ä", "ä", id="umlaut"),
    pytest.param("Я", "я", id="Cyrillic"),
    pytest.param("\ufb01", "fi", id="ligature"),
    pytest.param("e\u0301", "é", id="not normalized"),
]


@pytest.mark.parametrize(("a", "b"), TWO_NAMES)
def test_case_is_ignored_only_in_ascii(a: str, b: str) -> None:
    assert not same_name(a, b)
    assert same_name(f"{a}_Id", f"{a}_iD")
    assert duplicates([a, b]) == []


@given(st.text())
def test_names_are_equal_if_their_ascii_lower_case_is(name: str) -> None:
    swapped = "".join(c.swapcase() if c.isascii() else c for c in name)
    assert same_name(name, swapped)
    assert fold(fold(name)) == fold(name)
    assert len(fold(name)) == len(name)


@pytest.mark.parametrize(("a", "b"), TWO_NAMES)
def test_a_model_gets_its_own_one_of_two_similar_columns(a: str, b: str) -> None:
    model = LogisticRegression().fit(pd.DataFrame({a: [1.0, 2, 3, 4]}), [0, 0, 1, 1])
    table = [Column("id", "INT64"), Column(a, "FLOAT64"), Column(b, "FLOAT64")]
    features, _ = features_of(table, model, ModelMetadata(), ["id"])
    frame = to_model_frame(pa.table({a: [1.0, 2.0], b: [99.0, 98.0]}), features)
    assert frame[a].tolist() == [1.0, 2.0]
    assert [c.name for c in choose_ids(table, features, ModelMetadata(), None)] == ["id", b]


@pytest.mark.parametrize(("a", "b"), TWO_NAMES)
def test_a_frame_a_signature_and_an_output_may_hold_both_names(a: str, b: str) -> None:
    frame = pd.DataFrame({a: [1.0, 2.0], b: [3.0, 4.0]})
    assert from_frame(frame).to_pydict() == {a: [1.0, 2.0], b: [3.0, 4.0]}
    assert Signature.from_data(frame).names == [a, b]
    ids = [Column(a, "FLOAT64"), Column(b, "FLOAT64")]
    model = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    columns, _ = columns_of_outputs(ids, model, (), ("predict",))
    assert [c.name for c in columns][:2] == [a, b]
    table = assemble(arrow_schema(ids), {a: pa.array([1.0]), b: pa.array([2.0])}, 1)
    assert table.to_pydict() == {a: [1.0], b: [2.0]}


@pytest.mark.parametrize(("target", "id_column"), [("Ä", "ä"), ("Я", "я"), ("\u212a", "k")])
def test_a_written_name_that_bigquery_may_take_for_an_id_is_refused(
    target: str, id_column: str
) -> None:
    model = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    with pytest.raises(SchemaMismatch, match=f"{target}: is like '{id_column}'"):
        columns_of_outputs([Column(id_column, "INT64")], model, (target,), ("predict",))
    other = [Column("straße", "INT64"), Column(f"{id_column}_", "INT64")]
    columns_of_outputs(other, model, (target,), ("predict",))


def test_a_missing_feature_names_the_column_whose_case_differs() -> None:
    model = LogisticRegression().fit(
        pd.DataFrame({"Größe": [1.0, 2], "Änderung": [1.0, 2]}), [0, 1]
    )
    table = [Column("größe", "FLOAT64"), Column("änderung", "FLOAT64")]
    with pytest.raises(
        SchemaMismatch, match="Änderung: is missing; the table's 'änderung'"
    ) as caught:
        features_of(table, model, ModelMetadata(), None)
    assert [name for name, _ in caught.value.columns] == ["Änderung"]  # G and g are one to BigQuery


def test_features_that_bigquery_takes_for_one_column_are_refused() -> None:
    model = LogisticRegression().fit(pd.DataFrame({"Age": [1.0, 2], "age": [3.0, 4]}), [0, 1])
    with pytest.raises(SchemaMismatch, match="age: is one column to BigQuery"):
        features_of([Column("age", "FLOAT64")], model, ModelMetadata(), None)


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("age", True),
        ("_x1", True),
        ("a" * MAX_NAME, True),
        ("education-num", False),
        ("first name", False),
        ("größe", False),
        ("客户", False),
        ("2020-2021", False),
        ("0", False),
        ("a%", False),
        ("<=50K", False),
        ("it's", False),
        ("x\u00b2", False),
        ("_field_1", False),
    ],
)
def test_names_that_bigquery_accepts(name: str, plain: bool) -> None:
    assert name_fault(name) is None
    assert is_plain(name) is plain
    check_column_names([name], "df")


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        *((f"a{sign}b", f"holds {sign!r}") for sign in '!"$()*,./;?@[\\]^`{}~'),
        ("temp °C", "holds '°'"),
        ("a\nb", r"holds '\n'"),
        ("a\tb", r"holds '\t'"),
        ("🚢", "holds '🚢'"),
        ("\udc80", r"holds '\udc80'"),
        ("", "is empty"),
        (" ", "is empty"),
        ("a" * (MAX_NAME + 1), "has 301 characters"),
        *((f"{p.lower()}x", f"begins with {p}") for p in RESERVED_PREFIXES),
        (0, "is of type int"),
        (float("nan"), "is of type float"),
        (None, "is of type NoneType"),
        (("a", "x"), "is of type tuple"),
        (pd.Timestamp("2026-01-01"), "is of type Timestamp"),
        (np.int64(3), "is of type int64"),
    ],
)
def test_impossible_column_names_are_refused_with_a_proposal(name: Any, fault: str) -> None:
    assert fault in (name_fault(name) or "")
    assert name_fault(proposed_name(name)) is None
    for check in (
        lambda: check_column_names([name], "df"),
        lambda: bq_put(
            pd.DataFrame([[1]], columns=pd.Index([name], dtype=object, tupleize_cols=False)),
            "my-project.d.t",
        ),
    ):
        with pytest.raises(InvalidRequest) as caught:
            check()
        assert fault in str(caught.value)
        assert "df.columns = [" in str(caught.value) or proposed_name(name) in str(caught.value)


@given(st.text() | st.integers() | st.floats() | st.tuples(st.text(), st.integers()))
def test_a_proposed_name_is_valid(name: Any) -> None:
    assert name_fault(proposed_name(name)) is None


def test_up_to_five_wrong_columns_are_named() -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_column_names([f"x{i} (cm)" for i in range(7)], "X")
    text = str(caught.value)
    assert "'x4 (cm)'" in text and "'x5 (cm)'" not in text and "2 more" in text
    assert "X.rename(columns={'x0 (cm)': 'x0_cm'" in text


def test_a_model_is_not_uploaded_with_features_that_no_table_can_have() -> None:
    with pytest.raises(InvalidRequest, match=r"X: column 'sepal length \(cm\)' holds '\('"):
        Signature.from_data(pd.DataFrame({"sepal length (cm)": [1.0], "ok": [2.0]}))


@pytest.mark.parametrize(
    ("y", "target"),
    [(pd.Series([0, 1], name="Höhe (m)"), None), (None, "Höhe (m)"), (None, ["ok", "Höhe (m)"])],
)
def test_a_target_that_no_column_of_the_output_can_have_is_refused(y: Any, target: Any) -> None:
    X = pd.DataFrame({"a": [0.0, 1.0]})
    model = LogisticRegression().fit(X, [0, 1])
    with pytest.raises(InvalidRequest, match=r"^(target|y): .*'Höhe \(m\)' holds.*pass 'Höhe_m'"):
        build(model, X=X, y=y, target=target)


@pytest.mark.parametrize("ids", ["passenger.id", ["ok", "passenger.id"]])
def test_an_id_column_that_no_table_has_is_refused_at_upload(ids: Any) -> None:
    X = pd.DataFrame({"a": [0.0, 1.0]})
    model = LogisticRegression().fit(X, [0, 1])
    with pytest.raises(InvalidRequest, match=r"^id_columns: .*pass 'passenger_id'"):
        build(model, X=X, id_columns=ids)


def test_a_column_named_like_its_table_is_not_the_row() -> None:
    table = TableRef("my-project", "d", "people")
    assert column_sql(table, "People") == "`people`.`People`"
    assert column_sql(table, "age") == "`age`"


def test_an_invalid_handwritten_target_is_refused_before_scoring() -> None:
    with pytest.raises(SchemaMismatch, match=r"a\.b: holds '\.'"):
        check_output_names([Column("größe", "INT64"), Column("a.b", "INT64")])


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (pa.month_day_nano_interval(), "month_day_nano_interval"),
        (pa.list_(pa.int64()), "list"),
        (pa.struct([("x", pa.int64())]), "struct"),
        (pa.duration("us"), "duration"),
    ],
)
def test_a_column_without_a_flat_type_is_named(kind: pa.DataType, said: str) -> None:
    schema = pa.schema([("c0", pa.int64()), ("c1", kind)])
    with pytest.raises(SchemaMismatch, match=f"größe: comes as {said}") as caught:
        check_flat(schema, {"c0": "id", "c1": "größe"})
    assert [name for name, _ in caught.value.columns] == ["größe"]


def test_every_flat_type_is_accepted() -> None:
    check_flat(pa.schema([(kind, arrow_type(kind)) for kind in PARQUET_TYPES]), {})


def test_a_missing_column_with_an_impossible_name_is_explained() -> None:
    frame = pd.DataFrame({"petal width (cm)": [1.0, 2.0]})
    model = LogisticRegression().fit(frame, [0, 1])
    with pytest.raises(SchemaMismatch, match=r"is missing; the name holds '\('.* rename"):
        features_of([Column("petal_width", "FLOAT64")], model, ModelMetadata(), None)


@pytest.mark.parametrize(
    ("index", "named"),
    [
        pytest.param(pd.Index([1, 2], name="id"), "an index named 'id'", id="a name"),
        pytest.param(pd.Index([1, 2], name=0), "an index named 0", id="a number"),
        pytest.param(
            pd.MultiIndex.from_tuples([(1, "a"), (2, "b")], names=["id", "kind"]),
            r"an index named \['id', 'kind'\]",
            id="levels",
        ),
        pytest.param(
            pd.MultiIndex.from_tuples([(1, "a"), (2, "b")]),
            "an index of data",
            id="levels without names",
        ),
        pytest.param(pd.date_range("2026-01-01", periods=2), "an index of data", id="dates"),
        pytest.param(pd.Index(["a", "b"]), "an index of data", id="text"),
    ],
)
def test_an_index_with_data_is_refused(index: pd.Index, named: str) -> None:
    with pytest.raises(InvalidRequest, match=f"df: has {named}.*reset_index"):
        bq_put(pd.DataFrame({"a": [1, 2]}, index=index), "my-project.d.t")
