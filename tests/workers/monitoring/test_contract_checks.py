"""A contract's checks over Arrow columns: the failing rows, and counts that add up exactly."""

import datetime as dt
import json
import math
import random
from decimal import Decimal
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.dummy import DummyRegressor

from mlsys.artifact.contract import Clause
from mlsys.artifact.contract_draft import draft
from mlsys.artifact.profile import Profile
from mlsys.artifact.profiling import build_profile
from mlsys.artifact.signatures import Signature
from mlsys.columns.bins import count
from mlsys.columns.stored import stored
from mlsys.errors import ContractBroken
from workers.monitoring.contract import (
    ContractCounts,
    PlannedContract,
    contract_summary,
    judge,
    stop_error,
    stopped_by,
    warnings_of,
)
from workers.monitoring.contract_checks import failing, newest

NAN = float("nan")
UTC = dt.UTC
AT = dt.datetime(2026, 11, 28, 12, tzinfo=UTC)


def marked(check: str, values: Any, kind: pa.DataType, parameters: dict[str, Any]) -> Any:
    """Return the places of the values that fail the check."""
    column = pa.chunked_array([pa.array(values, kind)])
    mask = failing(Clause(check, "warn", "x", parameters), column.type)(column)
    if mask is None:
        return []
    assert mask.null_count == 0
    places = [i for i, fails in enumerate(mask.to_pylist()) if fails]
    assert places, "a mask without a failing row costs a look for nothing"
    return places


BIG = 2**62 + 1


@pytest.mark.parametrize(
    ("check", "values", "kind", "parameters", "fail"),
    [
        ("not_null", [1, None, 2], pa.int64(), {}, [1]),
        ("not_null", [1.0, NAN, None], pa.float64(), {}, [1, 2]),
        ("not_null", ["a", ""], pa.string(), {}, []),
        ("ge", [1.0, NAN, None, -1.0], pa.float64(), {"value": 0}, [3]),
        ("gt", [0.0, 0.1], pa.float64(), {"value": 0}, [0]),
        ("gt", [1, 2], pa.int64(), {"value": 1.5}, [0]),
        ("ge", [1, 2], pa.int64(), {"value": 1.5}, [0]),
        ("lt", [1, 2], pa.int64(), {"value": 1.5}, [1]),
        ("le", [1, 2], pa.int64(), {"value": 1.5}, [1]),
        ("gt", [BIG, BIG + 1], pa.int64(), {"value": BIG}, [0]),  # exact beyond 2**53
        ("ge", [1, None], pa.int64(), {"value": 1e30}, [0]),
        ("le", [1, None], pa.int64(), {"value": 1e30}, []),
        ("ge", [1, None], pa.int64(), {"value": -1e30}, []),
        ("lt", [1, None], pa.int64(), {"value": -1e30}, [0]),
        ("in_range", [0, 5, 10, 11, -1], pa.int64(), {"min_value": 0, "max_value": 10}, [3, 4]),
        ("in_range", [5, 11], pa.int64(), {"max_value": 10}, [1]),
        ("in_range", [math.inf, -math.inf, 1.0], pa.float64(), {"min_value": 0}, [1]),
        ("in_range", [NAN, None], pa.float64(), {"min_value": 0, "max_value": 1}, []),
        ("in_range", [], pa.float64(), {"min_value": 0, "max_value": 1}, []),
        (
            "le",
            [Decimal("0.1"), Decimal("0.100000001"), None],
            pa.decimal128(38, 9),
            {"value": 0.1},
            [1],
        ),
        ("gt", [Decimal("0.1")], pa.decimal256(76, 38), {"value": 0.1}, [0]),
        ("le", [Decimal(1)], pa.decimal128(38, 9), {"value": 1e300}, []),
        ("lt", [dt.date(2026, 1, 1)], pa.date32(), {"value": "2026-01-01"}, [0]),
        (
            "ge",
            [dt.datetime(2026, 1, 1, tzinfo=UTC), dt.datetime(2025, 12, 31, 22, tzinfo=UTC)],
            pa.timestamp("us", tz="UTC"),
            {"value": "2026-01-01T00:00:00+01:00"},
            [1],
        ),
        ("ge", [dt.time(8), dt.time(20)], pa.time64("us"), {"value": "09:00:00"}, [0]),
        ("isin", ["a", "b", None, "c"], pa.string(), {"values": ["a", "b"]}, [3]),
        ("isin", [1, 2, None], pa.int64(), {"values": [1.0, 2.5]}, [1]),
        ("isin", [1, 2], pa.int64(), {"values": [1e30]}, [0, 1]),
        ("isin", [0.0, -0.0, NAN, None, 2.0], pa.float64(), {"values": [0]}, [4]),
        ("isin", [Decimal("0.1"), Decimal("0.2")], pa.decimal128(38, 9), {"values": [0.1]}, [1]),
        ("isin", [True, False, None], pa.bool_(), {"values": [True]}, [1]),
        ("isin", [dt.date(2026, 1, 2)], pa.date32(), {"values": ["2026-01-02"]}, []),
        ("notin", ["a", "b", None], pa.string(), {"values": ["a"]}, [0]),
        ("notin", [-0.0, NAN, 1.0], pa.float64(), {"values": [0]}, [0]),
        ("str_matches", ["A1", "xA1", "", None, "A\n"], pa.string(), {"pattern": "A"}, [1, 2]),
        ("str_matches", ["ab", "abc"], pa.string(), {"pattern": "a|ab$"}, []),
        (
            "str_length",
            ["é", "ab", "", None],
            pa.string(),
            {"min_value": 1, "max_value": 1},
            [1, 2],
        ),
    ],
)
def test_a_check_marks_the_rows_that_fail(
    check: str, values: Any, kind: pa.DataType, parameters: dict[str, Any], fail: list[int]
) -> None:
    assert marked(check, values, kind, parameters) == fail


