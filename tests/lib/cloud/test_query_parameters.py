"""Values of a query's parameters get BigQuery's types, and none of them becomes SQL."""

import datetime as dt
import decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from google.cloud.bigquery import ArrayQueryParameter, ScalarQueryParameter

import mlsys.bq
from broken_cloud import BrokenCloud
from mlsys.cloud.query_parameters import query_parameters
from mlsys.errors import InvalidRequest

NOON = dt.datetime(2026, 11, 28, 12, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (True, "BOOL"),
        (np.bool_(False), "BOOL"),
        (7, "INT64"),
        (np.int32(7), "INT64"),
        (-(2**63), "INT64"),
        (1.5, "FLOAT64"),
        (float("nan"), "FLOAT64"),
        (np.float32(0.5), "FLOAT64"),
        ("'; DROP TABLE x; --", "STRING"),
        (b"\x00", "BYTES"),
        (decimal.Decimal("1.25"), "NUMERIC"),
        (decimal.Decimal("1E+28"), "NUMERIC"),
        (decimal.Decimal("0.0000000001"), "BIGNUMERIC"),
        (decimal.Decimal("1E+30"), "BIGNUMERIC"),
        (dt.date(2026, 11, 28), "DATE"),
        (dt.time(12, 30), "TIME"),
        (NOON, "TIMESTAMP"),
        (NOON.replace(tzinfo=None), "DATETIME"),
        (pd.Timestamp("2026-11-28", tz="Europe/Berlin"), "TIMESTAMP"),
        (pd.Timestamp("2026-11-28"), "DATETIME"),
    ],
)
def test_a_value_has_bigquerys_type(value: Any, kind: str) -> None:
    [parameter] = query_parameters("SELECT @x", {"x": value})
    assert isinstance(parameter, ScalarQueryParameter)
    assert (parameter.name, parameter.type_) == ("x", kind)
    parameter.to_api_repr()


@pytest.mark.parametrize(
    ("values", "kind", "sent"),
    [
        ([1, 2], "INT64", [1, 2]),
        ((1, 2.5), "FLOAT64", [1.0, 2.5]),
        ({"a"}, "STRING", ["a"]),
        (np.array([1, 2]), "INT64", [1, 2]),
        (pd.Series(["a", "b"]), "STRING", ["a", "b"]),
        (pd.Series([NOON]), "TIMESTAMP", [NOON]),
        (np.array([], dtype="int64"), "INT64", []),
        (pd.Series([], dtype="str"), "STRING", []),
    ],
)
def test_a_list_is_an_array(values: Any, kind: str, sent: list[Any]) -> None:
    [parameter] = query_parameters("SELECT 1 IN UNNEST(@x)", {"x": values})
    assert isinstance(parameter, ArrayQueryParameter)
    assert (parameter.array_type, parameter.values) == (kind, sent)
    parameter.to_api_repr()


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "is None, and a NULL has no type"),
        (pd.NaT, "is None, and a NULL has no type"),
        (2**63, "is beyond INT64"),
        ([], "is empty, and so has no type"),
        ([1, "a"], "holds values of several types, INT64, STRING"),
        ([1, None], "value 1 is None"),
        ([[1]], "holds a list"),
        (np.zeros((2, 2)), "has 2 dimensions"),
        ({"a": 1}, "is a dict, which no type"),
        (object(), "is an object, which no type"),
        (1j, "is a complex"),
        (decimal.Decimal("NaN"), "is NaN, which NUMERIC does not hold"),
        (decimal.Decimal("1E+60"), "has more digits than BIGNUMERIC"),
        (dt.time(1, tzinfo=dt.UTC), "has a time zone"),
        (pd.Timestamp("2026-11-28T00:00:00.000000001"), "has nanoseconds"),
    ],
)
def test_a_value_without_a_type_is_refused_by_name(value: Any, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=r"^params\['x'\]: ") as caught:
        query_parameters("SELECT @x", {"x": value})
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("query", "params", "reason"),
    [
        ("SELECT @day", None, "query: has the parameter @day: pass params={'day': value}"),
        ("SELECT @a, @B", {"a": 1}, "params: the query has @b, which has no value"),
        ("SELECT 1", {"day": 1}, "params['day']: the query has no @day: leave it out"),
        ("SELECT '@day'", {"day": 1}, "the query has no @day"),
        ("SELECT 1 -- @day", {"day": 1}, "the query has no @day"),
        ("SELECT @x", {"@x": 1}, "'@x' is not a name"),
        ("SELECT @x", [1], "params: is a list: pass a dict"),
    ],
)
def test_parameters_and_the_query_name_the_same(query: str, params: Any, reason: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        query_parameters(query, params)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT 'me@example.com', \"a@b\", `c@d`",
        "SELECT @@session_id # @x\n/* @y */",
        "SELECT '''it's @x''', 'a\\'@y'",
    ],
)
def test_an_at_sign_in_a_text_or_comment_is_not_a_parameter(query: str) -> None:
    assert query_parameters(query, None) == []


def test_bq_get_sends_the_parameters_beside_the_query(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: dict[str, Any] = {}

    class Cloud(BrokenCloud):
        def query(self, text: str, **options: Any) -> Any:
            sent.update(options, text=text)
            return super().query(text, **options)

    monkeypatch.setattr(mlsys.bq, "default_clients", lambda: Cloud(0, None))
    mlsys.bq.bq_get("SELECT @name", {"name": "O'Brien"})
    assert sent["text"] == "SELECT @name"
    [parameter] = sent["job_config"].query_parameters
    assert (parameter.type_, parameter.value) == ("STRING", "O'Brien")
