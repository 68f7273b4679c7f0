"""Load the bytes of a `model.pkl` into a model that predicts the same at every call."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from mlsys.artifact.estimators.parts import parts_of
from mlsys.artifact.estimators.row_width import MOST, row_width
from mlsys.artifact.estimators.set_output import without_polars
from mlsys.artifact.other_release import advice, differs
from mlsys.artifact.refusals import why_not
from mlsys.errors import ModelUnusable
from mlsys.safe_pickle.decompress import TooLarge, unpack
from mlsys.safe_pickle.handles import UnsafePickle
from mlsys.safe_pickle.saved_with import saved_with
from mlsys.safe_pickle.states import saved_by
from mlsys.safe_pickle.unpickler import loads, used
from mlsys.settings.reading import MAX_MODEL_BYTES


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A fitted estimator, and the warnings of loading it."""

    model: Any
    warnings: tuple[str, ...] = ()
    version_mismatch: str | None = None  # set if another scikit-learn release saved it
    sklearn_version: str | None = None  # the release that saved it; several by comma
    names: tuple[str, ...] = ()  # that its pickle uses; none of one that any code was loaded from


def load_model(
    content: bytes,
    name: str = "model.pkl",
    *,
    trusted: tuple[str, ...] = (),
    max_bytes: int = MAX_MODEL_BYTES,
) -> LoadedModel:
    """Load a model that joblib or pickle wrote; error messages call it `name`.

    It may contain what fitted scikit-learn estimators consist of (`mlsys.safe_pickle`) and the
    names in `trusted`, each a `module.Name`; nothing else in it is looked up or called. It may
    unpack to at most `max_bytes`.

    Every nested `n_jobs` is set to 1: a forest that adds up its trees in parallel does so in a
    different order each time, so its probabilities differ in their last bits. Every nested
    `copy=False` is set to True: such a step overwrites its input rows, which the next method or
    another step reads.

    Raises:
        ModelUnusable: the bytes are not a pickle, are too many, need a package, class or function
            that is missing or not trusted, or hold an object that cannot predict.
    """
    seen: set[str] = set()
    names: set[str] = set()
    unpacked = unpack_model(content, name, max_bytes)
    token, names_token = saved_by.set(seen), used.set(names)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model = loads(unpacked, trusted)
            check_width(model)
    except Exception as exc:  # an unpickler raises anything, by the bytes it is fed
        raise ModelUnusable(f"{name} {why_not(exc, unpacked)}") from exc
    finally:
        saved_by.reset(token)
        used.reset(names_token)
    return replace(checked(model, name, seen, caught), names=tuple(sorted(names)))


def checked(
    model: Any, name: str, seen: set[str], caught: Sequence[warnings.WarningMessage]
) -> LoadedModel:
    """Check that an unpickled object predicts, and pin what would make its answers vary.

    `seen` are the releases of scikit-learn that saved its estimators, `caught` the warnings of
    unpickling it.

    Raises:
        ModelUnusable: it has no predict and no transform.
    """
    then = ", ".join(sorted(seen)) or None
    mismatch = _version_mismatch(seen)
    transforms = hasattr(model, "fit") and hasattr(model, "transform")  # a DataFrame has the latter
    if not hasattr(model, "predict") and not transforms:
        kind = type(model).__name__
        if then and mismatch and hasattr(type(model), "predict"):  # it reads a missing attribute
            raise ModelUnusable(
                f"{name} was {differs(then)}, in which its {kind} cannot predict. {advice(then)}"
            )
        raise ModelUnusable(
            f"{name} holds a {kind}, which has no predict and no transform: upload a fitted "
            "estimator"
        )
    _pin(model)
    without_polars(model)
    messages = dict.fromkeys(str(w.message) for w in caught if not _is_mismatch(w))
    return LoadedModel(model, tuple(messages), mismatch, then)


def _version_mismatch(seen: set[str]) -> str | None:
    """Return the warning that another scikit-learn release saved the model, or None."""
    import sklearn

    others = sorted(seen - {sklearn.__version__})
    return f"the model was {differs(', '.join(others))}" if others else None


def _is_mismatch(warning: warnings.WarningMessage) -> bool:
    from sklearn.exceptions import InconsistentVersionWarning

    return isinstance(warning.message, InconsistentVersionWarning)


def unpack_model(content: bytes, name: str, max_bytes: int) -> bytes:
    """Return a model file without its compression.

    Raises:
        ModelUnusable: it is damaged, or unpacks to more than `max_bytes`.
    """
    try:
        return unpack(content, max_bytes)
    except TooLarge as exc:
        raise ModelUnusable(
            f"{name} is or unpacks to more than {max_bytes:,} bytes: raise MLSYS_MAX_MODEL_BYTES "
            "if the service has the memory, or train a smaller model"
        ) from exc
    except Exception as exc:  # each decompressor raises its own
        raise ModelUnusable(f"{name} {why_not(exc, content)}") from exc


def check_width(model: Any) -> None:
    """Check that no row takes more memory than there is.

    Raises:
        UnsafePickle: it does.
    """
    if (width := row_width(model)) > MOST:
        raise UnsafePickle(f"makes {width:,} numbers of each row, more than any memory holds")


def sklearn_version(content: bytes, max_bytes: int = MAX_MODEL_BYTES) -> str | None:
    """Return the scikit-learn release that a model file names, even if it does not load."""
    try:
        return saved_with(unpack(content, max_bytes))
    except Exception:  # damaged, or not a pickle
        return None


def _pin(model: Any) -> None:
    """Set n_jobs, threads and copy in every estimator of the model, fitted ones too."""
    for part in parts_of(model):
        held = vars(part)
        if "n_jobs" in held:
            part.n_jobs = 1
        if "_n_threads" in held:  # of k-means: the training machine's cores
            part._n_threads = 1
        if held.get("copy") is False:
            part.copy = True
