"""Random columns of every dtype, with the values that libraries of this kind have changed."""

import datetime as dt
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
from hypothesis import strategies as st

from mlsys.columns.frames import from_frame
from mlsys.errors import InvalidRequest

ROWS = 4
MISSING = (None, float("nan"), pd.NaT, pd.NA)
ZONES = (dt.UTC, ZoneInfo("Europe/Berlin"), dt.timezone(dt.timedelta(hours=-7, minutes=30)))

INTS = st.sampled_from([0, 1, -1, 2**53 - 1, 2**53, 2**53 + 1, 2**63 - 1, -(2**63)]) | st.integers(
    -(2**63), 2**63 - 1
)
HUGE = st.sampled_from([2**63, -(2**63) - 1, 10**30])
FLOATS = st.sampled_from([0.1, -0.0, 1 / 3, 1e-12, 2.0**53, 5e-324, 1e308, float("inf")]) | (
    st.floats(allow_nan=False)
)
DECIMALS = st.sampled_from(
    [Decimal(t) for t in ("0.1", "-0", "1E+5", "1.00000000000", "12345678901234567890.123456789")]
)
FINE = st.sampled_from([Decimal("1E-12"), Decimal(2) / 3, Decimal("1E+30"), Decimal("-1E-38")])
BEYOND = st.sampled_from([Decimal("1E-39"), Decimal("1E+38"), Decimal("Infinity"), Decimal("NaN")])
TEXT = st.text(max_size=5) | st.sampled_from(["", "NaN", "None", "é", "😀", "1", "\n'\"\\"])
SURROGATES = st.sampled_from(["\ud800", "a\udfff"])
BYTES = st.binary(max_size=4) | st.sampled_from([bytearray(b"\xff"), memoryview(b"a")])
DATES = st.dates()
NAIVE = st.datetimes()
AWARE = st.builds(
    lambda moment, zone, fold: moment.replace(tzinfo=zone, fold=fold),
    st.datetimes() | st.just(dt.datetime(2020, 10, 25, 2, 30)) | st.just(dt.datetime.min),
    st.sampled_from(ZONES),
    st.integers(0, 1),
)
STAMPS = st.sampled_from(
    [
        pd.Timestamp("2024-02-29 10:00:00.000001"),
        pd.Timestamp("2024-02-29 10:00:00.000000001"),
        pd.Timestamp("2024-02-29 10:00", tz="Asia/Tokyo"),
        np.datetime64("2024-02-29"),
        np.datetime64("2024-02-29T10:00:00.000000001"),
        np.datetime64("20000-01-01"),
    ]
)
TIMES = st.times()
ZONED_TIMES = st.times(timezones=st.sampled_from(ZONES[:1]))
SCALARS = st.sampled_from(
    [np.int8(1), np.uint64(2**63), np.float32(0.1), np.bool_(True), np.str_("a"), np.float16(0.5)]
)
ODD = st.sampled_from(
    [
        *(1j, dt.timedelta(1), pd.Timedelta(1, "s"), np.timedelta64(1, "s"), [1], [1, None], (1,)),
        *({"a": 1}, {1}, np.array([1]), pd.Period("2024"), pd.Interval(0, 1), object, ZONES[1]),
    ]
)
KINDS = (
    *(INTS, HUGE, FLOATS, st.booleans(), DECIMALS, FINE, BEYOND, TEXT, SURROGATES, BYTES, DATES),
    *(NAIVE, AWARE, STAMPS, TIMES, ZONED_TIMES, SCALARS, ODD),
)


def _objects(values: list[Any]) -> "pd.Series[Any]":
    column = np.empty(len(values), dtype=object)
    column[:] = values
    try:
        return pd.Series(column)
    except UnicodeEncodeError:  # pandas stores text as Arrow's only, which is UTF-8
        return pd.Series(column, dtype=object)


def _lists(values: st.SearchStrategy[Any], missing: bool = True) -> st.SearchStrategy[list[Any]]:
    some = values | st.sampled_from(MISSING) if missing else values
    return st.lists(some, min_size=0, max_size=ROWS)


OBJECTS = st.lists(st.sampled_from(KINDS), min_size=1, max_size=2).flatmap(
    lambda kinds: _lists(st.one_of(*kinds)).map(_objects)
)


def _of(dtype: Any, values: st.SearchStrategy[Any], missing: bool = True) -> Any:
    some = values | st.none() if missing else values
    return st.lists(some, max_size=ROWS).map(lambda v: pd.Series(v, dtype=dtype))


