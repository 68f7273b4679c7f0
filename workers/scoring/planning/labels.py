"""Names of output columns for classes, components and features: one rule for all.

A name is made of words joined by underscores: `probability_<class>`. In a word each letter, digit
and mark of any script stays, and everything else becomes an underscore; a word has at most 200
characters, a name at most 300. Names that would be equal each get an underscore and the first
digits of the SHA-256 of their words. So a name depends only on the model.

>>> column_names([("probability", "yes"), ("probability", "no")])
['probability_yes', 'probability_no']
>>> column_names([("probability", "北京"), ("probability", "A+"), ("probability", "A-")])
['probability_北京', 'probability_A__9cf893ae', 'probability_A__0f8fe645']
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections import Counter
from collections.abc import Sequence

from mlsys.columns.names import MAX_NAME
from mlsys.errors import InvalidRequest
from mlsys.plural import plural

MAX_WORD = 200  # characters
DIGITS = 8
MAX_CLASS_COLUMNS = 100_000  # characters


def column_names(words: Sequence[tuple[str, ...]]) -> list[str]:
    """Return a column name for each tuple of words, all of them different to BigQuery.

    The first word is fixed. Case is ignored beyond ASCII here: BigQuery's
    documentation does not say that it distinguishes `Да` from `да`, and two names are never equal
    either way.
    """
    plain = ["_".join([first, *map(_word, rest)]) for first, *rest in words]
    names = [name[:MAX_NAME] for name in plain]
    equal = _equal(names)
    names = [
        _with_digest(name, parts, DIGITS) if name.lower() in equal or len(full) > MAX_NAME else name
        for name, full, parts in zip(names, plain, words, strict=True)
    ]
    # Another class may have that very name: use more digits, and at last the list's index.
    for digits in range(DIGITS + 8, 65, 8):
        if not (equal := _equal(names)):
            return names
        names = [
            _with_digest(name, parts, digits) if name.lower() in equal else name
            for name, parts in zip(names, words, strict=True)
        ]
    equal = _equal(names)
    return [
        _with_suffix(name, str(i)) if name.lower() in equal else name
        for i, name in enumerate(names)
    ]


def read_class_columns(text: str) -> str:
    """Return `class_columns` in canonical form: names by comma, or a JSON object of label to name.

    Raises:
        InvalidRequest: it is neither, or a name has other characters than letters, digits and
            underscores, or occurs twice.
    """
    if len(text) > MAX_CLASS_COLUMNS:
        raise _unreadable(f"has more than {MAX_CLASS_COLUMNS:,} characters")
    names = [name.strip() for name in text.split(",")]
    form = ",".join(names)
    if text.lstrip().startswith("{"):
        try:
            mapping = json.loads(text)
        except (ValueError, RecursionError) as exc:
            raise _unreadable(f"is not JSON: {exc}") from exc
        if not mapping or not all(isinstance(name, str) for name in mapping.values()):
            raise _unreadable("has to name a column for each label it holds")
        names = list(mapping.values())
        form = json.dumps(mapping, ensure_ascii=False, sort_keys=True)
    for name in names:
        if not name or len(name) > MAX_WORD or _word(name) != name:
            raise _unreadable(f"{name[:80]!r} is not made of letters, digits and underscores")
    if len({name.lower() for name in names}) < len(names):
        raise _unreadable("holds a name twice")
    return form


def names_of_labels(class_columns: str, labels: Sequence[str]) -> dict[str, str]:
    """Return the names that `class_columns` gives to labels; a list is in the labels' order.

    Raises:
        InvalidRequest: it names an unknown label, or lists another number of names.
    """
    shown = ", ".join(map(repr, labels[:20])) or "none"
    if class_columns.startswith("{"):
        mapping: dict[str, str] = json.loads(class_columns)
        if unknown := [label for label in mapping if label not in set(labels)]:
            raise _unreadable(f"names {unknown[0]!r}; the outputs have columns for: {shown}")
        return mapping
    names = class_columns.split(",")
    if len(names) != len(labels):
        raise _unreadable(
            f"has {plural(len(names), 'name')}, and the outputs have columns for "
            f"{plural(len(labels), 'class', 'classes')} in this order: {shown}"
        )
    return dict(zip(labels, names, strict=True))


def _unreadable(problem: str) -> InvalidRequest:
    advice = 'pass a name for each class, low,high, or {"<=50K": "low"}'
    return InvalidRequest(("class_columns", f"{problem}: {advice}"))


def _equal(names: Sequence[str]) -> set[str]:
    counts = Counter(name.lower() for name in names)
    return {name for name, count in counts.items() if count > 1}


def _with_digest(name: str, parts: tuple[str, ...], digits: int) -> str:
    digest = hashlib.sha256(json.dumps(parts[1:]).encode()).hexdigest()
    return _with_suffix(name, digest[:digits])


def _with_suffix(name: str, suffix: str) -> str:
    return f"{name[: MAX_NAME - len(suffix) - 1]}_{suffix}"


def _word(text: str) -> str:
    """Return the text as a part of a column name.

    https://cloud.google.com/bigquery/docs/schemas#flexible-column-names
    """
    return "".join(c if _stays(c) else "_" for c in text[:MAX_WORD])


def _stays(sign: str) -> bool:
    return sign == "_" or unicodedata.category(sign)[0] in "LNM"
