"""Values of BigQuery's columns as JSON holds them, by the rules of its own TO_JSON_STRING.

https://cloud.google.com/bigquery/docs/reference/standard-sql/json_functions#json_encodings: numbers
that JSON cannot hold are strings (NaN, integers beyond 2^53, decimals with a fraction), dates and
times are ISO 8601, bytes are base64.
"""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

EXACT = 2**53  # every JSON reader holds integers up to here
MAX_VALUE = 100_000  # characters of JSON of one column of one row
_PLAIN = (str, bool, type(None))


def json_value(value: Any) -> Any:
    """Return the value in types that JSON has.

    >>> json_value({"a": float("nan"), "b": [dt.date(2026, 11, 28), b"x", 2**60]})
    {'a': 'NaN', 'b': ['2026-11-28', 'eA==', '1152921504606846976']}
    """
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, int):
        return int(value) if -EXACT <= value <= EXACT else str(int(value))
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, decimal.Decimal):
        return _decimal(value)
    if isinstance(value, dt.date | dt.time):  # also a datetime
        return value.isoformat()
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()
    if isinstance(value, Mapping):
        return {str(name): json_value(item) for name, item in value.items()}
    if isinstance(value, Iterable):
        return [json_value(item) for item in value]
    return _interval(value) if hasattr(value, "leapdays") else str(value)


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values with the names of the objects that they are in.

    >>> dict(flat({"test": {"roc_auc": 0.9}}))
    {'test.roc_auc': 0.9}
    """
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def bounded_row(row: dict[str, Any], keep: Iterable[str] = ()) -> dict[str, Any]:
    """Return the row without values of more than `MAX_VALUE` characters.

    `left_out` names those columns; `keep` are columns that have a bound of their own.
    """
    large = [
        name
        for name, value in row.items()
        if name not in keep and len(json.dumps(value)) > MAX_VALUE
    ]
    if not large:
        return row
    return {k: None if k in large else v for k, v in row.items()} | {"left_out": large}


def _float(value: float) -> float | str:
    if math.isfinite(value):
        return float(value)
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _decimal(value: decimal.Decimal) -> int | str:
    if value.is_finite() and abs(value) <= EXACT and value == value.to_integral_value():
        return int(value)
    if not value.is_finite():
        return str(value)
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _interval(value: Any) -> str:
    """Return an INTERVAL, for which the client has dateutil's relativedelta, by ISO 8601."""
    seconds = f"{value.seconds + value.microseconds / 1e6:.6f}".rstrip("0").rstrip(".")
    date = f"{value.years}Y{value.months}M{value.days}D"
    return f"P{date}T{value.hours}H{value.minutes}M{seconds}S"
