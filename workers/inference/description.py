"""What planning needs to know of a model: read from the model in its sandbox, checked outside.

`describe` runs beside the model. `Description.parse` reads what came out of the sandbox, which
anybody may have written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self, cast

from mlsys.artifact.estimators.inputs import ANY, TEXT, one_column
from mlsys.artifact.signatures import MAX_COLUMNS
from workers.inference.shapes import METHODS, Value, prediction_types

MAX_NAME = 1_000  # characters of a feature's name that are kept; a column's has at most 300
MAX_LABEL = 100_000  # characters of a class's label
TYPES = frozenset({"BOOL", "INT64", "FLOAT64", "STRING"})  # of predictions


@dataclass(frozen=True, slots=True)
class Description:
    """A fitted model, as far as planning a run depends on it."""

    kind: str  # the name of its class
    methods: tuple[str, ...]  # those that can be outputs
    feature_names: tuple[str, ...] | None  # that it was fitted with
    feature_count: int | None
    one_column: Literal["text", "any"] | None  # `mlsys.artifact.estimators.inputs.one_column`
    prediction_types: tuple[str, ...]  # BigQuery's, one for each value of `predict`

    def to_dict(self) -> dict[str, Any]:
        """Return the description as JSON values."""
        return asdict(self)

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> Self:
        """Read a description that crossed from a sandbox.

        Raises:
            ValueError: a part is missing or has another form.
        """
        kind, column = value.get("kind"), value.get("one_column")
        names, count = value.get("feature_names"), value.get("feature_count")
        if not isinstance(kind, str) or column not in (None, TEXT, ANY):
            raise ValueError("kind, one_column")
        if not (count is None or _is_count(count)):
            raise ValueError("feature_count")
        methods = _texts(value.get("methods"), 1 + len(METHODS))
        types = _texts(value.get("prediction_types"), MAX_COLUMNS + 1)
        if not set(methods) <= {"predict", *METHODS} or not set(types) <= TYPES:
            raise ValueError("methods, prediction_types")
        return cls(
            kind=kind[:MAX_NAME],
            methods=methods,
            feature_names=None if names is None else _texts(names, MAX_COLUMNS + 1),
            feature_count=count,
            one_column=cast(Literal["text", "any"] | None, column),
            prediction_types=types,
        )


def describe(model: Any, predictions: int, types: Sequence[str | None] = ()) -> Description:
    """Describe a fitted model; `predictions` is how many values it predicts a row, if known.

    `types` are those of its golden predictions.

    Raises:
        ModelUnusable: it takes rows that no column of BigQuery holds.
    """
    names = getattr(model, "feature_names_in_", None)
    count = getattr(model, "n_features_in_", None)
    methods = [m for m in ("predict", *METHODS) if callable(getattr(model, m, None))]
    predicted = prediction_types(model, predictions, types) if "predict" in methods else []
    return Description(
        kind=type(model).__name__,
        methods=tuple(methods),
        feature_names=(
            None if names is None else tuple(str(n)[:MAX_NAME] for n in names[: MAX_COLUMNS + 1])
        ),
        feature_count=None if count is None else int(count),
        one_column=cast(Literal["text", "any"] | None, one_column(model)),
        prediction_types=tuple(predicted[: MAX_COLUMNS + 1]),
    )


def output_values(
    model: Any, methods: Sequence[str], names: Sequence[str]
) -> dict[str, list[Value]]:
    """Return what each method gives a row; `names` are the columns of its predictions.

    Of more values than a table has columns, the first are returned, one more than there is room
    for.

    Raises:
        InvalidRequest: the model cannot name them.
    """
    return {method: METHODS[method](model, names)[: MAX_COLUMNS + 1] for method in methods}


def parse_values(value: Mapping[str, Any], methods: Sequence[str]) -> dict[str, list[Value]]:
    """Read the answer of `output_values` for `methods`, which crossed from a sandbox.

    Raises:
        ValueError: it has another form.
    """
    if value.keys() != set(methods):
        raise ValueError("methods")
    return {method: [_value(v) for v in _list(value[method])] for method in methods}


def _value(value: Any) -> Value:
    if not isinstance(value, Mapping):
        raise ValueError("value")
    label, about, classes = value.get("label"), value.get("about"), value.get("classes")
    words = _texts(value.get("words"), 4, MAX_LABEL)
    if not (label is None or isinstance(label, str)) or not isinstance(about, str):
        raise ValueError("label, about")
    if not _is_count(classes) or not words or cast(int, classes) > len(words):
        raise ValueError("words, classes")
    return Value(words, label, about[:MAX_LABEL], cast(int, classes))


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list) or len(value) > MAX_COLUMNS + 1:
        raise ValueError("values")
    return value


def _texts(value: Any, most: int, length: int = MAX_NAME) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > most:
        raise ValueError("texts")
    if not all(isinstance(text, str) and len(text) <= length for text in value):
        raise ValueError("texts")
    return tuple(value)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**53
