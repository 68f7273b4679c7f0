"""BigQuery's rules for column names: which names are equal, and which are valid.

Every comparison and every check of a column's name uses this module. BigQuery ignores case
(https://cloud.google.com/bigquery/docs/schemas#column_names), as far as documented only of ASCII:
`straße` and `strasse`, µ and μ, ς and σ are two names each. Names are not normalized: `é` as one
character is not `e` with an accent.

>>> same_name("Age", "age"), same_name("straße", "STRASSE")
(True, False)
>>> name_fault("education-num"), name_fault("sepal length (cm)")
(None, "holds '(', which BigQuery does not allow in a column name")
>>> proposed_name("sepal length (cm)")
'sepal_length_cm'
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Iterable
from typing import Any

from mlsys.errors import InvalidRequest

MAX_NAME = 300  # characters
MAX_SHOWN = 5  # columns that an error lists
RESERVED_PREFIXES = (
    "_TABLE_",
    "_FILE_",
    "_PARTITION",
    "_ROW_TIMESTAMP",
    "__ROOT__",
    "_COLIDENTIFIER",
    "_CHANGE_SEQUENCE_NUMBER",
    "_CHANGE_TYPE",
    "_CHANGE_TIMESTAMP",
)
_ASCII_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)

# Names that every interface of BigQuery accepts; the others are flexible names:
# https://cloud.google.com/bigquery/docs/schemas#flexible-column-names
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SIGNS = frozenset("&%=+:'<>#|")
# \p{L}, \p{N}, \p{M}; connectors, dashes and spaces, but no control characters.
_CATEGORIES = ("L", "N", "M", "Pc", "Pd", "Zs")
# SELECT renames a column with this prefix unless it is given an alias (same page).
_RENAMED_PREFIX = "_field_"


def fold(name: str) -> str:
    """Return the key by which BigQuery compares the name: ASCII letters in lower case."""
    return name.translate(_ASCII_LOWER)


def same_name(a: str, b: str) -> bool:
    """Return whether BigQuery takes both for the name of one column."""
    return fold(a) == fold(b)


def duplicates(names: Iterable[str]) -> list[str]:
    """Return the names that equal another one of `names`, sorted, each spelling once."""
    listed = list(names)
    seen: dict[str, int] = {}
    for name in listed:
        seen[fold(name)] = seen.get(fold(name), 0) + 1
    return sorted({name for name in listed if seen[fold(name)] > 1})


def similar_names(names: Iterable[str]) -> dict[str, str]:
    """Return the names that differ from another one of `names` only in case beyond ASCII, with it.

    BigQuery's documentation does not say that it distinguishes `Ä` from `ä`. So a column is never
    matched with another by that, and two such names are never written into one new table.

    >>> similar_names(["Ä", "ä", "a", "A"])
    {'Ä': 'ä', 'ä': 'Ä'}
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(name.lower(), []).append(name)
    pairs = {
        name: next((other for other in group if not same_name(name, other)), None)
        for group in groups.values()
        for name in group
    }
    return {name: other for name, other in pairs.items() if other is not None}


def is_plain(name: str) -> bool:
    """Return whether the name works everywhere in BigQuery, without quotes or special handling.

    Such a name has ASCII letters, digits and underscores. The Storage Read API documents special
    handling for any other name, and only for Avro.
    """
    return bool(_PLAIN.fullmatch(name)) and not fold(name).startswith(_RENAMED_PREFIX)


def name_fault(name: Any) -> str | None:
    """Return why BigQuery refuses the column name, or None if it accepts it."""
    if not isinstance(name, str):
        return f"is of type {type(name).__name__}, and a column's name is text"
    if not name.strip():
        return "is empty"
    if len(name) > MAX_NAME:
        return f"has {len(name)} characters, and BigQuery allows at most {MAX_NAME}"
    for prefix in RESERVED_PREFIXES:
        if fold(name).startswith(fold(prefix)):
            return f"begins with {prefix}, which BigQuery reserves"
    for sign in name:
        if sign not in _SIGNS and not unicodedata.category(sign).startswith(_CATEGORIES):
            return f"holds {sign!r}, which BigQuery does not allow in a column name"
    return None


def proposed_name(name: Any) -> str:
    """Return a column name that BigQuery accepts, close to `name`."""
    text = "_".join(map(str, name)) if isinstance(name, tuple) else str(name)
    text = re.sub(r"\W+", "_", text).strip("_")[: MAX_NAME - 1] or "column"
    return f"c{text}" if text[0].isdigit() or name_fault(text) is not None else text


def check_column_names(names: Iterable[Any], parameter: str) -> None:
    """Refuse column names that BigQuery does not accept, and duplicates.

    Raises:
        InvalidRequest: the message names `parameter` and the columns, and proposes other names.
    """
    listed = list(names)
    faults = {name: fault for name in listed if (fault := name_fault(name)) is not None}
    if faults:
        shown = list(faults)[:MAX_SHOWN]
        texts = "; ".join(f"column {_shown(name)} {faults[name]}" for name in shown)
        more = f"; and {len(faults) - len(shown)} more" if len(faults) > len(shown) else ""
        raise InvalidRequest((parameter, f"{texts}{more}: {_advice(shown, parameter)}"))
    if repeated := duplicates(listed):
        text = (
            f"columns {repeated} are the same to BigQuery, which ignores case: rename one of each"
        )
        raise InvalidRequest((parameter, text))


def _advice(names: list[Any], frame: str) -> str:
    columns = f"{frame}.columns"
    if any(isinstance(name, tuple) for name in names):
        return f"join the levels: {columns} = ['_'.join(map(str, c)) for c in {columns}]"
    if not any(isinstance(name, str) for name in names):
        return f"name the columns by text: {columns} = [f'c{{c}}' for c in {columns}]"
    renames = ", ".join(f"{_shown(name)}: {proposed_name(name)!r}" for name in names)
    return f"rename it, for instance with {frame}.rename(columns={{{renames}}})"


def _shown(name: Any) -> str:
    text = repr(name)
    return text if len(text) <= 80 else f"{text[:77]}..."
