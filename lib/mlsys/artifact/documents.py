"""JSON documents that others write: the one limit on their size, depth and numbers.

`upload_model`, the registry and scoring read a `metadata.json` through `read_document`, so what one
of them leaves out, all of them leave out.
"""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from collections.abc import Mapping
from typing import Any

from mlsys.errors import MetadataInvalid

MAX_BYTES = 1_000_000  # of a metadata.json
MAX_DEPTH = 100  # of JSON values; https://cloud.google.com/bigquery/docs/json-data ends at 500
MAX_SHOWN = 80  # characters of a foreign value in a message


def check_size(size: int | None) -> None:
    """Refuse a document of more than `MAX_BYTES`, before it is downloaded or after it was built.

    Raises:
        MetadataInvalid: it is too large.
    """
    if (size or 0) > MAX_BYTES:
        raise MetadataInvalid(
            f"metadata.json has {size:,} bytes, and {MAX_BYTES:,} are read at most: leave out "
            "metrics or a description, or train on fewer columns"
        )


def read_document(content: bytes) -> Mapping[str, Any]:
    """Return the object that a document holds, if BigQuery can store it.

    Raises:
        MetadataInvalid: it is too large, is not a JSON object, has a key twice in one object, or
            holds what BigQuery's JSON cannot.
    """
    check_size(len(content))
    try:
        # BigQuery's JSON has no NaN and no Infinity, which Python's json writes and reads.
        document = json.loads(
            content,
            parse_constant=lambda _: None,
            parse_float=_finite,
            object_pairs_hook=_without_duplicates,
        )
    except MetadataInvalid:
        raise
    except (ValueError, RecursionError) as exc:
        raise MetadataInvalid(f"metadata.json is no JSON: {exc}") from exc
    if not isinstance(document, dict):
        raise MetadataInvalid(f"metadata.json holds a {type(document).__name__}, not an object")
    if problem := unstorable(document):
        raise MetadataInvalid(f"metadata.json {problem}")
    return document


def unstorable(value: Any) -> str | None:
    """Return what in a JSON value BigQuery would refuse, and with it every row of the statement."""
    level, depth = [value], 0
    while level:
        if depth > MAX_DEPTH:
            return f"is nested deeper than {MAX_DEPTH} levels"
        if not all(abs(v) <= sys.float_info.max for v in level if isinstance(v, int | float)):
            return "holds a number that FLOAT64 cannot hold"
        nested = (
            v.values() if isinstance(v, dict) else v for v in level if isinstance(v, dict | list)
        )
        level, depth = [v for values in nested for v in values], depth + 1
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return "holds half of a surrogate pair, which is no Unicode text"
    return None


def shown(value: Any) -> str:
    """Return a foreign value as a message shows it: of bounded length, and always Unicode text."""
    text = ascii(value) if isinstance(value, str) and not _is_text(value) else repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."


def shown_text(value: Any) -> str:
    """Return a foreign value as text of bounded length."""
    text = str(value)
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = next(name for name, count in counts.items() if count > 1)
        raise MetadataInvalid(f"metadata.json has {shown(twice)} twice in one object: leave one")
    return found
