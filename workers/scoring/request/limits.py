"""What a run may cost at most: the bytes that BigQuery charges for, and US dollars."""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction

from mlsys.errors import InvalidRequest

MAX_BYTES = 2**63 - 1

_UNITS = {"": 1, "B": 1} | {
    f"{letter}{middle}B": base**power
    for middle, base in (("", 1000), ("I", 1024))
    for power, letter in enumerate("KMGTP", 1)
}
_BYTES = re.compile(r"([0-9]{1,19}(?:\.[0-9]{1,6})?) ?([KMGTP]?I?B|)", re.ASCII | re.IGNORECASE)
_USD = re.compile(r"[0-9]{1,9}(\.[0-9]{1,6})?", re.ASCII)


def read_max_bytes(text: str) -> int:
    """Read a number of bytes, with or without a unit.

    >>> read_max_bytes("10GB"), read_max_bytes("1.5 KiB")
    (10000000000, 1536)

    Raises:
        InvalidRequest: the text is not a number of bytes.
    """
    match = _BYTES.fullmatch(text)
    unit = match[2].upper() if match else None
    if match is None or unit not in _UNITS or (unit == "" and "." in match[1]):
        raise InvalidRequest(
            (
                "max_bytes",
                f"{text[:80]!r} is not a number of bytes: pass 500000, 10GB (powers of 1000) or "
                "5GiB (powers of 1024)",
            )
        )
    size = int(Fraction(match[1]) * _UNITS[unit])
    if size > MAX_BYTES:
        raise InvalidRequest(("max_bytes", f"{text[:80]!r}: pass at most {MAX_BYTES} bytes"))
    return size


def read_max_cost(text: str) -> Decimal:
    """Read an amount of US dollars.

    >>> read_max_cost("0.50")
    Decimal('0.50')

    Raises:
        InvalidRequest: the text is not an amount.
    """
    if _USD.fullmatch(text):
        return Decimal(text)
    raise InvalidRequest(
        ("max_cost", f"{text[:80]!r} is not an amount of US dollars: pass 0.5, or 20")
    )
