"""The values within a clause of a contract: which are valid, and which fit a column's type."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Mapping
from typing import Any

from mlsys.arguments import shown
from mlsys.columns.features import ACCEPTED, sql_type
from mlsys.columns.names import name_fault

MAX_VALUES = 10_000  # of isin
MAX_TEXT = 1_000  # characters of a value or a pattern
MAX_INT = 2**63 - 1
MAX_NOTE = 200  # characters
MAX_HOURS = 1_000_000

NUMBERS = ("INT64", "FLOAT64", "NUMERIC", "BIGNUMERIC")
# How the text of a value is read for a column of these types
TIMES: dict[str, Callable[[str], Any]] = {
    "DATE": dt.date.fromisoformat,
    "TIME": dt.time.fromisoformat,
    "DATETIME": dt.datetime.fromisoformat,
    "TIMESTAMP": dt.datetime.fromisoformat,
}
_EXAMPLES = {
    "DATE": "2026-01-31",
    "TIME": "12:30:00",
    "DATETIME": "2026-01-31T12:30:00",
    "TIMESTAMP": "2026-01-31T12:30:00Z",
}
AGED = ("DATE", "DATETIME", "TIMESTAMP")  # types whose newest value has an age
_KINDS = {bool: "bools", str: "texts", int: "numbers", float: "numbers"}


def is_number(value: Any) -> bool:
    """Return whether the value is a number that a column of BigQuery can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) if isinstance(value, float) else -MAX_INT - 1 <= value <= MAX_INT


def fault_of(name: str, value: Any, check: str) -> str | None:
    """Return what is wrong with the value of one key of a clause, or None."""
    known = isinstance(value, str) and len(value) <= MAX_TEXT
    if name in ("check", "action"):
        return None  # which decide what is looked at
    if name == "column":
        fault = name_fault(value)
        return None if fault is None else f"{fault}: name a column"
    if name == "values":
        return _list_fault(value)
    if name == "types":
        valid = isinstance(value, list) and value and all(_is_type(v) for v in value)
        return None if valid else f"is {shown(value)}: write a list of {', '.join(ACCEPTED)}"
    if name == "pattern":
        return pattern_fault(value) if known else _text_fault(value, "a regular expression")
    if name == "note":
        short = known and len(value) <= MAX_NOTE
        return None if short else _text_fault(value, f"at most {MAX_NOTE} characters")
    if name == "max_share":
        valid = is_number(value) and 0 <= value < 1
        return None if valid else f"is {_shown(value)}: write a number from 0 to below 1"
    if name == "max_age_hours":
        valid = is_number(value) and 0 < value <= MAX_HOURS
        return None if valid else f"is {_shown(value)}: write hours, at most {MAX_HOURS:,}"
    if check in ("row_count", "str_length"):
        valid = type(value) is int and 0 <= value <= MAX_INT
        return None if valid else f"is {_shown(value)}: write a whole number from 0 on"
    if is_number(value) or known:
        return None
    return f"is {_shown(value)}: write a number of at most 64 bits, or a date or time as text"


def fitting_fault(check: str, parameters: Mapping[str, Any], kind: str) -> str | None:
    """Return why a clause cannot be asked of a column of the BigQuery type `kind`, or None."""
    if check in ("exists", "type", "not_null"):
        return None
    if check == "freshness":
        return None if kind in AGED else f"freshness needs {', '.join(AGED)}, and it is {kind}"
    if check in ("str_matches", "str_length"):
        return None if kind == "STRING" else f"{check} needs STRING, and the column is {kind}"
    values = parameters.get("values") or [
        parameters[name] for name in ("value", "min_value", "max_value") if name in parameters
    ]
    in_set = check in ("isin", "notin")
    if kind in NUMBERS:
        fits, instead = all(map(is_number, values)), "numbers"
    elif kind in TIMES:
        fits, instead = all(reads_as(kind, v) for v in values), f"texts as {_EXAMPLES[kind]}"
    elif kind in ("STRING", "BOOL") and in_set:
        wanted = str if kind == "STRING" else bool
        fits, instead = all(isinstance(v, wanted) for v in values), _KINDS[wanted]
    else:
        return f"{check} cannot be asked of a column of type {kind}"
    if not fits:
        return f"{check} needs {instead}, because the column is {kind}"
    low, high = (parameters.get(name) for name in ("min_value", "max_value"))
    if kind in TIMES and low is not None and high is not None:
        if TIMES[kind](low) > TIMES[kind](high):
            return f"min_value {shown(low)} is after max_value {shown(high)}"
    return None


def reads_as(kind: str, value: Any) -> bool:
    """Return whether the text is a value of the type `kind`, one of `TIMES`."""
    try:
        read = TIMES[kind](value)
    except (TypeError, ValueError):
        return False
    aware = getattr(read, "tzinfo", None) is not None
    return aware if kind == "TIMESTAMP" else not aware


def anchored(pattern: str) -> str:
    """Return the expression that matches from the start of a text on, as pandera's str_matches."""
    return rf"\A(?:{pattern})"


def pattern_fault(pattern: str) -> str | None:
    """Return why RE2 does not take the regular expression, or None.

    RE2 matches in time linear in the text; it has neither look-around nor backreferences
    (https://github.com/google/re2/wiki/Syntax).
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        for expression in (pattern, anchored(pattern)):  # each: `a)(b` is none before it is wrapped
            pc.match_substring_regex(pa.array([""]), expression)
    except pa.ArrowInvalid as exc:
        reason = str(exc).removeprefix("Invalid regular expression: ")
        return f"is {shown(pattern)}, which RE2 refuses ({shown(reason)}): write another pattern"
    return None


def _list_fault(values: Any) -> str | None:
    if not isinstance(values, list) or not 0 < len(values) <= MAX_VALUES:
        return f"is {shown(values)}: write a list of 1 to {MAX_VALUES:,} values"
    for value in values:
        short = isinstance(value, bool) or (isinstance(value, str) and len(value) <= MAX_TEXT)
        if not (short or is_number(value)):
            return f"holds {_shown(value)}: write texts, numbers of at most 64 bits, or bools"
    if len({_KINDS[type(value)] for value in values}) > 1:
        return "mixes texts, numbers and bools: write values of one type"
    if len(set(values)) < len(values):
        return "has a value twice: keep one"
    return None


def _text_fault(value: Any, instead: str) -> str:
    if isinstance(value, str):
        return f"has {len(value):,} characters: write {instead}"
    return f"is {_shown(value)}: write {instead}"


def _is_type(value: Any) -> bool:
    return isinstance(value, str) and value == sql_type(value) and value in ACCEPTED


def _shown(value: Any) -> str:
    # JSON's reader has replaced NaN, Infinity and numbers beyond FLOAT64 by None.
    return "null, or a number that FLOAT64 cannot hold" if value is None else shown(value)
