"""Counts in fixed bins are exact, and add up to the same for any split of the rows."""

import datetime as dt
import json
from decimal import Decimal
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsys.columns.bins import CATEGORY, NUMBER, Bins, Counts, count, nothing

EDGES = Bins(NUMBER, edges=(0, 10, 20))


def counted(bins: Bins, values: list[Any], kind: pa.DataType) -> dict[str, Any]:
    return count(bins, pa.chunked_array([pa.array(values, kind)])).to_dict()


def test_a_number_has_bins_and_a_place_for_every_other_value() -> None:
    values = [0.0, 5.0, 10.0, 10.5, 20.0, None, float("nan"), -1.0, 21.0, float("inf")]
    assert counted(EDGES, values, pa.float64()) == {
        **{"rows": 10, "nulls": 1, "nans": 1, "below": 1, "above": 2, "bins": [3, 2]},
        **{"min": -1.0, "max": float("inf")},
    }


def test_two_equal_first_edges_make_a_bin_of_one_value() -> None:
    bins = Bins(NUMBER, edges=(0, 0, 10))
    assert counted(bins, [0, 0, 1, 10], pa.int64())["bins"] == [2, 2]


@pytest.mark.parametrize(
    ("edges", "values", "kind", "bins", "least"),
    [
        pytest.param(
            (0, 1.5, 3), [0, 1, 2, 3], pa.int64(), [2, 2], 0.0, id="integers, edges between"
        ),
        pytest.param((2**62, 2**62 + 1), [2**62, 2**62 + 2], pa.int64(), [1], 2**62, id="large"),
        pytest.param(
            (0, 1, 2), [Decimal("0.5"), Decimal(2)], pa.decimal128(38, 9), [1, 1], 0.5, id="NUMERIC"
        ),
        pytest.param(
            ("2026-01-01", "2026-01-31"),
            [dt.date(2026, 1, 5)],
            pa.date32(),
            [1],
            "2026-01-05",
            id="DATE",
        ),
        pytest.param(
            ("01:00:00", "02:00:00"), [dt.time(1, 30)], pa.time64("us"), [1], "01:30:00", id="TIME"
        ),
        pytest.param(
            ("2026-01-01T00:00:00+00:00", "2026-01-02T00:00:00+00:00"),
            [dt.datetime(2026, 1, 1, 5, tzinfo=dt.UTC)],
            pa.timestamp("us", "UTC"),
            [1],
            "2026-01-01T05:00:00+00:00",
            id="TIMESTAMP",
        ),
    ],
)
def test_ordered_values_of_each_type_are_compared_with_the_edges(
    edges: Any, values: Any, kind: pa.DataType, bins: list[int], least: Any
) -> None:
    out = counted(Bins(NUMBER, edges=edges), values, kind)
    assert (out["bins"], out["min"]) == (bins, least)


@pytest.mark.parametrize(
    ("values", "column", "kind", "bins"),
    [
        (("a", "b"), ["a", "c", None, "a"], pa.string(), [2, 0]),
        ((False, True), [True, None], pa.bool_(), [0, 1]),
        ((1, 2, 3), [1, 1, 3, 4], pa.int64(), [2, 0, 1]),
        ((0.5, 1), [0.5, 1.0, float("nan")], pa.float64(), [1, 1]),
        ((0.5, 1), [1, 1], pa.int64(), [0, 2]),
        ((), ["a"], pa.string(), None),
    ],
)
def test_a_category_counts_its_values_and_others(
    values: Any, column: Any, kind: pa.DataType, bins: Any
) -> None:
    out = count(Bins(CATEGORY, values=values), pa.array(column, kind))
    assert out.to_dict().get("bins") == bins
    assert out.rows == out.missing + out.other + sum(out.bins) == len(column)


def test_a_plain_column_has_its_missing_values_and_its_range_alone() -> None:
    assert counted(Bins(), ["a", None], pa.string()) == {"rows": 2, "nulls": 1, "other": 1}
    assert counted(Bins(), [3, 1], pa.int64()) == {"rows": 2, "other": 2, "min": 1, "max": 3}
    assert count(EDGES, pa.chunked_array([], pa.float64())) == nothing(EDGES)


