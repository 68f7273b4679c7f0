"""Functions in a loaded model: what counts as one, and whether it is listed or the author's own."""

from __future__ import annotations

import functools
import types
from typing import Any

from mlsys.safe_pickle import names as trusted_names

LISTED = trusted_names.keys(trusted_names.NAMED)
FUNCTIONS = (
    types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.MethodDescriptorType,
    types.WrapperDescriptorType, types.MethodWrapperType, functools.partial,
)  # fmt: skip


def place(func: Any) -> str:
    """Return the function's module and name, with a dot between them."""
    name = getattr(func, "__name__", "")
    return f"{getattr(func, '__module__', None) or 'numpy'}.{name}"  # ufuncs have no module


def is_own(func: Any) -> bool:
    """Return whether a function of a loaded pickle is one that the settings add.

    All others are listed: a pickle cannot name any other function.
    """
    return type(func) is types.FunctionType and place(func) not in LISTED


def is_function(value: Any) -> bool:
    """Return whether a value is a function, a method or a partial, not a class or an estimator."""
    return isinstance(value, FUNCTIONS) or type(value).__name__ in (
        "ufunc",
        "_ArrayFunctionDispatcher",
    )
