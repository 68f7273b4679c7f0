"""Input checks and computations of the plots in `mlsys.vis`.

Errors name the plot's own parameter and say what to pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mlsys.errors import InvalidRequest
from mlsys.plural import plural

if TYPE_CHECKING:
    import numpy as np

MAX_CLASSES = 100  # more distinct values than this are not classes
MAX_DRAWN = 1e300  # beyond it the arithmetic of an axis overflows
TINY = 1e-300  # a range below it has no room for bins
MAX_LABEL_NUMBERS = 20  # up to this many distinct whole numbers count as labels


def one_column(name: str, values: Any) -> np.ndarray:
    """Return `values` as a 1-d array of its own type, with at least one value and none missing."""
    import numpy as np
    import pandas as pd

    array = np.asarray(values, dtype=object)
    if array.ndim != 1:
        raise InvalidRequest((name, f"has shape {array.shape}: pass one column, 1-d"))
    if not len(array):
        raise InvalidRequest((name, "is empty: pass at least one value"))
    if missing := int(pd.isna(array).sum()):
        text = f"has {plural(missing, 'missing value')} of {len(array):,}: drop those rows"
        raise InvalidRequest((name, text))
    return pd.Series(array).infer_objects().to_numpy()


def numbers(name: str, values: Any) -> np.ndarray:
    """Return `values` as a 1-d or 2-d array of finite numbers, with at least one."""
    import numpy as np

    try:
        array = np.asarray(values, dtype=float)
    except (TypeError, ValueError) as exc:
        text = "has values that are not numbers: pass only numbers, none missing"
        raise InvalidRequest((name, text)) from exc
    if array.ndim not in (1, 2):
        raise InvalidRequest((name, f"has shape {array.shape}: pass a 1-d or 2-d array"))
    if not array.size:
        raise InvalidRequest((name, "is empty: pass at least one value"))
    if unusable := int((~np.isfinite(array)).sum()):
        text = f"has {unusable:,} missing or infinite values: drop those rows"
        raise InvalidRequest((name, text))
    return array


def check_same_length(**columns: np.ndarray) -> None:
    """Refuse columns of different lengths."""
    if len({len(column) for column in columns.values()}) > 1:
        lengths = " and ".join(f"{name} {len(column):,}" for name, column in columns.items())
        names = " and ".join(columns)
        text = f"have different lengths ({lengths} rows): pass the same rows"
        raise InvalidRequest((names, text))


def classes_of(**columns: np.ndarray) -> np.ndarray:
    """Return the distinct values of all `columns` together, sorted."""
    import numpy as np

    name = " and ".join(columns)
    kinds = {isinstance(value, str) for column in columns.values() for value in set(column)}
    if len(kinds) > 1:
        raise InvalidRequest((name, "mix text and numbers: pass labels of one type"))
    classes = np.unique(np.concatenate(list(columns.values())))
    if len(classes) > MAX_CLASSES:
        text = f"has {len(classes):,} distinct values, more than {MAX_CLASSES}: pass class labels"
        raise InvalidRequest((name, text))
    return classes


def ordered_classes(name: str, given: Sequence[Any], column: np.ndarray) -> np.ndarray:
    """Return the classes in the order `given`, once each and of the type of `column`."""
    classes = one_column(name, given)
    classes_of(**{name: classes, "y_true": column})
    if len(set(classes)) < len(classes):
        raise InvalidRequest((name, f"{list(given)} has duplicates: pass each class once"))
    return classes


def count(labels: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return the number of `labels` of each class."""
    import numpy as np

    return np.array([np.sum(labels == name) for name in classes])


def bin_edges(values: np.ndarray, bins: int) -> np.ndarray:
    """Return the edges of `bins` equal bins over all `values`, padded if the values hardly differ.

    Raises:
        InvalidRequest: a value is too large for the axis of a plot.
    """
    import numpy as np

    low, high = float(values.min()), float(values.max())
    largest = max(abs(low), abs(high))
    if largest > MAX_DRAWN:
        raise InvalidRequest(("predictions", f"{largest:.3g} is too large to draw: leave it out"))
    if high - low <= largest * 1e-9:  # such floats have no room for bins between them
        pad = max(0.5, largest * 1e-3)
        low, high = low - pad, high + pad
    elif high - low < TINY:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, bins + 1)


def are_labels(values: np.ndarray) -> bool:
    """Return whether the values are labels and not numbers to bin."""
    import numpy as np

    if values.dtype.kind not in "iuf":
        return True
    distinct = np.unique(values)
    return len(distinct) <= MAX_LABEL_NUMBERS and bool(np.all(distinct == np.round(distinct)))


def fitted(model: Any) -> Any:
    """Return `model`, or the best one of a search over models, checked to be fitted."""
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    model = getattr(model, "best_estimator_", model)
    try:
        check_is_fitted(model)
    except TypeError as exc:
        text = f"{type(model).__name__} is not an estimator: pass a fitted scikit-learn model"
        raise InvalidRequest(("model", text)) from exc
    except NotFittedError as exc:
        text = f"{type(model).__name__} is not fitted: call fit() first"
        raise InvalidRequest(("model", text)) from exc
    return model


def weights(model: Any) -> tuple[np.ndarray, str]:
    """Return a weight for each feature of the model's last step, and what the weight is."""
    import numpy as np

    last = last_step(model)
    if (importances := getattr(last, "feature_importances_", None)) is not None:
        return np.asarray(importances, dtype=float), "Importance"
    if (coef := getattr(last, "coef_", None)) is None:
        text = (
            f"{type(last).__name__} has neither feature_importances_ nor coef_: pass a tree, a "
            "forest or a linear model, or measure with sklearn.inspection.permutation_importance"
        )
        raise InvalidRequest(("model", text))
    coef = np.atleast_2d(coef.toarray() if hasattr(coef, "toarray") else coef)
    if len(coef) > 1:
        return np.abs(coef).mean(axis=0), "Mean absolute coefficient"
    return coef[0], "Coefficient"


def last_step(model: Any) -> Any:
    """Return the last step of a Pipeline, or the model itself."""
    from sklearn.pipeline import Pipeline

    return model[-1] if isinstance(model, Pipeline) else model


def feature_names_of(model: Any, given: Sequence[str] | None, width: int) -> np.ndarray:
    """Return the feature names of the model's last step."""
    import numpy as np

    names = None
    if last_step(model) is not model and len(model) > 1:
        try:
            names = model[:-1].get_feature_names_out(given)
        except AttributeError:  # a step cannot name its outputs
            pass
        except ValueError as exc:
            raise InvalidRequest(("feature_names", f"{exc}: pass the columns of X")) from exc
    if names is None:
        names = given
    if names is None:
        names = getattr(last_step(model), "feature_names_in_", None)
    if names is None:
        names = [f"feature {i}" for i in range(width)]
    if len(names) != width:
        text = (
            f"{plural(len(names), 'name')} for {plural(width, 'feature')}: pass one name for each"
        )
        raise InvalidRequest(("feature_names", text))
    return np.asarray(names, dtype=object)