def _numpy(name: str) -> Any:
    """Return columns of a NumPy number type, made from raw bytes."""
    size = np.dtype(name).itemsize
    return st.binary(max_size=ROWS * size).map(
        lambda b: pd.Series(np.frombuffer(b[: len(b) // size * size], name).copy())
    )


def _moments(unit: str, zone: str | None) -> Any:
    """Return columns of datetimes: every int64 is a valid one, or NaT."""
    moments = INTS | st.integers(-(10**15), 10**15) | st.just(np.iinfo(np.int64).min)

    def make(numbers: list[int]) -> "pd.Series[Any]":
        series = pd.Series(np.array(numbers, "int64").view(f"datetime64[{unit}]"))
        return series if zone is None else series.dt.tz_localize("UTC").dt.tz_convert(zone)

    return st.lists(moments, max_size=ROWS).map(make)


def _arrow(kind: pa.DataType, values: st.SearchStrategy[Any]) -> Any:
    lists = st.lists(values | st.none(), max_size=ROWS)
    make: Callable[[list[Any]], Any] = lambda v: pd.Series(  # noqa: E731 (of a strategy)
        pd.arrays.ArrowExtensionArray(pa.array(v, kind))
    )
    return lists.map(make)


_SMALL = st.integers(0, 100)
DTYPES = st.one_of(
    *(_numpy(name) for name in ("int8", "int16", "int64", "uint32", "uint64")),
    *(_numpy(name) for name in ("float16", "float32", "float64", "complex64")),
    st.lists(st.booleans(), max_size=ROWS).map(lambda v: pd.Series(v, dtype=bool)),
    st.lists(FLOATS, max_size=ROWS).map(lambda v: pd.Series(np.array(v, np.longdouble) / 3)),
    *(_of(name, _SMALL) for name in ("Int8", "UInt8", "Int64")),
    _of("Int64", INTS),
    _of("UInt64", st.integers(0, 2**64 - 1)),
    _of("Float64", FLOATS),
    _of("boolean", st.booleans()),
    _of("str", TEXT),
    _of("string", TEXT),
    _of("category", TEXT),
    _of("category", _SMALL),
    st.lists(st.sampled_from([1, "a", 2.5, True]), max_size=ROWS).map(
        lambda v: _objects(v).astype("category")
    ),
    *(_moments(unit, zone) for unit in ("s", "ms", "us", "ns") for zone in (None, "Asia/Tokyo")),
    st.lists(_SMALL, max_size=ROWS).map(lambda v: pd.Series(pd.to_timedelta(v, "s"))),
    st.lists(FLOATS, max_size=ROWS).map(lambda v: pd.Series(pd.arrays.SparseArray(np.array(v)))),
    st.just(pd.Series(pd.period_range("2024", periods=2))),
    st.just(pd.Series(pd.interval_range(0, 2))),
    _arrow(pa.int64(), INTS),
    _arrow(pa.uint64(), st.integers(0, 2**64 - 1)),
    _arrow(pa.float32(), st.floats(width=32, allow_nan=False)),
    _arrow(pa.large_string(), TEXT),
    _arrow(pa.dictionary(pa.int8(), pa.string()), TEXT),
    _arrow(pa.binary(), st.binary(max_size=3)),
    _arrow(pa.decimal128(38, 20), st.decimals(-1000, 1000, places=12)),
    _arrow(pa.decimal256(76, 38), st.decimals(-1000, 1000, places=38)),
    _arrow(pa.date64(), DATES),
    _arrow(pa.time64("ns"), TIMES),
    _arrow(pa.timestamp("us", "Europe/Berlin"), st.integers(-(2**63), 2**63 - 1)),
    _arrow(pa.timestamp("ns"), st.integers(0, 10**18)),
    _arrow(pa.list_(pa.int64()), st.lists(_SMALL, max_size=2)),
    _arrow(pa.null(), st.none()),
)
COLUMNS = OBJECTS | DTYPES


def same(given: Any, found: Any) -> bool:
    """Return whether values are equal and of one type: 1, True and 1.0000000000000002 differ."""
    if _missing(given) or _missing(found):
        return _missing(given) and _missing(found)
    kind = _kind(given)
    if kind == "number":
        # An integer beside floats, or beside decimals, which hold it exactly
        return _kind(found) in ("number", "decimal") and _exact(given) == _exact(found)
    if kind == "bytes":
        return isinstance(found, bytes) and bytes(given) == found
    if kind == "naive":
        return _kind(found) == "naive" and np.datetime64(given) == np.datetime64(found)
    if kind == "aware":
        found_kind = _kind(found) == "aware"
        return found_kind and pd.Timestamp(given).tz_convert("UTC") == pd.Timestamp(found)
    return kind == _kind(found) and bool(given == found)


def _missing(value: Any) -> bool:
    return value is None or (pd.api.types.is_scalar(value) and bool(pd.isna(value)))


def _exact(value: Any) -> Any:
    """Return a number as one of Python's, whose comparison is exact."""
    return value.item() if isinstance(value, np.generic) else value


def _kind(value: Any) -> str:
    if isinstance(value, dt.datetime | np.datetime64):
        return "naive" if getattr(value, "tzinfo", None) is None else "aware"
    for kinds, name in (
        ((bool, np.bool_), "bool"),
        ((dt.timedelta, np.timedelta64), "duration"),
        ((int, float, np.integer, np.floating), "number"),
        ((Decimal,), "decimal"),
        ((str,), "text"),
        ((bytes, bytearray, memoryview), "bytes"),
        ((dt.date,), "date"),
        ((dt.time,), "time"),
    ):
        if isinstance(value, kinds):
            return name
    return type(value).__name__


def is_taken(series: "pd.Series[Any]") -> bool:
    """Return whether a column can be written; if not, check the refusal's text."""
    try:
        from_frame(pd.DataFrame({"odd": series}))
    except InvalidRequest as exc:
        assert re.match(r"df: column 'odd': \S", str(exc)), str(exc)
        assert len(str(exc)) < 700
        return False
    return True


def assert_same(series: "pd.Series[Any]", found: "pd.Series[Any]") -> None:
    """Assert that all values are equal and of the same kind."""
    assert len(series) == len(found)
    dense = series.array.to_dense() if isinstance(series.dtype, pd.SparseDtype) else series
    pairs = zip(pd.Series(dense).astype(object), found.astype(object), strict=True)
    differing = [(a, b) for a, b in pairs if not same(a, b)]
    assert not differing, f"{series.dtype}: {differing} of {series.tolist()}"
