"""Which columns a run writes: one or more for each of the model's methods that is asked for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from mlsys.errors import InvalidRequest, SchemaMismatch
from mlsys.names import duplicates
from workers.scoring.columns import Column

STAMPS = {
    "predicted_at": "TIMESTAMP",
    "model_name": "STRING",
    "model_version": "STRING",
    "run_id": "STRING",
}
# A BigQuery table has at most 10,000 columns: https://cloud.google.com/bigquery/quotas
MAX_COLUMNS = 10_000
MAX_WORD = 200  # characters; a column's name has 300 at the most


def output_columns(
    ids: Sequence[Column],
    model: Any,
    targets: Sequence[str],
    outputs: Sequence[str],
    count: int | None = None,
) -> tuple[list[Column], dict[str, tuple[str, ...]]]:
    """Return the columns a run writes, and which of them each of the model's methods fills.

    `count` is how many values the model predicts a row, where its metadata says so.

    Raises:
        InvalidRequest: the model cannot give what `outputs` asks for.
        SchemaMismatch: two columns would have the same name, or there would be too many.
    """
    for method in outputs:
        if not callable(getattr(model, method, None)):
            raise _cannot(model, method)
    predictions = _prediction_columns(model, targets, count)
    names = [c.name for c in predictions]
    written: dict[str, list[Column]] = {}
    for method in outputs:
        if method == "predict":
            written[method] = predictions
        else:
            found = _NAMES[method](model, names)
            written[method] = [Column(n, "FLOAT64") for n in found]
    columns = [*ids, *(c for some in written.values() for c in some)]
    columns += [Column(n, t) for n, t in STAMPS.items()]
    if len(columns) > MAX_COLUMNS:
        raise SchemaMismatch(
            f"The output would have {len(columns)} columns, and a table has {MAX_COLUMNS} at most: "
            "pass other outputs, or fewer id_columns."
        )
    if doubled := duplicates(c.name for c in columns):
        raise SchemaMismatch(
            "The output would have two columns of the same name: pass id_columns without it, or "
            "upload the model with another target name, or with classes that differ in letters and "
            "digits.",
            [(name, "is doubled") for name in doubled],
        )
    return columns, {method: tuple(c.name for c in some) for method, some in written.items()}


def probability_names(model: Any, predictions: Sequence[str]) -> list[str]:
    """The names `probability_<class>` (with the output's name between, if there are several).

    Raises:
        InvalidRequest: the model has no classes.
    """
    classes = getattr(model, "classes_", None)
    if classes is None:
        raise InvalidRequest(
            (
                "outputs",
                f"{type(model).__name__} has no classes to name its predict_proba by: "
                "pass other outputs",
            )
        )
    if not isinstance(classes, list):
        return [f"probability_{_word(c)}" for c in classes]
    return [
        f"probability_{name}_{_word(c)}"
        for name, own in zip(predictions, classes, strict=True)
        for c in own
    ]


def decision_names(model: Any, predictions: Sequence[str]) -> list[str]:
    """The name `decision`, or `decision_<class>` for each class where there are more than two.

    A support vector machine with decision_function_shape="ovo" has one for each pair of classes,
    in scikit-learn's order: `decision_<class>_<class>`.
    """
    classes = getattr(model, "classes_", None)
    inner = _innermost(model)
    if classes is None or isinstance(classes, list):
        return ["decision"]
    if len(classes) <= 2 and not getattr(inner, "multilabel_", False):
        return ["decision"]
    words = [_word(c) for c in classes]
    if getattr(inner, "decision_function_shape", None) == "ovo" and len(classes) > 2:
        pairs = [(a, b) for i, a in enumerate(words) for b in words[i + 1 :]]
        return [f"decision_{a}_{b}" for a, b in pairs]
    return [f"decision_{word}" for word in words]


def transform_names(model: Any, predictions: Sequence[str]) -> list[str]:
    """The names `transform_<feature>`, by the model's own names of what it gives.

    Raises:
        InvalidRequest: it has no names for them.
    """
    try:
        names = model.get_feature_names_out()
    except (AttributeError, ValueError, TypeError) as exc:
        raise InvalidRequest(
            (
                "outputs",
                f"{type(model).__name__} cannot name what transform gives "
                "(get_feature_names_out): pass other outputs",
            )
        ) from exc
    return [f"transform_{_word(name)}" for name in names]


_NAMES: Mapping[str, Any] = {
    "predict_proba": probability_names,
    "decision_function": decision_names,
    "transform": transform_names,
}


def _cannot(model: Any, method: str) -> InvalidRequest:
    able = [m for m in ("predict", *_NAMES) if callable(getattr(model, m, None))]
    return InvalidRequest(
        ("outputs", f"{type(model).__name__} has no {method}: pass outputs={','.join(able)}")
    )


def _word(value: Any) -> str:
    """A class as a part of a column name, which takes letters, digits and underscores.

    https://cloud.google.com/bigquery/docs/schemas#column_names
    """
    return re.sub(r"[^A-Za-z0-9_]", "_", str(value))[:MAX_WORD]


def _prediction_columns(model: Any, targets: Sequence[str], count: int | None) -> list[Column]:
    types = _prediction_types(model, count or len(targets))
    if len(targets) == len(types):
        names = list(targets)
    elif len(types) == 1:
        names = ["prediction"]
    else:
        names = [f"prediction_{i}" for i in range(len(types))]
    return [Column(n, t) for n, t in zip(names, types, strict=True)]


def _prediction_types(model: Any, count: int) -> list[str]:
    """The BigQuery type of each output, from what the fitted model says of itself."""
    from sklearn.utils import get_tags

    classes = getattr(model, "classes_", None)
    if classes is not None:
        if isinstance(classes, list):
            return [_class_type(c) for c in classes]
        return [_class_type(classes)] * max(1, count)  # several: multilabel, a 0 or 1 a label
    try:
        kind = get_tags(model).estimator_type
    except (AttributeError, TypeError):  # something that predicts and is no scikit-learn estimator
        kind = None
    if kind in ("clusterer", "outlier_detector", "density_estimator"):
        return ["INT64"]
    return ["FLOAT64"] * (count if count > 1 else _outputs(model))


def _class_type(classes: Any) -> str:
    import numpy as np

    kind = np.asarray(classes).dtype.kind
    return {"b": "BOOL", "i": "INT64", "u": "INT64", "f": "FLOAT64"}.get(kind, "STRING")


def _outputs(model: Any) -> int:
    """How many values a regressor predicts a row: scikit-learn has no one attribute for it."""
    inner = _innermost(model)
    if hasattr(inner, "n_outputs_"):
        return int(inner.n_outputs_)
    if type(inner).__name__ in ("MultiOutputRegressor", "RegressorChain"):
        return len(inner.estimators_)
    shape: tuple[int, ...] = getattr(getattr(inner, "coef_", None), "shape", ())
    return int(shape[0]) if len(shape) == 2 else 1


def _innermost(model: Any) -> Any:
    """The estimator within searches, TransformedTargetRegressor and pipelines, in any order."""
    inner: Any = model
    outer: Any = None
    while inner is not outer:
        outer = inner
        inner = getattr(inner, "best_estimator_", inner)
        inner = getattr(inner, "regressor_", inner)
        inner = inner[-1] if hasattr(inner, "steps") else inner
    return inner
