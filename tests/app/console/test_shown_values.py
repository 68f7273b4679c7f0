"""Times, sizes, numbers and charts as the console shows them; ready-made calls; column profiles."""

from __future__ import annotations

import ast
import datetime as dt
import doctest
import importlib
import itertools
import math
import shlex
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.console import calls, charts, formats
from app.console.drift import compared
from app.console.profiles import columns_of, golden_of, training

NOW = dt.datetime(2026, 11, 28, 20, 0, tzinfo=dt.UTC)
NUMBERS = st.lists(st.one_of(st.none(), st.integers(-9, 9), st.floats(), st.text(max_size=2)))


def test_the_examples_run() -> None:
    assert doctest.testmod(importlib.import_module("app.console.formats")).failed == 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (2, "just now"),
        (59, "59 s ago"),
        (60, "1 min ago"),
        (3599, "59 min ago"),
        (3600, "1 hour ago"),
        (86_399, "23 hours ago"),
        (86_400, "1 day ago"),
        (30 * 86_400, "30 days ago"),
        (31 * 86_400, "28 Oct 2026"),
        (-90, "in 1 min"),
    ],
)
def test_times_are_humane(seconds: float, text: str) -> None:
    assert formats.ago((NOW - dt.timedelta(seconds=seconds)).isoformat(), NOW) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.6, "1 min"),
        (60, "1 min"),
        (3600, "1 h"),
        (3661, "1 h 1 min"),
        (2 * 86_400 + 7200, "2 days 2 h"),
    ],
)
def test_durations_have_two_units(seconds: float, text: str) -> None:
    assert formats.lasted(seconds) == text


@settings(max_examples=40)
@given(
    st.one_of(st.none(), st.floats(), st.integers(), st.text(), st.booleans(), st.lists(st.none()))
)
def test_no_value_breaks_a_format(value: Any) -> None:
    for each in formats.FILTERS.values():
        assert isinstance(each(value), str)


@settings(max_examples=40)
@given(NUMBERS, NUMBERS)
def test_marks_lie_within_their_chart(first: list[Any], second: list[Any]) -> None:
    line = charts.line(first, 100, 20)
    marks = [*charts.bars(first, 100, 20), *(line.marks if line else ())]
    for side in charts.paired(first, second, 100, 20):
        marks += side
    for mark in marks:
        assert mark.x >= -0.01 and mark.x + mark.width <= 100.01
        assert mark.y >= -0.01 and mark.y + mark.height <= 20.01
    assert len(charts.bars(first, 100, 20)) == len(first)


def test_charts_show_the_values_in_proportion() -> None:
    line = charts.line([0, None, 10, 5], 106, 26)
    assert line is not None and (line.low, line.high) == (0, 10)
    assert [(m.index, m.x, m.y) for m in line.marks] == [(0, 3, 23), (2, 69.67, 3), (3, 103, 13)]
    assert [m.height for m in charts.bars([1, 2, 0, 4], 40, 8)] == [2, 4, 0, 8]
    assert charts.bars([1, 1_000_000], 40, 8)[0].height == 1  # seen
    left, right = charts.paired([0.5, 0.5], [1.0, 0.0], 40, 10)
    assert [m.height for m in left] == [5, 5] and [m.height for m in right] == [10, 0]
    assert left[0].x + left[0].width <= right[0].x
    assert charts.line([], 10, 10) is None and charts.line([math.nan], 10, 10) is None
    assert charts.span(5, 5, 0, 10, 1000).width > 3 and charts.span(0, 0, 0, 0, 1000).x == 0


REQUEST = {
    "env": "dev",
    "input_table": "p.d.t",
    "output_table": "p.d.o",
    "model_name": "m",
    "model_version": "v1",
    "where": "name = 'O\\'Hara' AND $HOME > `x`",
    "id_columns": "a,b",
    "allow_rejected": "true",
    "profile": "false",
}


