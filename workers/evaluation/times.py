"""Labels that are dates or times, beside predictions of classes that are times.

A run writes such a class as text in the spelling of its training data: `2026-11-01`,
`2026-11-01T00:00:00`, `2026-11-01T00:00:00.000000000`. Labels and predictions are compared in one
spelling, with microseconds and without a zone, a TIMESTAMP as UTC. A prediction that is another
text stays as it is, and equals no label.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

from workers.evaluation.target import TIMES, Target
from workers.scoring.planning.columns import Column

# What both BigQuery's CAST and Python read, without the last digits of NumPy's nanoseconds:
# https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#canonical_format_for_datetime_literals
_FORM = r"^\d{4}-\d\d-\d\d([T ]\d\d:\d\d:\d\d(\.\d{1,6})?)?$"
_LENGTH = len("2026-11-01T00:00:00.000000")
_FORMAT = "%Y-%m-%dT%H:%M:%E6S"


def is_time(label: Column, target: Target) -> bool:
    """Return whether labels that are dates or times are compared with texts."""
    return label.type in TIMES and target.column.type == "STRING"


def time_text(text: Any) -> str:
    """Return a class in the spelling that times are compared in; another text is unchanged.

    >>> time_text("2026-11-01"), time_text("2026-11-01T09:30:00.000000000"), time_text("later")
    ('2026-11-01T00:00:00.000000', '2026-11-01T09:30:00.000000', 'later')
    """
    if not re.search(_FORM, text[:_LENGTH], re.ASCII):
        return text
    try:
        return dt.datetime.fromisoformat(text[:_LENGTH]).isoformat(timespec="microseconds")
    except ValueError:  # the 30th of February
        return text


def prediction_sql(column: str) -> str:
    """Return the SQL of a predicted text in the spelling of `time_text`."""
    begins = f"SUBSTR({column}, 1, {_LENGTH})"
    moment = f"IF(REGEXP_CONTAINS({begins}, r'{_FORM}'), SAFE_CAST({begins} AS DATETIME), NULL)"
    return f"IFNULL(FORMAT_DATETIME('{_FORMAT}', {moment}), {column})"


def label_sql(column: str) -> str:
    """Return the SQL of a label in the spelling of `time_text`."""
    return f"FORMAT_DATETIME('{_FORMAT}', CAST({column} AS DATETIME))"
