"""Text columns as dictionaries hold the same rows, and give the same counts."""

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsys.columns.bins import CATEGORY, PLAIN, Bins, count
from mlsys.columns.coded import FEW, coded, decoded

KNOWN = ("a", "b", "é", "")
TEXTS = st.one_of(st.sampled_from([*KNOWN * 10, "x", "yy"]), st.none())


@settings(max_examples=60)
@given(st.lists(TEXTS, max_size=60), st.integers(0, 60))
def test_a_coded_column_has_the_same_rows_and_counts(values: list[Any], cut: int) -> None:
    column = pa.chunked_array([values[:cut], values[cut:]], pa.string())
    out = coded(column, KNOWN)
    assert decoded(pa.table({"x": out})).column("x").to_pylist() == values
    for bins in (
        Bins(CATEGORY, values=KNOWN),
        Bins(CATEGORY, values=("x", "a")),
        Bins(CATEGORY),
        Bins(PLAIN),
    ):
        assert count(bins, out) == count(bins, column)
        assert count(bins, column.dictionary_encode()) == count(bins, column)


@pytest.mark.parametrize("known", [1, FEW - 1, FEW, FEW + 1, 200])
@pytest.mark.parametrize("missing", [[], [None] * 3], ids=["no NULL", "NULLs"])
def test_each_text_is_counted_however_many_are_known(known: int, missing: list[None]) -> None:
    texts = [f"text {i}" for i in range(known)]
    values = [*(t for i, t in enumerate(texts) for _ in range(i % 7)), "another", *missing]
    column = pa.chunked_array([values], pa.string())
    for form in (column, coded(column, texts), column.dictionary_encode()):
        counts = count(Bins(CATEGORY, values=tuple(texts)), form)
        assert counts.bins == tuple(i % 7 for i in range(known))
        assert (counts.other, counts.nulls) == (1, len(missing))


@pytest.mark.parametrize(
    ("others", "texts"),
    [
        pytest.param([], KNOWN, id="known texts only"),
        pytest.param(["x", "y", "x"], (*KNOWN, "x", "y"), id="a few others"),
        pytest.param([f"x{i}" for i in range(30)], None, id="many others"),
    ],
)
def test_a_dictionary_begins_with_the_known_texts(others: list[str], texts: Any) -> None:
    column = pa.chunked_array([["a", None, *"b" * 40, *others]], pa.string())
    out = coded(column, KNOWN)
    if texts is None:
        assert out is column
    else:
        assert out.num_chunks == 1
        assert out.chunk(0).dictionary.to_pylist() == list(texts)


@pytest.mark.parametrize("column", [pa.chunked_array([[1, 2]]), pa.chunked_array([], pa.string())])
def test_other_columns_stay(column: Any) -> None:
    assert coded(column, KNOWN) is column
    assert coded(pa.chunked_array([["a"]]), ()).type == pa.string()


def test_named_columns_stay_dictionaries() -> None:
    table = pa.table({"x": pa.array(["a"]).dictionary_encode(), "y": pa.array([1])})
    assert decoded(table, ["x"]) is table
