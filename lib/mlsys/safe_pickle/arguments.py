"""Arguments that a model keeps for functions, metrics and kernels.

An estimator keeps them in a dictionary and passes them as `func(X, **kw_args)`. A function writes
to an `out` after every check, and compiled code indexes `Y_norm_squared` without a check.
"""

from __future__ import annotations

from typing import Any

from mlsys.safe_pickle.handles import UnsafePickle, need
from mlsys.safe_pickle.sizes import small_dtype

# Arguments of a NumPy or SciPy function that write, allocate or keep Python's own objects.
NO_ARGUMENTS = frozenset(
    "out like initial subok ufunc object buffer where casting sig signature func".split()
)
ROUNDS = 1_000  # of `numpy.diff`
LOOKED_UP = frozenset(("bins", "xp", "fp"))  # of `digitize` and `interp`: rows keep their size
BROADCAST = 1_000  # values of an argument if the number of columns is unknown
# Attributes with the arguments of listed functions, and with those of metrics and kernels.
OF_FUNCTIONS = frozenset("kw_args inv_kw_args fun_args _kwargs cvargs _coef_kwargs".split())
OF_METRICS = frozenset(
    "metric_params metric_params_ effective_metric_params_ _metric_params dist_metric_params "
    "kernel_params kernel_params_ pairwise_kernels_kwargs".split()
)
METRIC_ARGUMENTS = frozenset(
    "p w V VI base gamma degree coef0 squared missing_values copy axis dense_output centered "
    "sum_over_features nu length_scale keepdims".split()
)
CALLEES = ("metric", "effective_metric_", "kernel", "affinity")
OWN = ("numpy", "scipy", "sklearn", "builtins")


def check_of(inst: Any, name: str, value: Any, where: str) -> None:
    """Check the attribute `name` of an estimator if it holds arguments.

    Raises:
        UnsafePickle: one of them may write, allocate or be called.
    """
    if name in OF_FUNCTIONS:
        check_arguments(value, where)
        if name in ("kw_args", "inv_kw_args") and value is not None:
            columns = vars(inst).get("n_features_in_")
            most = columns if type(columns) is int else BROADCAST
            for argument, item in value.items():
                if argument not in LOOKED_UP:
                    need(_values(item) <= max(most, 1), f"`{where}[{argument!r}]`")
    elif name in OF_METRICS:
        check_arguments(value, where)
        if not any(_foreign(vars(inst).get(callee)) for callee in CALLEES):
            for argument in value or {}:
                if argument not in METRIC_ARGUMENTS:
                    raise UnsafePickle(
                        f"gives a metric the argument {argument[:40]!r} by `{where}`, which no "
                        "metric has: leave it out"
                    )


def check_arguments(value: Any, where: str, depth: int = 3) -> None:
    """Check that arguments are plain values that no function writes to."""
    if value is None:
        return
    need(type(value) is dict, f"`{where}`")
    for name, item in value.items():
        if type(name) is not str or name in NO_ARGUMENTS or name.startswith("_"):
            raise UnsafePickle(
                f"gives a function the argument {str(name)[:40]!r} by `{where}`, "
                "which may write or allocate"
            )
        need(_plain(item, depth), f"`{where}`")
        need(name != "dtype" or small_dtype(item), f"`{where}`")
        need(name != "n" or type(item) is not int or item <= ROUNDS, f"`{where}`")


def _plain(value: Any, depth: int) -> bool:
    kind = type(value)
    if value is None or kind in (bool, float, complex, str):
        return True
    if kind is int:
        return abs(value) < 2**31
    if kind in (list, tuple) and depth:
        return all(_plain(v, depth - 1) for v in value)
    if isinstance(value, type):
        return (
            kind is type
            and value.__module__ in ("builtins", "numpy")
            and value.__name__ not in ("object", "object_")
        )
    module = kind.__module__.partition(".")[0]
    if module in ("numpy", "pandas", "datetime", "decimal"):
        return getattr(getattr(value, "dtype", None), "kind", "") != "O" and not callable(value)
    return False


def _values(value: Any) -> int:
    """Return how many values an argument may expand a row to, by broadcasting."""
    if type(value) in (list, tuple):
        return sum(_values(v) for v in value)
    size = getattr(value, "size", 1)
    return size if type(size) is int else 1


def _foreign(value: Any) -> bool:
    """Return whether the value is a function or class that only the settings trust."""
    place = str(getattr(value, "__module__", None) or "numpy")
    return callable(value) and place.partition(".")[0] not in OWN
