"""Dates, decimal numbers, time zones and pandas' own values from a pickle.

The zones of pytz, which pandas 2 used, become the standard library's zones of the same name.

Encoders keep the categories of DATE, TIME, NUMERIC and TIMESTAMP columns as such objects, and
column selectors keep types. Each is created by its own constructor from arguments of one form.
"""

from __future__ import annotations

import datetime
import functools
import re
from collections.abc import Callable
from typing import Any

from mlsys.safe_pickle.handles import Handle, UnsafePickle, need, resolve

NUMBER = re.compile(r"-?(\d{1,100}(\.\d{0,100})?|\.\d{1,100})(E[+-]?\d{1,4})?|NaN|-?Infinity")
ZONE = re.compile(r"[A-Za-z0-9_+-]{1,40}(/[A-Za-z0-9_+-]{1,40}){0,3}")
MANAGER = "pandas.core.internals.managers.SingleBlockManager"
RESOLUTIONS = range(7, 11)  # seconds to nanoseconds, as NumPy numbers them


def _date(content: Any) -> datetime.date:
    need(type(content) is bytes and len(content) == 4, "a date")
    kind: Any = datetime.date
    made: datetime.date = kind(content)
    return made


def _moment(content: Any, zone: Any = None) -> datetime.datetime:
    need(type(content) is bytes and len(content) == 10 and _is_zone(zone), "a datetime")
    kind: Any = datetime.datetime
    made: datetime.datetime = kind(content) if zone is None else kind(content, zone)
    offset = getattr(zone, "offset", None)
    if offset is not None and made.utcoffset() != offset:  # the second of two equal hours
        made = made.replace(fold=1)
    return made


def _time(content: Any, zone: Any = None) -> datetime.time:
    need(type(content) is bytes and len(content) == 6 and _is_zone(zone), "a time")
    kind: Any = datetime.time
    made: datetime.time = kind(content) if zone is None else kind(content, zone)
    return made


def _span(*parts: Any) -> datetime.timedelta:
    need(len(parts) == 3 and all(type(p) is int for p in parts), "a timedelta")
    return datetime.timedelta(*parts)


def _offset(span: Any, name: Any = "") -> datetime.timezone:
    need(type(span) is datetime.timedelta and type(name) is str and len(name) < 100, "a zone")
    if span == datetime.timedelta() and not name:
        return datetime.UTC
    return datetime.timezone(span, name) if name else datetime.timezone(span)


def _is_zone(zone: Any) -> bool:
    import zoneinfo

    kind = type(zone)
    return zone is None or kind is datetime.timezone or issubclass(kind, zoneinfo.ZoneInfo)


def _zone(key: Any, from_cache: Any) -> Any:
    import zoneinfo

    need(type(key) is str and ZONE.fullmatch(key) is not None, "a time zone")
    try:
        return zoneinfo.ZoneInfo(key)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as exc:
        raise UnsafePickle(
            f"needs the time zone {key!r}, which the service does not know: use UTC"
        ) from exc


def _pytz_zone(key: Any, offset: Any = None, dst: Any = None, name: Any = None) -> Any:
    """Return pytz's zone of that name; the zone of a pytz datetime also has its offset."""
    zone = _zone(key, True)
    if offset is None or name == "LMT":  # the zone itself, not one of a datetime
        return zone
    need(type(offset) is int and abs(offset) < 100_000, "a time zone")
    made = _zone_at().no_cache(key)
    made.offset = datetime.timedelta(seconds=offset)
    return made


@functools.cache
def _zone_at() -> Any:
    import zoneinfo

    return type("ZoneInfo", (zoneinfo.ZoneInfo,), {"offset": None, "__module__": "zoneinfo"})


def _pytz_utc() -> datetime.timezone:
    return datetime.UTC


def _pytz_offset(minutes: Any) -> datetime.timezone:
    need(type(minutes) is int and abs(minutes) < 1440, "a time zone")
    return datetime.timezone(datetime.timedelta(minutes=minutes))


def _decimal(text: Any) -> Any:
    import decimal

    need(type(text) is str and NUMBER.fullmatch(text) is not None, "a decimal number")
    return decimal.Decimal(text)


def _timestamp(value: Any, freq: Any, zone: Any, resolution: Any = 10) -> Any:
    need(freq is None and _is_zone(zone), "a Timestamp")
    key = "pandas._libs.tslibs.timestamps._unpickle_timestamp"
    return resolve(key)(_ticks(value, resolution), None, zone, resolution)


def _timedelta(value: Any, resolution: Any) -> Any:
    key = "pandas._libs.tslibs.timedeltas._timedelta_unpickle"
    return resolve(key)(_ticks(value, resolution), resolution)


