"""Methods, patterns, partial functions and metrics that estimators call when they predict.

Each is on a closed list, and its arguments besides the rows are plain and short, so it can neither
write nor return much more than its input.
"""

from __future__ import annotations

import re
import types
from typing import Any

from mlsys.safe_pickle.arguments import check_arguments
from mlsys.safe_pickle.functions import LISTED, is_own, place
from mlsys.safe_pickle.handles import Handle, UnsafePickle, need

# Methods of str that take one text and return a text, or a list of texts not longer than it.
TEXT_METHODS = frozenset(
    "capitalize casefold lower lstrip rsplit rstrip split splitlines strip swapcase title upper"
    .split()
)  # fmt: skip
DISTANCES = "scipy.spatial.distance."
PATTERN_METHODS = frozenset(("findall", "split"))
FLAGS = re.ASCII | re.IGNORECASE | re.MULTILINE | re.DOTALL | re.UNICODE | re.VERBOSE
PATTERN_LENGTH = 2_000
REPLACEMENT_LENGTH = 20  # what a match becomes, so that no text grows far

# Listed functions of these modules may have more arguments.
PARTIAL = (
    "numpy", "scipy.spatial.distance", "scipy.special", "scipy.stats.",
    "sklearn.feature_selection.", "sklearn.metrics.", "sklearn.preprocessing.",
    "sklearn.utils.validation",
)  # fmt: skip
# Functions of text: the number of texts before the transformed one, and the allowed keywords.
OF_TEXT = {
    "re.findall": (1, {"flags"}),
    "re.split": (1, {"flags", "maxsplit"}),
    "re.sub": (2, {"flags", "count"}),
    "unicodedata.normalize": (1, set()),
}


def make_pattern(pattern: Any, flags: Any) -> Any:
    """Compile a regular expression, as vectorizers do with their `token_pattern`."""
    need(type(pattern) is str and len(pattern) <= PATTERN_LENGTH, "a regular expression")
    need(type(flags) is int and not flags & ~FLAGS, "a regular expression")
    return re.compile(pattern, flags)


def method_of(owner: Any, name: Any) -> Any:
    """Return the listed method for a pickle's `getattr(owner, name)`, or None."""
    if type(name) is not str:
        return None
    if owner is str and name in TEXT_METHODS:
        return getattr(str, name)
    if type(owner) is re.Pattern and name in PATTERN_METHODS:
        return getattr(owner, name)
    return None


def make_partial(func: Any) -> Any:
    """Return an empty partial of a listed function; `put_partial` checks the arguments."""
    import functools

    function = not isinstance(func, type) and type(func) is not Handle and callable(func)
    listed = place(func).startswith(PARTIAL) or place(func) in OF_TEXT
    if not function or not (listed or is_own(func)):
        raise UnsafePickle(
            "holds a functools.partial of a class or a method: use a function of NumPy or "
            "scikit-learn, or put one into a package that is installed in the service, train "
            "again with that, and add its name to MLSYS_TRUSTED_GLOBALS"
        )
    return functools.partial(func)


def put_partial(inst: Any, state: Any) -> None:
    """Set a partial's arguments: plain values that the function does not write to."""
    what = "a functools.partial"
    need(type(state) is tuple and len(state) == 4 and state[0] is inst.func, what)
    func, args, keywords, rest = state
    need(type(args) is tuple and type(keywords) is dict and not rest, what)
    check_arguments(keywords, "functools.partial")
    if place(func) in OF_TEXT:
        count, names = OF_TEXT[place(func)]
        need(len(args) == count and set(keywords) <= names, what)
        need(all(type(v) is int for v in keywords.values()), what)
        need(not keywords.get("flags", 0) & ~FLAGS, what)
        need(all(type(a) is str and len(a) <= PATTERN_LENGTH for a in args), what)
        if func is re.sub and len(args[1]) > REPLACEMENT_LENGTH:
            raise UnsafePickle(
                f"replaces text by more than {REPLACEMENT_LENGTH} characters: use a function of "
                "your own package"
            )
    elif not is_own(func):
        need(len(args) < 2 and all(type(a) in (int, float) for a in args), what)
    inst.__setstate__((func, args, keywords, None))


def put_function_metric(inst: Any, state: Any) -> None:
    """Set a neighbour tree's metric to one of SciPy's distances, called with pairs of rows."""
    import numpy as np

    what = "a metric"
    need(type(state) is tuple and len(state) == 5 and type(state[0]) is float, what)
    need(all(type(a) is np.ndarray and a.dtype == np.float64 for a in state[1:3]), what)
    need(state[1].ndim == 1 and state[2].ndim == 2, what)
    func, keywords = state[3:]
    listed = place(func) in LISTED and place(func).startswith(DISTANCES)
    if not (is_own(func) or (listed and type(func) is types.FunctionType)):
        raise UnsafePickle(
            "has a function as the metric of a tree of neighbours, which is not one of "
            "scipy.spatial.distance: pass algorithm='brute' with a listed function, or the "
            "metric by its name"
        )
    check_arguments(keywords, "a metric")
    inst.__setstate__((*state[:4], dict(keywords)))