@given(
    st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)), max_size=8),
    st.one_of(
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        st.sampled_from([0.5, -0.5, 2.0**63, -(2.0**63), 2.0**53 + 2]),
    ),
    st.sampled_from(["gt", "ge", "lt", "le"]),
)
def test_whole_numbers_are_compared_exactly(values: Any, bound: Any, check: str) -> None:
    holds = {
        "gt": lambda x: x > bound,
        "ge": lambda x: x >= bound,
        "lt": lambda x: x < bound,
        "le": lambda x: x <= bound,
    }[check]
    expected = [i for i, x in enumerate(values) if x is not None and not holds(x)]
    # Python compares an int with a float exactly
    assert marked(check, values, pa.int64(), {"value": bound}) == expected


def test_the_newest_value_is_the_end_of_a_date_and_a_moment_of_a_time() -> None:
    micros = 1_000_000
    times = pa.chunked_array([[dt.datetime(1970, 1, 1, 0, 1), None]], pa.timestamp("us"))
    assert newest(times) == 60 * micros
    assert newest(pa.chunked_array([[dt.date(1970, 1, 1)]])) == 24 * 3600 * micros
    assert newest(pa.chunked_array([pa.nulls(2, pa.date32())])) is None


CLAUSES = (
    Clause("in_range", "stop", "age", {"min_value": 0, "max_value": 100}),
    Clause("not_null", "warn", "age", max_share=0.25),
    Clause("freshness", "stop", "at", {"max_age_hours": 24}),
    Clause("row_count", "warn", None, {"min_value": 10}),
    Clause("exists", "stop", "gone"),
    Clause("in_range", "reject", "age", {"max_value": 50}),
)
CONTRACT = PlannedContract(7, clauses=CLAUSES)


def hours(number: float) -> int:
    return int((AT.timestamp() - number * 3600) * 1_000_000)


def test_the_verdict_names_each_broken_clause_with_its_figures() -> None:
    example = {"ids": {"id": 5}, "value": 130}
    counts = ContractCounts({0: 2, 1: 2, 5: 1}, {2: hours(30)}, {0: [example]})
    contract = PlannedContract(7, clauses=CLAUSES, known={"4": "the table has no such column"})
    broken = judge(contract, counts, 8, AT)
    assert [(b.place, b.why) for b in broken] == [
        (0, "2 of 8 rows fail"),  # exactly a quarter of the rows may be NULL: the second holds
        (2, "the newest value is 30.0 hours old"),
        (3, "there are 8 rows"),
        (4, "the table has no such column"),
        (5, "1 of 8 rows fails"),
    ]
    assert [b.place for b in stopped_by(broken, "enforce")] == [0, 2, 4]
    assert stopped_by(broken, "warn") == stopped_by(broken, "off") == []
    error = stop_error(stopped_by(broken, "enforce"), "Do that.")
    assert isinstance(error, ContractBroken)
    assert "age in_range 0..100: 2 of 8 rows fail (first id=5: 130), and 2 more" in str(error)
    assert [c["clause"] for c in error.clauses] == ["/clauses/0", "/clauses/2", "/clauses/4"]
    json.dumps(error.clauses, allow_nan=False)
    about = contract_summary(contract, broken, "warn")
    assert about is not None
    assert (about["generation"], about["failing"], about["clauses"]) == (7, 5, 6)
    assert about["text"].startswith("5 of 6 clauses fail: age in_range")
    assert len(warnings_of(broken)) == 5


def test_a_clause_holds_up_to_its_share_and_within_its_age() -> None:
    counts = ContractCounts({1: 3}, {2: hours(24)})
    assert [b.place for b in judge(CONTRACT, counts, 12, AT)] == []
    assert [b.place for b in judge(CONTRACT, counts, 11, AT)] == [1]
    assert [b.why for b in judge(CONTRACT, ContractCounts(), 12, AT)] == ["the column has no value"]


