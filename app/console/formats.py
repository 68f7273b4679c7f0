"""Values as people read them: times, durations, sizes and numbers."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Mapping
from typing import Any

NOTHING = "–"
LARGEST = 1e300  # beyond it figures are not drawn, nor is NaN
_UNITS = ((86_400, "day", "days"), (3_600, "hour", "hours"), (60, "min", "min"))


def now() -> dt.datetime:
    """Return the present moment."""
    return dt.datetime.now(dt.UTC)


def moment(value: Any) -> dt.datetime | None:
    """Return an ISO time as a moment, or None if it is not one."""
    if isinstance(value, dt.datetime):
        return value if value.tzinfo else value.replace(tzinfo=dt.UTC)
    try:
        read = dt.datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return (read if read.tzinfo else read.replace(tzinfo=dt.UTC)).astimezone(dt.UTC)


def exact(value: Any) -> str:
    """Return a time to the second.

    >>> exact("2026-11-28T19:55:32.123+00:00")
    '2026-11-28 19:55:32 UTC'
    """
    at = moment(value)
    return NOTHING if at is None else f"{at:%Y-%m-%d %H:%M:%S} UTC"


def whole(value: Any) -> Any:
    r"""Return a view without half surrogate pairs in its texts: JSON may have them, UTF-8 has not.

    >>> whole({"reason": "half of \ud83d"})
    {'reason': 'half of \\ud83d'}
    """
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, Mapping):
        return {whole(name): whole(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [whole(inner) for inner in value]
    return value


def ago(value: Any, since: dt.datetime | None = None) -> str:
    """Return how long ago a time is; beyond a month its date.

    >>> ago("2026-11-28T12:00:00Z", dt.datetime(2026, 11, 28, 14, 30, tzinfo=dt.UTC))
    '2 hours ago'
    """
    at = moment(value)
    if at is None:
        return NOTHING
    seconds = ((since or now()) - at).total_seconds()
    if abs(seconds) >= 31 * 86_400:
        return f"{at.day} {at:%b %Y}"
    if abs(seconds) < 5:
        return "just now"
    span = abs(seconds)
    for size, one, many in _UNITS:
        if span >= size:
            number = int(span // size)
            text = f"{number} {one if number == 1 else many}"
            break
    else:
        text = f"{int(span)} s"
    return f"{text} ago" if seconds > 0 else f"in {text}"


def lasted(seconds: Any) -> str:
    """Return a duration with its two largest units.

    >>> [lasted(s) for s in (0.04, 9.96, 192, 7500, 100_000)]
    ['40 ms', '10 s', '3 min 12 s', '2 h 5 min', '1 day 3 h']
    """
    if not is_number(seconds) or seconds < 0:
        return NOTHING
    if 0 < round(seconds, 3) < 1:
        return f"{1000 * seconds:.0f} ms"
    if round(seconds, 1) < 10:
        return f"{seconds:.1f} s" if seconds else "0 s"
    whole = round(seconds)
    days, rest = divmod(whole, 86_400)
    hours, rest = divmod(rest, 3_600)
    minutes, rest = divmod(rest, 60)
    parts = [(days, "day" if days == 1 else "days"), (hours, "h"), (minutes, "min"), (rest, "s")]
    first = next(i for i, (number, _) in enumerate(parts) if number)
    shown = [f"{number} {unit}" for number, unit in parts[first : first + 2] if number]
    return " ".join(shown)


def count(value: Any) -> str:
    """Return a whole number with separators.

    >>> count(1234567)
    '1,234,567'
    """
    if isinstance(value, str) and value.lstrip("-").isdigit():  # beyond 2^53
        value = int(value)
    return f"{value:,.0f}" if is_number(value) else NOTHING


def counted(value: Any, noun: str = "row") -> str:
    """Return a whole number with its noun.

    >>> counted(1, "row"), counted(1200, "row"), counted(None, "row")
    ('1 row', '1,200 rows', '– rows')
    """
    number = count(value)
    return f"{number} {noun if number == '1' else f'{noun}s'}"


def size(value: Any) -> str:
    """Return bytes in the unit that suits.

    >>> [size(b) for b in (812, 20_480, 3_500_000)]
    ['812 B', '20 KiB', '3.3 MiB']
    """
    if not is_number(value):
        return NOTHING
    amount, unit = float(value), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if amount < 1024:
            break
        amount, unit = amount / 1024, larger
    return f"{amount:.0f} {unit}" if amount >= 10 or unit == "B" else f"{amount:.1f} {unit}"


def figure(value: Any) -> str:
    """Return a number with four digits, and any other value as text.

    >>> [figure(v) for v in (0.83214159, 12345.6, 7, 1e-9, None, [1, 2])]
    ['0.8321', '12,346', '7', '1e-09', '–', '[1, 2]']
    """
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        large = is_number(value) and abs(value) >= 1000
        return f"{value:,.0f}" if large else f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def percent(value: Any) -> str:
    """Return a share as a percentage.

    >>> [percent(v) for v in (0.5, 0.0012, 0)]
    ['50%', '0.12%', '0%']
    """
    if not is_number(value):
        return NOTHING
    return f"{100 * value:.3g}%" if value < 0.9995 else f"{100 * value:.0f}%"


def money(value: Any) -> str:
    """Return US dollars: cents only where they say something.

    >>> [money(v) for v in (0, 0.00004, 0.0312, 12.5)]
    ['$0.00', 'below $0.01', '$0.03', '$12.50']
    """
    if not is_number(value):
        return NOTHING
    return "below $0.01" if 0 < value < 0.005 else f"${value:,.2f}"


def pretty(value: Any) -> str:
    """Return JSON with line breaks."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def compact(value: Any) -> str:
    """Return JSON in one line."""
    return json.dumps(value, ensure_ascii=False)


def is_number(value: Any) -> bool:
    """Tell whether a page can show the value as a number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST


FILTERS: Mapping[str, Callable[..., Any]] = {
    "ago": ago,
    "compact": compact,
    "count": count,
    "counted": counted,
    "exact": exact,
    "figure": figure,
    "lasted": lasted,
    "money": money,
    "percent": percent,
    "pretty": pretty,
    "size": size,
}
