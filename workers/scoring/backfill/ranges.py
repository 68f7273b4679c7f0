"""The partitions of a backfill: from one to another, as people write days, months and numbers."""

from __future__ import annotations

import datetime as dt
import re
from itertools import islice

from mlsys.errors import InvalidRequest
from workers.scoring.planning.partitioning import FORMATS, RANGE, Partitioning, after

MAX_PARTITIONS = 4000  # of one request

# 2026, 2026-10, 2026-10-01 and 2026-10-01T05; the hyphens and the T may be left out. `FORMATS` does
# not write a year before 1000 with four digits, and BigQuery has no partitions of one.
_TIME = re.compile(r"([1-9]\d{3})(?:-?(\d{2})(?:-?(\d{2})(?:[T ]?(\d{2}))?)?)?")
_KINDS = ("YEAR", "MONTH", "DAY", "HOUR")
_EXAMPLES = {"HOUR": "2026-10-01T05 or 2026-10-01", "DAY": "2026-10-01"}
_EXAMPLES |= {"MONTH": "2026-10", "YEAR": "2026"}


def partitions_between(by: Partitioning, first: str, last: str, now: dt.datetime) -> list[str]:
    """Return the names of the partitions from `first` to `last`, both included.

    A time may be coarser than the partitions: `2026-10` is all days of October.

    Raises:
        InvalidRequest: one of them does not fit the partitions, they are in the wrong order, or
            too many lie between them.
    """
    names = [_bound(by, name, text, now) for name, text in (("from", first), ("to", last))]
    between = list(islice(by.names(*names), MAX_PARTITIONS + 1))
    if not between:
        raise InvalidRequest(("to", f"{last!r} lies before {first!r}: pass it as from"))
    if len(between) > MAX_PARTITIONS:
        raise InvalidRequest(
            ("to", f"more than {MAX_PARTITIONS:,} partitions lie between: pass a shorter range")
        )
    return between


def _bound(by: Partitioning, parameter: str, text: str, now: dt.datetime) -> str:
    """Return the first partition that `text` means as `from`, or the last one as `to`."""
    if by.kind == RANGE:
        if fault := by.fault(text, now):
            raise InvalidRequest((parameter, f"the input is partitioned {fault.replace('$', '')}"))
        return text
    period = _period(text)
    if period is None:
        raise InvalidRequest(
            (
                parameter,
                f"{text[:80]!r} is not a time: the input is partitioned by {by.kind.lower()}, pass "
                f"{_EXAMPLES[by.kind]}, today or yesterday",
            )
        )
    begin, end = period
    return (begin if parameter == "from" else end).strftime(FORMATS[by.kind])


def _period(text: str) -> tuple[dt.datetime, dt.datetime] | None:
    """Return the first and the last hour of the time that a text names, or None."""
    if not (match := _TIME.fullmatch(text)):
        return None
    numbers = [int(group) for group in match.groups() if group is not None]
    year, month, day, hour = [*numbers, *(1, 1, 1, 0)[len(numbers) :]]
    try:
        begin = dt.datetime(year, month, day, hour)
    except ValueError:
        return None
    end = after(begin, _KINDS[len(numbers) - 1])
    return begin, dt.datetime.max if end is None else end - dt.timedelta(hours=1)
