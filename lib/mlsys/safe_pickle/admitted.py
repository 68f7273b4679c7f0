"""Which line of the allow-list admits a name of a pickle, and what the loader does with it."""

from __future__ import annotations

from mlsys.safe_pickle import left_out, names
from mlsys.safe_pickle.constructors import CONSTRUCTORS
from mlsys.safe_pickle.methods import is_bound_function

_TABLES = (
    ("names.CLASSES", names.CLASSES, "created empty; its state is checked before it is set"),
    ("names.NAMED", names.NAMED, "kept by the model; not called while it is loaded"),
    ("names.OBJECTS", names.OBJECTS, "a single object, which is not called"),
    ("names.STAND_INS", names.STAND_INS, "never imported: an empty object replaces it"),
    ("left_out.NAMES", left_out.NAMES, "never imported: left out of the model"),
)


def admitted_by(key: str) -> tuple[str, str]:
    """Return the line of the list that admits a name which a pickle was loaded with, and its rule.

    >>> admitted_by("sklearn.pipeline.Pipeline")[0]
    "names.CLASSES['sklearn.pipeline']"
    """
    if is_bound_function(key):
        return "methods", "not looked up: only a bound method of the model's own may use it"
    if key in CONSTRUCTORS:
        return f"constructors.CONSTRUCTORS[{key!r}]", "replaced by a function of mlsys"
    module, _, name = key.rpartition(".")
    for table, listed, rule in _TABLES:
        if name in listed.get(module, "").split():
            return f"{table}[{module!r}]", rule
    if key.startswith(("joblib.", "pandas.", "sklearn.")):
        return "unpickler.NAMES", "read by a rule of its own"
    return "MLSYS_TRUSTED_GLOBALS", "trusted by the service's settings: it may be called"
