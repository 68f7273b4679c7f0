"""Load a model that may be made of any installed code: with Python's own unpickler.

Loading such a file runs its author's code, so this happens behind the walls of a sandbox and
nowhere else. Only `workers.inference.host` may import the module.
"""

from __future__ import annotations

import io
import pickle
import sys
import warnings
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from mlsys.artifact.loading import LoadedModel, check_width, checked, unpack_model
from mlsys.artifact.refusals import why_not_any
from mlsys.errors import ModelUnusable
from mlsys.safe_pickle.decompress import PREFIXES
from mlsys.safe_pickle.names import UFUNCS
from mlsys.safe_pickle.saved_with import saved_with
from workers.sandbox import walls

MAX_RELEASE = 40  # characters
# What joblib would unpack a second time, without a limit; no pickle begins like that.
_PACKED = (*(prefix for prefix, _ in PREFIXES), b"ZF")


def load_any(content: bytes, name: str, max_bytes: int) -> LoadedModel:
    """Load a model that joblib, pickle or cloudpickle wrote, of whatever code is installed.

    Functions and classes that the file holds by value count as installed. `max_bytes` is the most
    it may unpack to. The model is checked and pinned as a listed one is.

    Raises:
        ModelUnusable: the bytes are not a pickle, need a package that is not installed, or are too
            many; the code in them raises; or they hold something that does not predict.
        RuntimeError: this process is not enclosed.
    """
    if walls.standing() is None:
        raise RuntimeError("Any code is loaded in a sandbox alone: this process has no walls.")
    unpacked = unpack_model(content, name, max_bytes)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model = _unpickle(unpacked)
            check_width(model)
    except Exception as exc:  # the model's code raises anything
        raise ModelUnusable(f"{name} {why_not_any(exc, unpacked)}") from exc
    return checked(model, name, _saved_by(caught, unpacked), caught)


def _unpickle(unpacked: bytes) -> Any:
    import joblib

    if unpacked.startswith(_PACKED):
        raise pickle.UnpicklingError("compressed twice")
    _name_ufuncs()
    return joblib.load(io.BytesIO(unpacked))


def _name_ufuncs() -> None:
    """Let a ufunc be found in the module that pickle took it for, because it does not know its own.

    In a notebook with `from scipy.special import expit` that is `__mp_main__` (docs/traps.md).
    """
    for module, names in UFUNCS.items():
        place = sys.modules.setdefault(module, ModuleType(module))
        for name, key in names.items():
            home, _, attribute = key.rpartition(".")
            found = getattr(sys.modules.get(home), attribute, None)
            if found is not None and not hasattr(place, name):
                setattr(place, name, found)


def _saved_by(caught: Sequence[warnings.WarningMessage], unpacked: bytes) -> set[str]:
    """Return which releases of scikit-learn saved the model, by its warnings."""
    import sklearn
    from sklearn.exceptions import InconsistentVersionWarning

    others = {
        str(w.message.original_sklearn_version)[:MAX_RELEASE]
        for w in caught
        if isinstance(w.message, InconsistentVersionWarning)
    }
    same = saved_with(unpacked) == sklearn.__version__
    return others | ({sklearn.__version__} if same else set())
