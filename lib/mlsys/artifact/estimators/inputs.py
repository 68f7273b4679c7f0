"""The form of a model's X: a table of columns, or one column as a Series.

A text vectorizer iterates over its input. Of a frame it sees the names of the columns, not the
rows, and returns one row per column. So a model that begins with one, inside any wrappers, gets its
column as a Series.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mlsys.errors import ModelUnusable

if TYPE_CHECKING:
    import pandas as pd

TEXT = "text"  # the model takes one column of text
ANY = "any"  # the model takes one column of any type

# Attributes with the estimators that receive X, the fitted ones first.
_INNER = (
    *("best_estimator_", "calibrated_classifiers_", "estimators_", "estimator_", "regressor_"),
    *("transformer_list", "estimator", "regressor"),
)
# These pass X on unchanged; any other estimator reads X itself.
_WRAPPERS = frozenset(
    {
        *("GridSearchCV", "RandomizedSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV"),
        *("CalibratedClassifierCV", "_CalibratedClassifier", "FrozenEstimator"),
        *("FixedThresholdClassifier", "TunedThresholdClassifierCV"),
        *("StackingClassifier", "StackingRegressor", "VotingClassifier", "VotingRegressor"),
        *("OneVsRestClassifier", "OneVsOneClassifier", "OutputCodeClassifier"),
        *("MultiOutputClassifier", "MultiOutputRegressor", "ClassifierChain", "RegressorChain"),
        *("TransformedTargetRegressor", "FeatureUnion", "SelfTrainingClassifier"),
    }
)


def first_steps(model: Any) -> Iterator[Any]:
    """Yield the estimators that read X first, unchanged."""
    seen: set[int] = set()
    left = [model]
    while left:
        value = left.pop()
        if value is None or isinstance(value, str) or id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, list | tuple):
            left += reversed(value)
        elif type(value).__module__.partition(".")[0] != "sklearn":
            yield value
        elif isinstance(steps := getattr(value, "steps", None), list):
            left.append(_first([step for _, step in steps]))
        elif type(value).__name__ in _WRAPPERS:
            kept = vars(value)
            left.append(next((kept[name] for name in _INNER if kept.get(name) is not None), None))
        else:
            yield value


def one_column(model: Any) -> str | None:
    """Return TEXT or ANY if the model takes one column as a Series, and None if it takes a table.

    Raises:
        ModelUnusable: it takes rows of a type that BigQuery columns cannot hold.
    """
    from sklearn.feature_extraction import DictVectorizer, FeatureHasher
    from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer
    from sklearn.isotonic import IsotonicRegression
    from sklearn.preprocessing import LabelBinarizer, LabelEncoder, MultiLabelBinarizer

    kind = None
    for step in first_steps(model):
        if isinstance(step, DictVectorizer | FeatureHasher | MultiLabelBinarizer):
            raise ModelUnusable(
                f"The model begins with a {type(step).__name__}, which takes a dict or a list for "
                "each row, and a column of a table cannot hold one. Fit it on a DataFrame with one "
                "column for each value, for instance with a OneHotEncoder in a ColumnTransformer"
            )
        if isinstance(step, CountVectorizer | HashingVectorizer):
            kind = TEXT
        elif isinstance(step, LabelEncoder | LabelBinarizer | IsotonicRegression):
            kind = kind or ANY
    return kind


def model_input(model: Any, frame: pd.DataFrame, series: bool = False) -> Any:
    """Return `frame` in the form the model was fitted on.

    That is the frame itself, its values as an array, or with `series` its only column.
    """
    if series:
        return frame.iloc[:, 0] if getattr(frame, "ndim", 1) == 2 else frame
    return frame.to_numpy() if fitted_on_array(model) and hasattr(frame, "to_numpy") else frame


def fitted_on_array(model: Any) -> bool:
    """Return whether the model knows the number of its features but not their names."""
    return hasattr(model, "n_features_in_") and not hasattr(model, "feature_names_in_")


def _first(steps: list[Any]) -> Any:
    """Return the step of a Pipeline that reads X; a FunctionTransformer before it passes X on."""
    from sklearn.preprocessing import FunctionTransformer

    steps = [step for step in steps if step is not None and step != "passthrough"]
    for step in steps[:-1]:
        on_table = hasattr(step, "n_features_in_")  # it was fitted on two dimensions
        if not isinstance(step, FunctionTransformer) or on_table:
            return step
    return steps[-1] if steps else None
