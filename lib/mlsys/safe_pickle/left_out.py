"""Objects that people keep beside a model and predictions do not read: frames, paths, displays.

Such an object is never imported or created: an empty `StandIn` with its name replaces it. An
attribute that holds one is left out if scikit-learn's class does not mention the attribute. If the
class does, the model is refused, and the error names the object.
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
# Constructors whose object is left out if a part of it is.
OF_PARTS = ("datetime.", "pandas.", "pyarrow.")
# Attributes that only fit reads; it keeps its results elsewhere (`categories_`).
ONLY_FITTED = frozenset(("categories",))
DEPTH = 6


def find(value: Any, depth: int = DEPTH) -> StandIn | None:
    """Return the first left-out object in a value or its containers, or None."""
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
    """Refuse a scikit-learn object whose class may read a left-out object.

    Raises:
        Untrusted: the message has the name of the left-out object.
    """
    for name, value in vars(inst).items():
        if name not in ONLY_FITTED and mentions(type(inst), name) and (held := find(value)):
            raise Untrusted(str(held.key))


def mentions(kind: type, name: str) -> bool:
    """Return whether a scikit-learn class may read the attribute; True if that is unknown."""
    from sklearn.base import BaseEstimator

    return not issubclass(kind, BaseEstimator) or name in _words(kind)


@functools.lru_cache(1000)
def _words(kind: type) -> frozenset[str]:
    """Return every name and text in the code of a class and of its bases."""
    words: set[str] = set()
    for base in kind.__mro__:
        if base is object:
            continue
        words.update(vars(base))
        for value in vars(base).values():
            value = getattr(value, "fn", getattr(value, "__func__", value))
            value = getattr(value, "fget", value)
            while (inner := getattr(value, "__wrapped__", None)) is not None:
                _add(getattr(value, "__code__", None), words)
                value = inner
            _add(getattr(value, "__code__", None), words)
    return frozenset(words)


def _add(code: Any, words: set[str]) -> None:
    if not isinstance(code, types.CodeType):
        return
    words.update(code.co_names, code.co_varnames)
    for constant in code.co_consts:
        if type(constant) is str:
            words.add(constant)
        elif type(constant) is tuple:
            words.update(c for c in constant if type(c) is str)
        else:
            _add(constant, words)
