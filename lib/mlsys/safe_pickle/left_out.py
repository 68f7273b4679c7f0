"""What people keep beside a model, and no prediction reads: frames, paths, counters, displays.

Such an object is never imported or made: an empty `StandIn` with its name takes its place. An
attribute that holds one is left out if scikit-learn's class does not mention the attribute. Where
the class does, the model is refused by the object's name.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Iterable
from typing import Any

from mlsys.safe_pickle.handles import Handle, StandIn, Untrusted

NAMES: dict[str, str] = {
    "collections": "ChainMap Counter deque",
    "dateutil.tz.tz": "_ttinfo _tzfile tzfile tzlocal tzoffset tzutc",
    "fractions": "Fraction",
    "numpy": "poly1d",
    "numpy.polynomial.polynomial": "Polynomial",
    "pandas": (
        "ArrowDtype Categorical CategoricalIndex DataFrame DatetimeIndex Flags Interval "
        "IntervalDtype IntervalIndex MultiIndex Period PeriodDtype PeriodIndex SparseDtype "
        "TimedeltaIndex"
    ),
    "pandas._libs.arrays": "__pyx_unpickle_NDArrayBacked",
    "pandas._libs.internals": "BlockManager _unpickle_block",
    "pandas._libs.sparse": "BlockIndex IntIndex",
    "pandas._libs.tslibs.offsets": (
        "BusinessDay Day Hour Minute MonthBegin MonthEnd QuarterEnd Second Week YearEnd"
    ),
    "pandas._libs.tslibs.period": "_unpickle_period",
    "pandas.arrays": (
        "ArrowExtensionArray BooleanArray DatetimeArray FloatingArray IntegerArray IntervalArray "
        "NumpyExtensionArray PeriodArray SparseArray StringArray TimedeltaArray"
    ),
    "pandas.core.dtypes.dtypes": "NumpyEADtype",
    "pandas.core.indexes.datetimes": "_new_DatetimeIndex",
    "pandas.core.indexes.interval": "_new_IntervalIndex",
    "pandas.core.indexes.period": "_new_PeriodIndex",
    "pandas.core.indexes.timedeltas": "_new_TimedeltaIndex",
    "pandas.core.internals.managers": "BlockManager",
    "pathlib": "Path PosixPath PurePosixPath PureWindowsPath WindowsPath",
    "scipy.optimize._optimize": "OptimizeResult",
    "scipy.sparse._bsr": "bsr_array bsr_matrix",
    "scipy.sparse._coo": "coo_array coo_matrix",
    "scipy.sparse._dia": "dia_array dia_matrix",
    "scipy.sparse._lil": "lil_array lil_matrix",
    "sklearn.metrics._plot.confusion_matrix": "ConfusionMatrixDisplay",
    "sklearn.metrics._plot.precision_recall_curve": "PrecisionRecallDisplay",
    "sklearn.metrics._plot.roc_curve": "RocCurveDisplay",
}
KEYS = frozenset(f"{module}.{n}" for module, names in NAMES.items() for n in names.split())
# What only fit reads, of classes that keep what it found elsewhere (`categories_`).
# Constructors that return what is left out when a part of theirs is.
OF_PARTS = ("datetime.", "pandas.", "pyarrow.")
ONLY_FITTED = frozenset(("categories",))
DEPTH = 6


def find(value: Any, depth: int = DEPTH) -> StandIn | None:
    """Return the first object that was left out of a value, in containers inside too."""
    kind = type(value)
    if kind is Handle:
        return StandIn(value.left_out) if value.left_out else None
    if kind is StandIn:
        return value if value.key else None
    inside: Iterable[Any] = ()
    if isinstance(value, dict):
        inside = [*value.values(), *value]
    elif kind in (list, tuple, set, frozenset):
        inside = value
    elif kind.__name__ == "ndarray" and value.dtype == object and value.size:
        inside = value.ravel().tolist()
    if depth:
        for item in inside:
            if type(item) not in (int, float, str) and (held := find(item, depth - 1)):
                return held
    return None


def check(inst: Any) -> None:
    """Refuse an object of scikit-learn's whose class may read what was left out.

    Raises:
        Untrusted: with the name of what was left out.
    """
    for name, value in vars(inst).items():
        if name not in ONLY_FITTED and mentions(type(inst), name) and (held := find(value)):
            raise Untrusted(str(held.key))


def mentions(kind: type, name: str) -> bool:
    """Return whether a class of scikit-learn's may read the attribute; True if nothing tells."""
    from sklearn.base import BaseEstimator

    return not issubclass(kind, BaseEstimator) or name in _words(kind)


@functools.lru_cache(1000)
def _words(kind: type) -> frozenset[str]:
    """Every name and text in the code of a class and of those that it stands on."""
    found: set[str] = set()
    for base in kind.__mro__:
        if base is object:
            continue
        found.update(vars(base))
        for value in vars(base).values():
            value = getattr(value, "fn", getattr(value, "__func__", value))
            value = getattr(value, "fget", value)
            while (inner := getattr(value, "__wrapped__", None)) is not None:
                _add(getattr(value, "__code__", None), found)
                value = inner
            _add(getattr(value, "__code__", None), found)
    return frozenset(found)


def _add(code: Any, found: set[str]) -> None:
    if not isinstance(code, types.CodeType):
        return
    found.update(code.co_names, code.co_varnames)
    for constant in code.co_consts:
        if type(constant) is str:
            found.add(constant)
        elif type(constant) is tuple:
            found.update(c for c in constant if type(c) is str)
        else:
            _add(constant, found)
