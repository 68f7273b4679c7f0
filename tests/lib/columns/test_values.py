"""bq_put writes exactly the frame's values, or refuses the column by name."""

from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings

from frame_cases import COLUMNS, assert_same, is_taken
from mlsys.columns.frames import from_frame, to_frame

RELAXED = settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@settings(RELAXED, max_examples=150)
@given(COLUMNS)
def test_a_column_is_unchanged_or_refused_by_name(series: "pd.Series[Any]") -> None:
    if is_taken(series):
        assert_same(series, to_frame(from_frame(pd.DataFrame({"odd": series})))["odd"])


@pytest.mark.long
@settings(RELAXED, max_examples=20_000)
@given(COLUMNS)
def test_a_column_is_unchanged_or_refused_by_name_in_many_examples(
    series: "pd.Series[Any]",
) -> None:
    if is_taken(series):
        assert_same(series, to_frame(from_frame(pd.DataFrame({"odd": series})))["odd"])