def _ticks(value: Any, resolution: Any) -> int:
    need(type(value) is int and abs(value) < 2**63, "a Timestamp")
    need(type(resolution) is int and resolution in RESOLUTIONS, "a Timestamp")
    number: int = value
    return number


def _nat(nothing: Any) -> Any:
    import pandas as pd

    need(nothing is None, "a NaT")
    return pd.NaT


def zone_of(owner: Any, name: Any) -> Any:
    """Return the constructor for `getattr(ZoneInfo, "_unpickle")`, or None for other names."""
    if type(owner) is Handle and owner.key == "zoneinfo.ZoneInfo" and name == "_unpickle":
        return Handle("zoneinfo.ZoneInfo._unpickle", make=_zone)
    return None


def _no_zone(*args: Any) -> Any:
    raise UnsafePickle("calls `zoneinfo.ZoneInfo`: leave this part out of the model")


VALUES: dict[str, Callable[..., Any]] = {
    "datetime.date": _date,
    "datetime.datetime": _moment,
    "datetime.time": _time,
    "datetime.timedelta": _span,
    "datetime.timezone": _offset,
    "decimal.Decimal": _decimal,
    "pandas._libs.tslibs.nattype._nat_unpickle": _nat,
    "pandas._libs.tslibs.timedeltas._timedelta_unpickle": _timedelta,
    "pandas._libs.tslibs.timestamps._unpickle_timestamp": _timestamp,
    "pytz.FixedOffset": _pytz_offset,
    "pytz._UTC": _pytz_utc,
    "pytz._p": _pytz_zone,
    "zoneinfo.ZoneInfo": _no_zone,
}


def _uuid(inst: Any, state: Any) -> None:
    need(type(state) is dict and set(state) == {"int"}, "a UUID")
    need(type(state["int"]) is int and 0 <= state["int"] < 2**128, "a UUID")
    inst.__setstate__(state)


def _categories(inst: Any, state: Any) -> None:
    import pandas as pd

    need(type(state) is dict and set(state) <= {"categories", "ordered", "_cache"}, "a dtype")
    values, ordered = state.get("categories"), state.get("ordered")
    need(values is None or isinstance(values, pd.Index), "a dtype")
    need(ordered is None or type(ordered) is bool, "a dtype")
    made = pd.CategoricalDtype(values, ordered)
    inst.__setstate__({"categories": made.categories, "ordered": made.ordered})


def _zoned(inst: Any, state: Any) -> None:
    need(type(state) is dict and {"unit", "tz"} <= set(state), "a dtype")
    need(state["unit"] in ("s", "ms", "us", "ns") and _is_zone(state["tz"]), "a dtype")
    inst.__setstate__({"unit": state["unit"], "tz": state["tz"]})


def _nothing(inst: Any, state: Any) -> None:
    need(type(state) is dict, "a dtype")  # pandas' cached values, which are not used


def _series(inst: Any, state: Any) -> None:
    """Rebuild a Series, such as the mask of a ColumnTransformer's columns, from its values."""
    import pandas as pd

    what = "a Series"
    need(type(state) is dict and type(state.get("_mgr")) is Manager, what)
    name = state.get("_name")
    need(name is None or type(name) in (str, int), what)
    made = pd.Series(state["_mgr"].values, index=state["_mgr"].index, name=name)
    own: Any = made.__getstate__()
    inst.__setstate__(own)


class Manager:
    """The placeholder for pandas' SingleBlockManager, with a Series' index and values."""

    index: Any = None
    values: Any = None


def _manager(inst: Any, state: Any) -> None:
    import numpy as np
    import pandas as pd

    what = "a Series"
    need(type(state) is tuple and len(state) == 4 and type(state[3]) is dict, what)
    held = state[3].get("0.14.1")
    need(type(held) is dict and {"axes", "blocks"} <= set(held), what)
    axes, blocks = held["axes"], held["blocks"]
    need(type(axes) is list and type(blocks) is list and len(axes) == len(blocks) == 1, what)
    need(type(blocks[0]) is dict and isinstance(axes[0], pd.Index), what)
    values = blocks[0].get("values")
    need(isinstance(values, np.ndarray) or type(values).__name__ == "ArrowStringArray", what)
    need(values.ndim == 1 and len(values) == len(axes[0]), what)
    inst.index, inst.values = axes[0], values


MASKED = "BooleanDtype Float32Dtype Float64Dtype Int8Dtype Int16Dtype Int32Dtype Int64Dtype " \
    "UInt8Dtype UInt16Dtype UInt32Dtype UInt64Dtype"  # fmt: skip
STATES: dict[str, Callable[[Any, Any], None]] = {
    MANAGER: _manager,
    "pandas.CategoricalDtype": _categories,
    "pandas.DatetimeTZDtype": _zoned,
    "pandas.Series": _series,
    "uuid.UUID": _uuid,
    **{f"pandas.{name}": _nothing for name in MASKED.split()},
}