def test_a_reject_that_cannot_be_asked_stops_the_run() -> None:
    contract = PlannedContract(1, clauses=CLAUSES[5:], known={"0": "the table has no such column"})
    assert stopped_by(judge(contract, ContractCounts(), 1, AT), "enforce")
    assert contract.counted == []


def test_counts_add_up_alike_for_every_split_and_order_of_the_rows() -> None:
    values = np.random.default_rng(0).normal(50, 40, 500).round(1)
    column = pa.array(np.where(values > 120, NAN, values))
    checks = {i: failing(CLAUSES[i], column.type) for i in (0, 1, 5)}

    def count(part: Any) -> ContractCounts:
        found = {i: check(pa.chunked_array([part])) for i, check in checks.items()}
        return ContractCounts(
            {i: sum(m.to_pylist()) for i, m in found.items() if m is not None},
            {2: part.offset},
        )

    whole = count(column)
    for seed in range(20):
        chance = random.Random(seed)
        cuts = [0, *sorted(chance.sample(range(1, 500), 7)), 500]
        parts = [count(column.slice(a, b - a)) for a, b in pairwise(cuts)]
        kept = [ContractCounts.from_dict(json.loads(json.dumps(p.to_dict()))) for p in parts]
        chance.shuffle(kept)
        total = sum(kept, ContractCounts())
        assert total.failing == whole.failing
        assert json.dumps(total.to_dict()) == json.dumps(
            sum(kept[::-1], ContractCounts()).to_dict()
        )


def test_a_planned_contract_is_read_as_it_was_written() -> None:
    contract = PlannedContract(3, "warn", CLAUSES, {"4": "gone"})
    assert PlannedContract.from_dict(json.loads(json.dumps(contract.to_dict()))) == contract
    assert not contract.rejects
    assert CONTRACT.rejects


INFINITE = [*(k / 2 for k in range(97)), math.inf, -math.inf, math.inf]


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(INFINITE, id="infinities"),
        pytest.param([*[0.5] * 60, *[math.inf] * 40], id="one value and infinity"),
        pytest.param(range(2**63 - 50, 2**63), id="the greatest integers"),
        pytest.param([Decimal(i).scaleb(-2) for i in range(1, 90)], id="decimals"),
        pytest.param([0.1, 0.7, None] * 30, id="fractions with NULL"),
        pytest.param([None] * 40, id="no value"),
        pytest.param([True, None, False] * 9, id="flags"),
        pytest.param(["", "a" * 9_999, None] * 20, id="texts"),
        pytest.param([dt.date(1, 1, 1), dt.date(9999, 12, 31)] * 20, id="dates"),
        pytest.param([3.5], id="one row"),
    ],
)
def test_training_data_meet_their_own_draft(values: Any) -> None:
    X = pd.DataFrame({"c": pd.Series(list(values), dtype=object).infer_objects()})
    signature = Signature.from_data(X)
    model = DummyRegressor().fit(np.zeros((len(X), 1)), np.zeros(len(X)))
    document = {"signature": signature.to_dict(), "profile": build_profile(model, X, signature)}
    contract = draft(document)
    column = pa.chunked_array([stored(X["c"], "c")])
    contract.check_types({"c": signature.features[0].type})
    checked = [clause for clause in contract.clauses if clause.of_values]
    for clause in checked:
        mask = failing(clause, column.type)(column)
        assert mask is None or pc.sum(mask).as_py() <= clause.allowed(len(X)), clause
    assert contract.clauses and (values is not INFINITE or len(checked) == 2)


@pytest.mark.parametrize("kinds", [1, 60])
@pytest.mark.parametrize("written", ["float32", "float64"])
def test_training_data_in_float32_is_like_the_table_that_it_came_from(
    kinds: int, written: str
) -> None:
    """0.99 of float32 is 0.9900000095 as FLOAT64: many rows at an end are not out of range."""
    prices = np.repeat([0.99 + 0.5 * i for i in range(kinds)], [40, *[2] * (kinds - 1)])
    X = pd.DataFrame({"c": prices.astype("float32")})
    signature = Signature.from_data(X)
    model = DummyRegressor().fit(np.zeros((len(X), 1)), np.zeros(len(X)))
    document = {"signature": signature.to_dict(), "profile": build_profile(model, X, signature)}
    table = pa.chunked_array([pa.array(prices.astype(written).astype("float64"))])
    profile = Profile.of_document(document)
    assert profile is not None
    [column] = profile.columns
    assert count(column.bins, table).bins == column.counts.bins
    assert sum(column.counts.bins) == len(X)
    [range_] = [clause for clause in draft(document).clauses if clause.check == "in_range"]
    assert failing(range_, table.type)(table) is None
