"""A model as the bytes of `model.pkl`, and what its custom metadata says about it."""

from __future__ import annotations

import io
import json
import warnings
from typing import Any, NoReturn

from mlsys.artifact.by_value import dumps_by_value, may_need_code, stored
from mlsys.artifact.metadata import library_versions, model_class
from mlsys.cloud.credentials import words
from mlsys.errors import InvalidRequest


def pickled(obj: Any, parameter: str = "model") -> bytes:
    """Return `obj` in joblib's format, or with its own code by cloudpickle, and warn of that.

    Raises:
        InvalidRequest: it is an estimator's class, or holds something that cannot be pickled; the
            message names `parameter`.
    """
    import joblib

    if isinstance(obj, type) and any(hasattr(obj, m) for m in ("fit", "predict", "transform")):
        raise InvalidRequest(
            (parameter, f"is the class {obj.__name__}, not a fitted model: pass the fitted object")
        )
    buffer = io.BytesIO()
    plain = None
    try:
        joblib.dump(obj, buffer)
        plain = buffer.getvalue()
    except (MemoryError, RecursionError) as exc:
        _raise_unpicklable(exc, parameter)
    except Exception:  # a lambda, or what an object raises as it is asked for its state
        pass
    if plain is not None and not may_need_code(plain):
        return plain
    try:
        content, names = dumps_by_value(obj)
    except Exception as exc:
        _raise_unpicklable(exc, parameter)
    if not names and plain is not None:
        return plain
    warnings.warn(
        f"{parameter}: {stored(names)} in the file as code. Only a service with MLSYS_MODELS=any "
        "accepts that; for others, move the code to a package that is installed there",
        stacklevel=3,
    )
    return content


def about(obj: Any) -> dict[str, Any]:
    """Return a fitted model's class, feature names and library versions.

    `feature_names` is left out if the model has none, or too many for an object's custom metadata
    (8 KiB in all).
    """
    try:
        name = model_class(obj)
    except Exception:  # an object's own get_params may raise anything
        name = type(obj).__name__
    out: dict[str, Any] = {"model_class": name}
    versions = library_versions()
    out |= {"python_version": versions["python"], "sklearn_version": versions["scikit-learn"]}
    names = getattr(obj, "feature_names_in_", None)
    if names is not None and len(json.dumps([str(name) for name in names])) < 6000:
        out["feature_names"] = [str(name) for name in names]
    return out


def _raise_unpicklable(exc: Exception, parameter: str) -> NoReturn:
    if isinstance(exc, MemoryError):
        raise exc
    raise InvalidRequest((parameter, _unpicklable(exc))) from exc


def _unpicklable(exc: Exception) -> str:
    if isinstance(exc, RecursionError):
        return "cannot be pickled: it is nested too deeply; pass a flatter object"
    return f"cannot be pickled ({words(exc)}): leave out open files, locks and connections"