NUMBERS = st.lists(
    st.one_of(st.none(), st.floats(width=16), st.sampled_from([0.0, -0.0, 10.0])), max_size=60
)


@settings(max_examples=60)
@given(NUMBERS, st.lists(st.integers(0, 60), max_size=6), st.randoms(use_true_random=False))
def test_the_sum_is_the_same_for_any_split_in_any_order(
    values: list[Any], cuts: list[int], random: Any
) -> None:
    column = pa.array(values, pa.float64())
    ends = sorted({0, len(values), *(cut for cut in cuts if cut < len(values))})
    pieces = [count(EDGES, column[start:end]) for start, end in pairwise(ends)]
    random.shuffle(pieces)
    total = sum((Counts.from_dict(piece.to_dict()) for piece in pieces), nothing(EDGES))
    assert json.dumps(total.to_dict()) == json.dumps(count(EDGES, column).to_dict())
    known = [value for value in values if value is not None]
    assert total.bins == (sum(0 <= v <= 10 for v in known), sum(10 < v <= 20 for v in known))


def test_counts_are_those_of_numpy() -> None:
    values = np.random.default_rng(0).normal(size=10_000)
    edges = tuple(np.quantile(values[:500], np.linspace(0, 1, 11)).tolist())
    out = count(Bins(NUMBER, edges=edges), pa.array(values))
    places = np.bincount(np.searchsorted(edges, values, side="left"), minlength=12)
    first = int((values == edges[0]).sum())
    assert (out.below, *out.bins, out.above) == (
        *(places[0] - first, places[1] + first),
        *places[2:],
    )


@pytest.mark.parametrize(
    "value",
    [
        {"kind": "circle"},
        {"kind": "number", "edges": [1]},
        {"kind": "number", "edges": [2, 1]},
        {"kind": "number", "edges": [1, "2"]},
        {"kind": "number", "edges": [1, True]},
        {"kind": "category", "values": [None]},
        {},
    ],
)
def test_malformed_bins_are_refused(value: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError, KeyError)):
        Bins.from_dict(value)


def test_counts_of_other_bins_cannot_be_added() -> None:
    with pytest.raises(ValueError, match="2 bins and 3"):
        Counts(bins=(1, 2)) + Counts(bins=(1, 2, 3))


def test_bins_have_names_and_an_id() -> None:
    assert Bins(NUMBER, edges=(0, 10, 20)).labels == ("[0, 10]", "(10, 20]")
    assert Bins(CATEGORY, values=("a", 1, True)).labels == ("a", "1", "true")
    assert EDGES.id == Bins.from_dict(json.loads(json.dumps(EDGES.to_dict()))).id
    assert EDGES.id != Bins(NUMBER, edges=(0, 10, 21)).id


@pytest.mark.parametrize("kind", [pa.float64(), pa.float32(), pa.decimal128(38, 9)])
def test_categories_with_fractions_are_those_of_every_type(kind: pa.DataType) -> None:
    """0.1 of training data in float32 is 0.10000000149 as FLOAT64."""
    values = [Decimal(i).scaleb(-1) for i in range(1, 8)]
    column = pa.array([*map(float, values), 0.15] if kind != pa.decimal128(38, 9) else values, kind)
    for known in (map(float, values), (float(np.float32(value)) for value in values)):
        said = count(Bins(CATEGORY, values=tuple(known)), column)
        assert (said.bins, said.other) == ((1,) * 7, len(column) - 7)


def test_categories_that_float32_does_not_tell_apart_are_compared_as_they_are() -> None:
    bins = Bins(CATEGORY, values=(0.5, 0.5 + 1e-12, 1e300))
    assert counted(bins, [0.5, 0.5 + 1e-12, 1e300, 2e300], pa.float64())["bins"] == [1, 1, 1]
