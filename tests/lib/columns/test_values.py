"""What bq_put writes is what the frame holds, or is refused by the column's name."""

import re
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings

from frame_cases import COLUMNS, same
from mlsys.errors import InvalidRequest
from mlsys.frames import from_frame, to_frame

RELAXED = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


def is_taken(series: "pd.Series[Any]") -> bool:
    """Tell whether a column is written; if not, look at what the refusal says."""
    try:
        from_frame(pd.DataFrame({"odd": series}))
    except InvalidRequest as exc:
        assert re.match(r"df: column 'odd': \S", str(exc)), str(exc)
        assert len(str(exc)) < 700
        return False
    return True


def assert_same(series: "pd.Series[Any]", found: "pd.Series[Any]") -> None:
    """Compare each value, and what it is."""
    assert len(series) == len(found)
    dense = series.array.to_dense() if isinstance(series.dtype, pd.SparseDtype) else series
    pairs = zip(pd.Series(dense).astype(object), found.astype(object), strict=True)
    wrong = [(a, b) for a, b in pairs if not same(a, b)]
    assert not wrong, f"{series.dtype}: {wrong} of {series.tolist()}"


@settings(RELAXED, max_examples=150)
@given(COLUMNS)
def test_a_column_is_as_it_was_or_refused_by_name(series: "pd.Series[Any]") -> None:
    if is_taken(series):
        assert_same(series, to_frame(from_frame(pd.DataFrame({"odd": series})))["odd"])


@pytest.mark.long
@settings(RELAXED, max_examples=20_000)
@given(COLUMNS)
def test_a_column_is_as_it_was_or_refused_by_name_at_length(series: "pd.Series[Any]") -> None:
    if is_taken(series):
        assert_same(series, to_frame(from_frame(pd.DataFrame({"odd": series})))["odd"])
