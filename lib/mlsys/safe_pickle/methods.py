"""Methods that a pickle keeps: `getattr(owner, name)`, and how cloudpickle writes the bound ones.

pickle writes a bound method as `getattr(owner, name)`, cloudpickle as `MethodType(function, owner)`
with the function under a dotted name. Both come to `get_method`, so that both get the same checks.
"""

from __future__ import annotations

from typing import Any

from mlsys.safe_pickle import names
from mlsys.safe_pickle.callables import method_of
from mlsys.safe_pickle.handles import Handle, StandIn, UnsafePickle, Untrusted
from mlsys.safe_pickle.values import zone_of

STAND_INS = names.keys(names.STAND_INS)
BOOSTING = "sklearn.ensemble._hist_gradient_boosting.gradient_boosting"
RAW_PREDICT = f"{BOOSTING}.BaseHistGradientBoosting._raw_predict"
# SciPy's discrete distributions keep methods of themselves: of their class or of the one below it.
DISCRETE = "scipy.stats._distn_infrastructure.rv_discrete"
DISTRIBUTIONS = "scipy.stats._discrete_distns."
BUILTIN_TYPE = "cloudpickle.cloudpickle._builtin_type"


def is_bound_function(key: str) -> bool:
    """Return whether a dotted name is the function of a bound method that a model keeps.

    Nothing is looked up for it: it can be used up in a `MethodType`, and in nothing else.
    """
    owner = key.rpartition(".")[0]
    discrete = owner.startswith(DISTRIBUTIONS) and owner in STAND_INS
    return key == RAW_PREDICT or owner == DISCRETE or discrete


def get_method(owner: Any, name: Any) -> Any:
    """Return what `getattr(owner, name)` stands for.

    Raises:
        UnsafePickle: it is a method that no prediction needs.
    """
    # SciPy's discrete distributions pickle a method of themselves. They are stand-ins here. So does
    # gradient boosting that stopped early: the class has the method, so its state goes without.
    boosting = name == "_raw_predict" and type(owner).__module__ == BOOSTING
    if type(owner) is StandIn or boosting:
        return StandIn()
    for found in (method_of(owner, name), zone_of(owner, name)):
        if found is not None:
            return found
    raise _refused(owner, name)


def _refused(owner: Any, name: Any) -> UnsafePickle:
    own = getattr(owner, "key", None) or getattr(owner, "__name__", type(owner).__name__)
    return UnsafePickle(
        f"keeps the method `{own}.{str(name)[:40]}`, which is not on the list: "
        "use a function of NumPy or scikit-learn, or put one into a package that is installed in "
        "the service, train again with that, and add its name to MLSYS_TRUSTED_GLOBALS"
    )


def make_builtin_type(name: Any) -> Handle:
    """Return what stands for a type that cloudpickle asks for by its name: `MethodType` only.

    Raises:
        Untrusted: it is another type.
    """
    if type(name) is not str or name != "MethodType":
        raise Untrusted(BUILTIN_TYPE)
    return Handle("types.MethodType", make=_bound)


def _bound(func: Any, owner: Any) -> Any:
    if type(func) is Handle and is_bound_function(func.key):
        return get_method(owner, func.key.rpartition(".")[2])
    raise _refused(owner, getattr(func, "key", None) or getattr(func, "__name__", "function"))
