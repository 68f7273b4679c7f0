"""Values for the parameters of a query, `@name`, in the types of BigQuery that they have in Python.

A parameter is a value, never a part of the statement's text: a text with a quote in it is a text.
"""

from __future__ import annotations

import datetime as dt
import decimal
import math
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from mlsys.arguments import kind_of
from mlsys.errors import InvalidRequest

if TYPE_CHECKING:
    from google.cloud.bigquery import ArrayQueryParameter, ScalarQueryParameter

# Texts and comments, in which an @ is not a parameter; `@@x` is a system variable.
_NO_PARAMETER = re.compile(
    r"""(?:'{3}.*?'{3}|"{3}.*?"{3}|'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|`[^`]*`"""
    r"""|--[^\n]*|\#[^\n]*|/\*.*?\*/)""",
    re.DOTALL,
)
_PARAMETER = re.compile(r"(?<!@)@([A-Za-z_][A-Za-z0-9_]*)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_INT64 = range(-(2**63), 2**63)
# The digits before and after the point:
# https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#decimal_types
_NUMERIC, _BIGNUMERIC = (29, 9), (38, 38)
_OF_NUMPY = {"b": "BOOL", "i": "INT64", "u": "INT64", "f": "FLOAT64"}


def query_parameters(query: str, params: Any) -> list[ScalarQueryParameter | ArrayQueryParameter]:
    """Return the parameters of `query` with the values of `params`, by their names.

    bool is BOOL, int INT64, float FLOAT64, str STRING, bytes BYTES, Decimal NUMERIC or BIGNUMERIC,
    date DATE, time TIME, datetime TIMESTAMP if it has a time zone and DATETIME otherwise. A list, a
    tuple, a set, an array or a Series is an ARRAY of them.

    Raises:
        InvalidRequest: a value does not have one of these types, the query does not name a
            parameter, or names one that has no value; all of them are named.
    """
    from google.cloud import bigquery

    if params is not None and not isinstance(params, Mapping):
        text = f"is {kind_of(params)}: pass a dict, such as {{'day': datetime.date(2026, 11, 28)}}"
        raise InvalidRequest(("params", text))
    given = dict(params or {})
    named = {name.lower() for name in _PARAMETER.findall(_NO_PARAMETER.sub("''", query))}
    faults: list[tuple[str, str]] = []
    out: list[ScalarQueryParameter | ArrayQueryParameter] = []
    for name, value in given.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            text = "is not a name: pass letters, digits and underscores, without the @"
            faults.append(("params", f"{str(name)[:80]!r} {text}"))
        elif name.lower() not in named:
            faults.append((f"params[{name!r}]", f"the query has no @{name}: leave it out"))
        else:
            try:
                kind, plain = _typed(value)
            except ValueError as exc:
                faults.append((f"params[{name!r}]", str(exc)))
                continue
            if isinstance(plain, list):
                out.append(bigquery.ArrayQueryParameter(name, kind, plain))
            else:
                out.append(bigquery.ScalarQueryParameter(name, kind, plain))
    missing = named - {name.lower() for name in given if isinstance(name, str)}
    if missing and params is not None:
        names = ", ".join(f"@{name}" for name in sorted(missing))
        faults.append(("params", f"the query has {names}, which has no value: pass one"))
    elif missing:
        names = ", ".join(f"@{name}" for name in sorted(missing))
        example = sorted(missing)[0]
        text = f"has the parameter {names}: pass params={{{example!r}: value}}"
        faults.append(("query", text))
    if faults:
        raise InvalidRequest(*faults)
    return out


def _typed(value: Any) -> tuple[str, Any]:
    """Return the type of BigQuery that a value has, and the value as its client takes it.

    Raises:
        ValueError: it has none.
    """
    if isinstance(value, list | tuple | set | frozenset) or _is_array(value):
        return _array(value)
    return _scalar(value)


def _is_array(value: Any) -> bool:
    return hasattr(value, "dtype") and getattr(value, "ndim", 0) > 0


def _array(values: Any) -> tuple[str, list[Any]]:
    if getattr(values, "ndim", 1) != 1:
        raise ValueError(f"has {values.ndim} dimensions: pass one column of values")
    items: Iterable[Any] = values
    typed = []
    for number, item in enumerate(items):
        if isinstance(item, list | tuple | set | frozenset) or _is_array(item):
            raise ValueError("holds a list, and BigQuery has no ARRAY of ARRAYs: pass plain values")
        try:
            typed.append(_scalar(item))
        except ValueError as exc:
            raise ValueError(f"value {number} {exc}") from exc
    kinds = {kind for kind, _ in typed}
    if not kinds:
        return _kind_of_empty(values), []
    if len(kinds) > 1:
        for wider, narrower in (("FLOAT64", "INT64"), ("BIGNUMERIC", "NUMERIC")):
            if kinds == {wider, narrower}:
                return wider, [float(v) if wider == "FLOAT64" else v for _, v in typed]
        raise ValueError(f"holds values of several types, {', '.join(sorted(kinds))}: pass one")
    return kinds.pop(), [value for _, value in typed]


def _kind_of_empty(values: Any) -> str:
    dtype = getattr(values, "dtype", None)
    kind = _OF_NUMPY.get(getattr(dtype, "kind", ""), "")
    if not kind and str(dtype) in ("str", "string"):
        kind = "STRING"
    if not kind:
        raise ValueError(
            "is empty, and so has no type: pass np.array([], dtype='int64'), or skip the query"
        )
    return kind


def _scalar(value: Any) -> tuple[str, Any]:
    value = value.item() if _is_numpy_scalar(value) else value
    if value is None or str(value) in ("NaT", "<NA>"):
        raise ValueError("is None, and a NULL has no type here: write NULL or IS NULL in the query")
    if isinstance(value, bool):
        return "BOOL", value
    if isinstance(value, int):
        if value not in _INT64:
            raise ValueError("is beyond INT64: pass decimal.Decimal(value)")
        return "INT64", value
    if isinstance(value, float):
        return "FLOAT64", value
    if isinstance(value, str):
        return "STRING", value
    if isinstance(value, bytes | bytearray):
        return "BYTES", bytes(value)
    if isinstance(value, decimal.Decimal):
        return _decimal(value)
    if isinstance(value, dt.datetime):
        if getattr(value, "nanosecond", 0):
            raise ValueError("has nanoseconds, which BigQuery does not keep: pass .floor('us')")
        plain = value.to_pydatetime() if hasattr(value, "to_pydatetime") else value
        return "DATETIME" if value.tzinfo is None else "TIMESTAMP", plain
    if isinstance(value, dt.date):
        return "DATE", value
    if isinstance(value, dt.time):
        if value.tzinfo is not None:
            raise ValueError("has a time zone, which TIME does not have: pass a time without")
        return "TIME", value
    raise ValueError(
        f"is {kind_of(value)}, which no type of BigQuery holds: pass a bool, int, float, str, "
        "bytes, Decimal, date, time or datetime, or a list of them"
    )


def _is_numpy_scalar(value: Any) -> bool:
    return hasattr(value, "dtype") and getattr(value, "ndim", None) == 0 and hasattr(value, "item")


def _decimal(value: decimal.Decimal) -> tuple[str, decimal.Decimal]:
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int) or not math.isfinite(value):
        raise ValueError(f"is {value}, which NUMERIC does not hold: pass a float")
    before, after = max(value.adjusted() + 1, 0), max(-exponent, 0)
    for kind, (most_before, most_after) in (("NUMERIC", _NUMERIC), ("BIGNUMERIC", _BIGNUMERIC)):
        if before <= most_before and after <= most_after:
            return kind, value
    raise ValueError("has more digits than BIGNUMERIC: round it, or pass a float")
