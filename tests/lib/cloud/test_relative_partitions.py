"""Relative partitions are replaced by the time they mean, once."""

import datetime as dt

import pytest

from mlsys.cloud.partitions import WORDS, concrete, concrete_day
from mlsys.cloud.tables import TableRef
from mlsys.errors import InvalidRequest
from mlsys.remote.call import Call
from mlsys.remote.service import Service

NEW_YEAR = dt.datetime(2027, 1, 1, 0, 30, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("word", "partition"),
    [
        ("today", "20270101"),
        ("yesterday", "20261231"),
        ("this_hour", "2027010100"),
        ("last_hour", "2026123123"),
        ("this_month", "202701"),
        ("last_month", "202612"),
        ("this_year", "2027"),
        ("last_year", "2026"),
    ],
)
def test_a_word_is_a_time_in_utc(word: str, partition: str) -> None:
    assert word in WORDS
    assert concrete(f"my-project.d.t${word}", NEW_YEAR) == f"my-project.d.t${partition}"
    east = NEW_YEAR.astimezone(dt.timezone(dt.timedelta(hours=14)))
    assert concrete(f"my-project.d.t${word}", east) == f"my-project.d.t${partition}"


@pytest.mark.parametrize("text", ["my-project.d.t", "my-project.d.t$20261122", "a$Today", "$", ""])
def test_any_other_text_stays(text: str) -> None:
    assert concrete(text, NEW_YEAR) == text


def test_a_word_of_a_range_is_a_date() -> None:
    words = ["today", "yesterday", "2026-10", "this_hour", "20261001"]
    days = ["2027-01-01", "2026-12-31", *words[2:]]
    assert [concrete_day(word, NEW_YEAR) for word in words] == days


def test_an_unknown_word_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(InvalidRequest, match="'tomorrow' names no partition.*today, yesterday"):
        TableRef.parse("my-project.d.t$tomorrow", "input_table", partition=True)
    with pytest.raises(InvalidRequest, match="is not a table id"):
        TableRef.parse("my-project.t$tomorrow", "input_table", partition=True)


def test_a_call_keeps_the_partition_of_its_first_request() -> None:
    params = {"input_table": "my-project.d.t$today", "where": "a = 'x$today'"}
    call = Call(Service("http://127.0.0.1:9"), params)
    assert call.params["input_table"] == concrete(params["input_table"])
    assert call.params["where"] == params["where"]
