"""Relative partitions: `table$yesterday` is a day by the clock, and the same day for every retry.

A word is replaced once, before a request is sent or as it arrives, so that what is planned,
repeated and recorded names a partition: `table$20261127`.
"""

from __future__ import annotations

import datetime as dt

# A word's partition by its format, and how many of its steps it lies back.
_WORDS = {
    "today": ("%Y%m%d", 0),
    "yesterday": ("%Y%m%d", 1),
    "this_hour": ("%Y%m%d%H", 0),
    "last_hour": ("%Y%m%d%H", 1),
    "this_month": ("%Y%m", 0),
    "last_month": ("%Y%m", 1),
    "this_year": ("%Y", 0),
    "last_year": ("%Y", 1),
}
WORDS = tuple(_WORDS)


def concrete(table_id: str, at: dt.datetime | None = None) -> str:
    """Return a table id whose partition is named by its time, where it was named by a word.

    The time is `at`, by default now, in UTC: BigQuery's partitions by time begin in UTC. Any other
    text is returned as it is.

    >>> concrete("my-project.sales.rows$yesterday", dt.datetime(2026, 12, 1, 3, tzinfo=dt.UTC))
    'my-project.sales.rows$20261130'
    >>> concrete("my-project.sales.rows$last_month", dt.datetime(2026, 1, 31, tzinfo=dt.UTC))
    'my-project.sales.rows$202512'
    """
    table, _, word = table_id.partition("$")
    if word not in _WORDS:
        return table_id
    form, back = _WORDS[word]
    moment = (at or dt.datetime.now(dt.UTC)).astimezone(dt.UTC)
    if back:
        moment = _before(moment, form)
    return f"{table}${moment.strftime(form)}"


def concrete_day(text: str, at: dt.datetime | None = None) -> str:
    """Return the date of `today` and `yesterday`, in UTC, and any other text as it is.

    >>> concrete_day("yesterday", dt.datetime(2026, 12, 1, 3, tzinfo=dt.UTC))
    '2026-11-30'
    """
    if text not in ("today", "yesterday"):
        return text
    day = concrete(f"${text}", at)[1:]
    return dt.date.fromisoformat(day).isoformat()


def _before(moment: dt.datetime, form: str) -> dt.datetime:
    """Return a moment of the hour, day, month or year before."""
    if form == "%Y%m%d%H":
        return moment - dt.timedelta(hours=1)
    if form == "%Y%m":
        moment = moment.replace(day=1)
    elif form == "%Y":
        moment = moment.replace(month=1, day=1)
    return moment - dt.timedelta(days=1)
