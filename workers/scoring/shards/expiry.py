"""What follows when a read session is over before its run is.

Another session reads all rows again. A run that was left alone may do so, and says it. A run that
was at work for most of its session would not end in another one either, and fails.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

from mlsys.errors import Conflict

LASTS = dt.timedelta(hours=6)  # https://cloud.google.com/bigquery/docs/reference/storage
IDLE = dt.timedelta(minutes=10)  # a longer time between two parts is not work
BUSY = LASTS / 2  # work of a run that another session would not help
TOLERANCE = 1.2  # the pace of the first parts is not exact
ADVICE = (
    "Score the table in several runs with a where that splits it, such as "
    "MOD(ABS(FARM_FINGERPRINT(CAST(id AS STRING))), 4) = 0, or give the service more cores and "
    "pass a run_id of your own."
)


def at_work(opened: dt.datetime, parts: Iterable[dt.datetime]) -> dt.timedelta:
    """Return how long a run was at work in a session, by the times its parts were written.

    >>> start = dt.datetime(2026, 1, 1)
    >>> minutes = [4, 8, 100, 103]
    >>> str(at_work(start, [start + dt.timedelta(minutes=m) for m in minutes]))
    '0:21:00'
    """
    busy, before = dt.timedelta(), opened
    for moment in sorted(parts):
        busy += min(max(moment - before, dt.timedelta()), IDLE)
        before = moment
    return busy


def check_left_alone(
    run_id: str, expires_at: str, parts: Iterable[dt.datetime], rows: int, total: int | None
) -> None:
    """Check that a run whose session has expired may begin again: it did not work all the time.

    `rows` are done in the session, of `total` where that is known; `parts` are the times at which
    its parts were written.

    Raises:
        Conflict: it did.
    """
    opened = dt.datetime.fromisoformat(expires_at) - LASTS
    busy = at_work(opened, parts)
    if busy < BUSY:
        return
    of = f" of {total:,}" if total else ""
    hours = busy.total_seconds() / 3600
    raise Conflict(
        f"BigQuery ended the read session of {run_id} after six hours. By then {rows:,}{of} rows "
        f"were scored in {hours:.1f} hours of work, and another session would read all rows "
        f"again. {ADVICE}"
    )


def check_pace(
    run_id: str, rate: float, left: int, expires_at: str | None, cores: int, now: dt.datetime
) -> None:
    """Check that `left` rows can be scored at `rate` rows a second before the session expires.

    Raises:
        Conflict: they cannot.
    """
    if expires_at is None or left <= 0:
        return
    remaining = (dt.datetime.fromisoformat(expires_at) - now).total_seconds()
    needed = left / max(rate, 1e-9)
    if needed <= TOLERANCE * remaining:
        return
    enough = max(cores + 1, round(cores * needed / max(remaining, 1.0) + 0.5))
    raise Conflict(
        f"{run_id} cannot end before BigQuery ends its read session: {rate:,.0f} rows a second "
        f"are scored on {cores} cores and {left:,} rows are left, which takes "
        f"{needed / 3600:.1f} hours of the {max(remaining, 0.0) / 3600:.1f} that are left. About "
        f"{enough} cores would do. {ADVICE}"
    )