def test_calls_carry_every_parameter_exactly() -> None:
    words = shlex.split(calls.curl(REQUEST).replace("\\\n", ""))
    passed = [w for before, w in itertools.pairwise(words) if before == "--data-urlencode"]
    assert passed == [f"{k}={v}" for k, v in REQUEST.items()]
    words = shlex.split(calls.command_line(REQUEST).replace("\\\n", ""))
    assert words[words.index("--where") + 1] == REQUEST["where"] and "--allow-rejected" in words
    tree = ast.parse(calls.notebook(REQUEST))
    [call] = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and n.keywords]
    values = {k.arg: ast.literal_eval(k.value) for k in call.keywords}
    assert [ast.literal_eval(a) for a in call.args] == ["p.d.t", "p.d.o", "m", "v1"]
    assert values == {
        "env": "dev",
        "where": REQUEST["where"],
        "id_columns": ["a", "b"],
        "allow_rejected": True,
        "profile": False,
    }


def test_sql_quotes_names_and_texts() -> None:
    sql = calls.lineage("p.d.in", "p.d.out", "run", ["a`b"], "2026-11-28T20:00:00+00:00")
    assert "scored.`a\\`b` = input.`a\\`b`" in sql and 'run_id = "run"' in sql
    assert 'AS OF TIMESTAMP "2026-11-28T20:00:00+00:00"' in sql
    of_view = calls.lineage("p.d.view", "p.d.out", "run", ["a"], None)
    assert "SYSTEM_TIME" not in of_view and "as they are now" in of_view
    assert "no id column" in calls.lineage("p.d.in", "p.d.out", "run", [], None)


def test_profiles_of_both_forms_are_read() -> None:
    old = {"nulls": 0, "distinct": 2, "top": {"male": 577, "female": 314}}
    assert training(old) == {
        "labels": ["male", "female"],
        "counts": [577, 314],
        "text": "2 different values",
    }
    new = {"kind": "number", "edges": [0.42, 20, 80], "counts": [300, 414], "nulls": 177}
    assert training(new) == {
        "labels": ["0.42 to 20", "20 to 80"],
        "counts": [300, 414],
        "text": "0.42 to 80, 177 missing",
    }
    category = {"kind": "category", "values": ["a", 2], "counts": [5, 3], "other": 9}
    known = training(category)
    assert known is not None and known["labels"] == ["a", "2", "others"]
    document = {
        "signature": {"features": [{"name": "age", "type": "FLOAT64"}, {"name": "sex"}]},
        "profile": {"version": 2, "columns": [new, category]},
        "golden": {"rows": [[1, "x" * 99]], "predictions": [0.25]},
    }
    assert [c["training"]["counts"] for c in columns_of(document, ())] == [[300, 414], [5, 3, 9]]
    golden = golden_of(document)
    assert golden is not None and golden["rows"][0]["prediction"] == "0.25"
    assert len(golden["rows"][0]["values"][1]) == 80


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                "signature features name profile columns golden rows edges predictions top "
                "values counts min max nulls other a".split()
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)


@settings(max_examples=40)
@given(st.dictionaries(st.sampled_from(["signature", "profile", "golden"]), JSON))
def test_no_metadata_breaks_a_page(document: Any) -> None:
    columns_of(document, ["a"])
    golden_of(document)


def test_drift_is_shown_with_the_farthest_columns_first_and_predictions_before_features() -> None:
    bins = [{"bin": "missing"}, {"bin": "low", "rows": 3, "before": 1}, {"bin": "high", "rows": 1}]
    profile = [
        {"role": "feature", "column_name": "near", "level": "ok", "distance": 0.01, "bins": bins},
        {"role": "feature", "column_name": "far", "level": "drift", "distance": 0.4, "bins": None},
        {"role": "feature", "column_name": "odd", "level": "new", "distance": None},
        {"role": "prediction", "column_name": "y", "level": "ok", "distance": 0.0, "bins": [3]},
    ]
    since = [{"role": "feature", "column_name": "near", "distance_previous": 0.2}]
    rows = compared(profile, since)
    assert [row["column"] for row in rows] == ["y", "far", "near", "odd"]
    near = rows[2]
    assert near["labels"] == ["low", "high"]
    assert (near["now"], near["before"]) == ([0.75, 0.25], [1.0, 0.0])
    assert near["distance_previous"] == 0.2 and rows[1]["distance_previous"] is None
    assert rows[1]["before"] is None and rows[1]["now"] == []
