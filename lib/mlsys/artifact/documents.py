"""JSON documents that others write, read within limits on size, depth and numbers.

`upload_model`, the registry and scoring all read a `metadata.json` with `read_document`, so they
refuse the same documents. The objects of aliases are read with it too.
"""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from collections.abc import Mapping
from typing import Any

from mlsys.arguments import shown
from mlsys.errors import MetadataInvalid

MAX_BYTES = 1_000_000  # of a metadata.json
MAX_DEPTH = 100  # of JSON values; https://cloud.google.com/bigquery/docs/json-data ends at 500


class _Twice(Exception):
    """A key occurs twice in one object of JSON."""


def check_size(size: int | None) -> None:
    """Refuse a document of more than `MAX_BYTES`, before it is downloaded or after it was built.

    Raises:
        MetadataInvalid: it is too large.
    """
    if (size or 0) > MAX_BYTES:
        raise MetadataInvalid(
            f"metadata.json has {size:,} bytes, and the limit is {MAX_BYTES:,}: leave out metrics "
            "or the description, or train on fewer columns"
        )


def read_document(content: bytes, name: str = "metadata.json") -> Mapping[str, Any]:
    """Return a document's JSON object, if BigQuery can store it; errors call it `name`.

    Raises:
        MetadataInvalid: it is too large, is not a JSON object, has a key twice in one object, or
            has a value that BigQuery's JSON cannot hold.
    """
    check_size(len(content))
    try:
        # Python's json writes and reads NaN and Infinity, which BigQuery's JSON does not have.
        document = json.loads(
            content,
            parse_constant=lambda _: None,
            parse_float=_finite,
            object_pairs_hook=_without_duplicates,
        )
    except (ValueError, RecursionError) as exc:
        raise MetadataInvalid(f"{name} is not JSON: {exc}") from exc
    except _Twice as exc:
        raise MetadataInvalid(f"{name} has {exc} twice in one object: keep one") from exc
    if not isinstance(document, dict):
        raise MetadataInvalid(f"{name} holds a {type(document).__name__}, not an object")
    if problem := unstorable(document):
        raise MetadataInvalid(f"{name} {problem}")
    return document


def text_of(document: Mapping[str, Any]) -> str:
    """Return a `metadata.json`: a line for each value, but the profile in one line."""

    def text(name: str, value: Any) -> str:
        if name == "profile":
            return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        return json.dumps(value, indent=1).replace("\n", "\n ")

    lines = ",\n ".join(f"{json.dumps(key)}: {text(key, v)}" for key, v in document.items())
    return f"{{\n {lines}\n}}"


def unstorable(value: Any) -> str | None:
    """Return why BigQuery would refuse a JSON value (and with it the whole statement), or None."""
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
        return "holds half of a surrogate pair, which is not Unicode text"
    return None


def _finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = next(name for name, count in counts.items() if count > 1)
        raise _Twice(shown(twice))
    return document
