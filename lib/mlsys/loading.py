"""Turn the bytes of a `model.pkl` into a model that answers the same at every call."""

from __future__ import annotations

import base64
import io
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlsys.errors import ModelUnusable

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A fitted estimator, and what loading it gave cause to say."""

    model: Any
    warnings: tuple[str, ...] = ()


def load_model(content: bytes, name: str = "model.pkl") -> LoadedModel:
    """Load a model that joblib or pickle wrote; `name` stands for it in error messages.

    Every nested `n_jobs` is set to 1: a forest that adds up its trees in parallel does so in a
    different order each time, and its probabilities then differ in their last bits.

    A pickle can run any code as it is loaded. The caller vouches for the bytes.

    Raises:
        ModelUnusable: the bytes are no pickle, need a package or class that is not there, or hold
            something that does not predict.
    """
    import joblib

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            model = joblib.load(io.BytesIO(content))
        except ModuleNotFoundError as exc:
            raise ModelUnusable(
                f"{name} needs the package {exc.name!r}, which is not installed here: train with "
                "scikit-learn alone, or add the package to the service's dependencies"
            ) from exc
        except (AttributeError, ImportError) as exc:
            raise ModelUnusable(
                f"{name} needs code that is not installed here: {exc}. A class or function that "
                "was defined in the notebook does not travel with the pickle; move it to a package"
            ) from exc
        except Exception as exc:  # an unpickler raises anything, by the bytes it is fed
            raise ModelUnusable(
                f"{name} is no pickled model ({type(exc).__name__}): upload it with "
                "gcs_put_pickle, upload_model or joblib.dump"
            ) from exc
    transforms = hasattr(model, "fit") and hasattr(model, "transform")  # a DataFrame has the latter
    if not hasattr(model, "predict") and not transforms:
        raise ModelUnusable(
            f"{name} holds a {type(model).__name__}, "
            "which has no predict and no transform: upload a fitted estimator"
        )
    _pin_jobs(model, set())
    return LoadedModel(model, tuple(dict.fromkeys(str(w.message) for w in caught)))


def crc32c(content: bytes) -> str:
    """Return the checksum of `content` as Cloud Storage writes it: base64, big-endian."""
    import google_crc32c

    return base64.b64encode(google_crc32c.Checksum(content).digest()).decode()


def model_input(model: Any, frame: pd.DataFrame) -> Any:
    """Return `frame` in the form the model was fitted on: itself, or its values as an array.

    A model that knows how many features it has but not their names was fitted on an array.
    """
    fitted_on_array = hasattr(model, "n_features_in_") and not hasattr(model, "feature_names_in_")
    return frame.to_numpy() if fitted_on_array and hasattr(frame, "to_numpy") else frame


def _pin_jobs(value: Any, seen: set[int]) -> None:
    """Set n_jobs to 1 in the estimator and in every estimator inside it, fitted ones too."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, list | tuple):
        children = list(value)
    elif isinstance(value, dict):
        children = list(value.values())
    elif hasattr(value, "get_params") and hasattr(value, "__dict__"):
        if "n_jobs" in value.__dict__:
            value.n_jobs = 1
        children = list(value.__dict__.values())
    else:
        return
    for child in children:
        _pin_jobs(child, seen)
