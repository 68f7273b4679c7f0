"""Methods that a pickle keeps: `getattr(owner, name)`, and how cloudpickle writes the bound ones.

pickle writes a bound method as `getattr(owner, name)`, cloudpickle as `MethodType(function, owner)`
with the function under a dotted name. Both use `get_method`, so both get the same checks.
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
# SciPy's discrete distributions keep bound methods of their own class or of its base.
DISCRETE = "scipy.stats._distn_infrastructure.rv_discrete"
DISTRIBUTIONS = "scipy.stats._discrete_distns."
BUILTIN_TYPE = "cloudpickle.cloudpickle._builtin_type"


def is_bound_function(key: str) -> bool:
    """Return whether a dotted name is the function of a bound method that a model keeps.

    It is not looked up: it can be used only in a `MethodType`.
    """
    owner = key.rpartition(".")[0]
    discrete = owner.startswith(DISTRIBUTIONS) and owner in STAND_INS
    return key == RAW_PREDICT or owner == DISCRETE or discrete


def get_method(owner: Any, name: Any) -> Any:
    """Return the object for a pickle's `getattr(owner, name)`.

    Raises:
        UnsafePickle: it is a method that no prediction needs.
    """
    # SciPy's discrete distributions pickle their own bound method, and they are stand-ins here.
    # Gradient boosting that stopped early does too; its class has the method, so it is left out.
    boosting = name == "_raw_predict" and type(owner).__module__ == BOOSTING
    if type(owner) is StandIn or boosting:
        return StandIn()
    for method in (method_of(owner, name), zone_of(owner, name)):
        if method is not None:
            return method
    raise _refused(owner, name)


def _refused(owner: Any, name: Any) -> UnsafePickle:
    own = getattr(owner, "key", None) or getattr(owner, "__name__", type(owner).__name__)
    return UnsafePickle(
        f"keeps the method `{own}.{str(name)[:40]}`, which is not on the list: "
        "use a function of NumPy or scikit-learn, or put one into a package that is installed in "
        "the service, train again with that, and add its name to MLSYS_TRUSTED_GLOBALS"
    )


def make_builtin_type(name: Any) -> Handle:
    """Return the handle of a type that cloudpickle requests by name: only `MethodType`.

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
