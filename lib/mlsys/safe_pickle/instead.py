"""Alternatives to names that a model may not hold."""

import enum
import sys

_OWN = (
    "put a function of your own that calls it into a package that is installed in the service, "
    "train again with that, and add its name to MLSYS_TRUSTED_GLOBALS"
)
_LEAVE = "leave it out of the model, or keep"
_BESIDE = f"is not on the list of what a model may be made of: {_LEAVE} "
_BATCHES = "computes over all rows that it is given, and a table is scored in batches"

# By name: what is wrong with it, and what to do.
_NAMES = {
    "operator.attrgetter": (
        "is not on the list, because it reads any attribute: pass the path as text, "
        "importance_getter='named_steps.logisticregression.coef_'"
    ),
    "operator.itemgetter": (
        "is not on the list of what a model may be made of: choose columns with a "
        f"ColumnTransformer, or {_OWN}"
    ),
    "operator.methodcaller": (
        f"is not on the list, because it calls any method by its name: {_OWN}"
    ),
    "pandas.get_dummies": (
        f"{_BATCHES}: use OneHotEncoder(handle_unknown='ignore'), which keeps its categories"
    ),
    "pandas.cut": f"{_BATCHES}: use KBinsDiscretizer, or {_OWN}",
    "pandas.qcut": f"{_BATCHES}: use KBinsDiscretizer, which keeps its edges",
    "pandas.Interval": (
        "is not on the list, and BigQuery columns cannot hold intervals: bin the column in the "
        "pipeline with KBinsDiscretizer, or train on the labels as text (.astype(str))"
    ),
    "pandas.Period": (
        "is not on the list, and BigQuery columns cannot hold periods: train on the dates "
        "(.dt.to_timestamp()) or on text (.astype(str))"
    ),
    "fractions.Fraction": (
        "is not on the list, and BigQuery columns cannot hold fractions: train on float or Decimal"
    ),
    "types.SimpleNamespace": f"{_BESIDE}a dict in its place",
    **dict.fromkeys(
        ("builtins.Ellipsis", "builtins.NotImplemented"),
        f"is a constant of Python that no model needs: {_LEAVE} None",
    ),
    "builtins.type": f"{_BESIDE}the type's name",
    **dict.fromkeys(
        (
            "pandas.ArrowDtype",
            "pandas.IntervalDtype",
            "pandas.PeriodDtype",
            "pandas.SparseDtype",
            "pandas.core.indexes.datetimes._new_DatetimeIndex",
            "pandas.core.indexes.interval._new_IntervalIndex",
            "pandas.core.indexes.period._new_PeriodIndex",
            "pandas.core.indexes.timedeltas._new_TimedeltaIndex",
        ),
        "is an index or a dtype of pandas that a model may not hold: choose the columns by their "
        "names, or with a word such as dtype_include='category'",
    ),
    **dict.fromkeys(("numpy.rec.recarray", "numpy.record"), f"{_BESIDE}np.asarray(array.tolist())"),
    "numpy.matrix": f"{_BESIDE}np.asarray(matrix)",
    "dateutil.tz.tz.tzfile": (
        "is a time zone of dateutil, which reads a file of the machine: convert the column before "
        "training with .dt.tz_convert('UTC') or with the zone's name"
    ),
    **dict.fromkeys(
        ("sklearn.preprocessing._data.scale", "scipy.stats._stats_py.zscore"),
        f"{_BATCHES}: use StandardScaler, which keeps mean and scale",
    ),
    "sklearn.preprocessing._data.maxabs_scale": f"{_BATCHES}: use MaxAbsScaler",
    "sklearn.preprocessing._data.minmax_scale": f"{_BATCHES}: use MinMaxScaler",
    "sklearn.preprocessing._data.robust_scale": f"{_BATCHES}: use RobustScaler",
    "sklearn.preprocessing._data.power_transform": f"{_BATCHES}: use PowerTransformer",
    **dict.fromkeys(
        ("sklearn.preprocessing._data.quantile_transform", "scipy.stats._stats_py.rankdata"),
        f"{_BATCHES}: use QuantileTransformer, which keeps its quantiles",
    ),
}
# Names that only compute or hold data. MLSYS_TRUSTED_GLOBALS does not accept them either.
_HARMLESS = frozenset(
    "bisect calendar difflib heapq html itertools json numbers shlex string textwrap unicodedata "
    "urllib.parse".split()
)
_HARMLESS_BUILTINS = frozenset(
    "all any ascii bin chr divmod enumerate format hash hex iter len next oct ord pow print repr "
    "reversed sum zip".split()
)


def instead_of(key: str, nested: bool = False) -> str | None:
    """Return what is wrong with `key` and what to do, to follow "needs `key`, which ".

    `nested`: it is a method, or a class inside another.
    """
    if key in _NAMES:
        return _NAMES[key]
    module, _, name = key.rpartition(".")
    if nested:
        return (
            "is a method, or a class inside another, and only functions and classes of a module "
            f"itself can be listed: {_OWN}"
        )
    if (advice := _of_python(module, name)) is not None:
        return advice
    if module in _HARMLESS or (module == "builtins" and name in _HARMLESS_BUILTINS):
        return (
            "is not on the list of what a model may be made of, and MLSYS_TRUSTED_GLOBALS does "
            f"not accept functions of Python's standard library: {_OWN}"
        )
    return None


def _of_python(module: str, name: str) -> str | None:
    """Return what to do about an exception, a constant or a named tuple of the standard library.

    Only modules that are imported already are searched.
    """
    if module.partition(".")[0] not in sys.stdlib_module_names or module not in sys.modules:
        return None
    kind = vars(sys.modules[module]).get(name)
    if not isinstance(kind, type):
        return None
    if issubclass(kind, BaseException):
        return f"is an exception: {_LEAVE} its text, str(exc)"
    if issubclass(kind, enum.Enum) and kind.__members__:
        return f"{_BESIDE}the constant's value"
    if issubclass(kind, tuple) and kind is not tuple:
        return f"{_BESIDE}a plain tuple or a dict in its place"
    return None
