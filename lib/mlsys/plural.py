"""Counted nouns in texts for people: 1 row, 2 rows."""

from __future__ import annotations


def plural(count: int, noun: str, nouns: str | None = None) -> str:
    """Return the count with its noun; `nouns` is the plural that does not only add an s.

    >>> plural(1, "row"), plural(1200, "row"), plural(0, "class", "classes")
    ('1 row', '1,200 rows', '0 classes')
    """
    return f"{count:,} {noun if count == 1 else nouns or f'{noun}s'}"


def part(count: int, whole: int, noun: str, verb: str = "") -> str:
    """Return how many of a whole, with the verb in the form for one: `fails`, `is`, `has`.

    >>> part(1, 200, "row", "fails"), part(3, 200, "row", "fails"), part(1, 1, "row")
    ('1 of 200 rows fails', '3 of 200 rows fail', '1 of 1 row')
    """
    text = f"{count:,} of {plural(whole, noun)}"
    return f"{text} {does(count, verb)}" if verb else text


def does(count: int, verb: str) -> str:
    """Return a verb in the form that fits the count.

    >>> does(1, "is"), does(2, "is"), does(2, "has"), does(2, "fails")
    ('is', 'are', 'have', 'fail')
    """
    if count == 1:
        return verb
    return {"is": "are", "was": "were", "has": "have"}.get(verb) or verb.removesuffix("s")
