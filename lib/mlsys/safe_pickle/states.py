"""The states that a model's pickle may set in its objects.

`put_state` checks each: plain attributes here, by their names and the class; the states of arrays
(`arrays`), functions (`callables`), plain values (`values`) and compiled code (`compiled`) there.
"""

from __future__ import annotations

import functools
import inspect
from contextvars import ContextVar
from typing import Any

from mlsys.safe_pickle import compiled, names
from mlsys.safe_pickle.arrays import array_state, put_dtype, put_masked
from mlsys.safe_pickle.callables import put_function_metric
from mlsys.safe_pickle.handles import Handle, StandIn, UnsafePickle, Untrusted, need, resolve
from mlsys.safe_pickle.left_out import mentions

# Repeated splitters keep the class of the splitter that they repeat.
KEPT = {"sklearn.model_selection._split.KFold", "sklearn.model_selection._split.StratifiedKFold"}

# Attributes that predictions do not need, left out if they hold a stand-in.
NOT_NEEDED = {"_raw_predict", "loss_function_", "_loss_function_", "scorer_"}
COLUMN_TYPES = names.keys(names.COLUMN_TYPES)

FUNCTION_METRIC = "sklearn.metrics._dist_metrics.PyFuncDistance"
MAX_VERSIONS = 10
# The scikit-learn releases that saved the estimators of the model that is being loaded. Its
# InconsistentVersionWarning would not do: warnings are caught for all threads of a process at once.
saved_by: ContextVar[set[str] | None] = ContextVar("saved_by", default=None)


def put_state(inst: Any, state: Any, key: str | None) -> None:
    """Do what the opcode BUILD does, for `inst` of the listed class `key` (None: not listed).

    Raises:
        UnsafePickle: the object's own class does not write such a state.
    """
    import numpy as np

    if type(inst) is StandIn:
        return
    if isinstance(inst, np.dtype):
        return put_dtype(inst, state)
    if type(inst) is np.ndarray:
        need(inst.shape == (0,) and inst.dtype == np.int8, "an array")
        return inst.__setstate__(array_state(state))
    if type(inst) is np.ma.MaskedArray:
        return put_masked(inst, state)
    if isinstance(inst, np.random.BitGenerator | np.random.RandomState | np.random.Generator):
        return compiled.put_random(inst, state)
    name = key or f"{type(inst).__module__}.{type(inst).__qualname__}"
    if name in compiled.STATES:
        return compiled.STATES[name](inst, state)
    if name.startswith(FUNCTION_METRIC) and key:
        return put_function_metric(inst, state)
    if name.startswith("sklearn.metrics._dist_metrics.") and key:
        return compiled.put_metric(inst, state)
    if key is None:
        raise UnsafePickle(f"changes an object of `{name}`, which no library's pickle does")
    _attributes(inst, state)
    if name in compiled.AFTERWARDS:
        compiled.AFTERWARDS[name](inst)


def _note_version(inst: Any, state: dict[str, Any]) -> None:
    """Record the scikit-learn release of an estimator, as `BaseEstimator.__setstate__` reads it."""
    from sklearn.base import BaseEstimator

    seen = saved_by.get()
    if seen is not None and isinstance(inst, BaseEstimator) and len(seen) < MAX_VERSIONS:
        seen.add(str(state.get("_sklearn_version", "before 0.18"))[:40])


def _attributes(inst: Any, state: Any) -> None:
    """Set attributes by name; only a parameter may hide an attribute of the class."""
    kind, name = type(inst), type(inst).__name__
    need(type(state) is dict, f"a {name}")
    kept: dict[str, Any] = {}
    dropped = set()
    for key, value in state.items():
        if type(value) is StandIn:
            if key in NOT_NEEDED or not mentions(kind, key):
                dropped.add(key)
                continue
            if value.key:
                raise Untrusted(value.key)
        if key in ("dtype_include", "dtype_exclude"):
            kept[key] = _column_types(value)
            continue
        need(type(key) is str and not key.startswith("__"), f"a {name}")
        if type(value) is Handle and value.key in KEPT and key == "cv":
            kept[key] = value.value
            continue
        if type(value) is Handle:
            raise UnsafePickle(
                f"keeps `{value.key}` itself in `{name}.{key}`, not an object of it: leave it out "
                "of the model, or pass a function in its place"
            )
        need(type(value) is not StandIn, f"`{name}.{key}`")
        own = inspect.getattr_static(kind, key, None)
        if type(own) is property and own.fset is None and kind.__module__.startswith("sklearn."):
            dropped.add(key)  # an attribute of another release: the property hides it
            continue
        need(not _hides(kind, key), f"`{name}.{key}`")  # type: ignore[arg-type]
        need(key != "_sklearn_version" or type(value) is str, f"`{name}.{key}`")
        if key == "input" and kind.__module__ == "sklearn.feature_extraction.text":
            if value != "content":
                raise UnsafePickle(
                    f"has a {name} with input={str(value)!r}, which opens files of the service: "
                    "pass the texts themselves (input='content')"
                )
    _note_version(inst, state)
    state = {k: v for k, v in {**state, **kept}.items() if k not in dropped}
    own_way = getattr(kind, "__setstate__", None)
    if own_way is None:
        inst.__dict__.update(state)
    else:
        own_way(inst, state)


@functools.lru_cache(10_000)
def _hides(kind: type, key: str) -> bool:
    """Return whether an object's attribute would hide an attribute of its class."""
    own = inspect.getattr_static(kind, key, _hides)
    if own is _hides:
        return False
    init = getattr(kind, "__init__", None)
    parameters = inspect.signature(init).parameters if inspect.isfunction(init) else ()
    return hasattr(type(own), "__get__") or key not in parameters


def _column_types(value: Any) -> Any:
    """Return the column types of a `make_column_selector`, which pandas compares."""
    if type(value) in (list, tuple):
        return type(value)(_column_types(v) for v in value)
    if type(value) is not Handle:
        return value
    if value.key not in COLUMN_TYPES:
        raise UnsafePickle(f"selects columns by `{value.key}`, which is not a type of columns")
    return resolve(value.key)
