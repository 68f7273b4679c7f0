"""The columns that a run writes: one or more for each requested method of the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from mlsys.artifact.output_names import STAMPS, predicted_names
from mlsys.artifact.signatures import MAX_COLUMNS
from mlsys.columns.names import duplicates, fold, similar_names
from mlsys.errors import InvalidRequest, SchemaMismatch
from mlsys.plural import plural
from workers.inference.description import Description
from workers.inference.shapes import Value
from workers.scoring.planning.columns import Column
from workers.scoring.planning.labels import column_names, names_of_labels

# What gives the values of a model's methods: `SandboxedModel.output_values`
type ValuesOf = Callable[[Sequence[str], Sequence[str]], dict[str, list[Value]]]

# characters of a column's description: https://cloud.google.com/bigquery/quotas
MAX_DESCRIPTION = 1024


def output_columns(
    ids: Sequence[Column],
    model: Description,
    values_of: ValuesOf,
    targets: Sequence[str],
    outputs: Sequence[str],
    prediction_names: Sequence[str] | None = None,
    class_columns: str | None = None,
) -> tuple[list[Column], dict[str, tuple[str, ...]]]:
    """Return the columns a run writes, and which of them each of the model's methods fills.

    Raises:
        InvalidRequest, SchemaMismatch: see `written_columns` and `with_ids`.
    """
    written, methods = written_columns(
        model, values_of, targets, outputs, prediction_names, class_columns
    )
    return with_ids(ids, written), methods


def written_columns(
    model: Description,
    values_of: ValuesOf,
    targets: Sequence[str],
    outputs: Sequence[str],
    prediction_names: Sequence[str] | None = None,
    class_columns: str | None = None,
) -> tuple[list[Column], dict[str, tuple[str, ...]]]:
    """Return the columns a run writes besides the ids, and which of them each method fills.

    `prediction_names` are the request's names for them, in place of `targets`; `class_columns` are
    its names for classes, in place of their labels.

    Raises:
        InvalidRequest: the model cannot give what `outputs` asks for, predicts another number of
            values than there are `prediction_names`, or has other classes than `class_columns`.
    """
    for method in outputs:
        if method not in model.methods:
            raise _cannot(model, method)
    predictions = _prediction_columns(model, targets, prediction_names)
    names = [c.name for c in predictions]
    others = [method for method in outputs if method != "predict"]
    values = values_of(others, names) if others else {}
    if class_columns is not None:
        values = _renamed(values, class_columns)
    written = {
        method: _columns(method, values[method]) if method in values else predictions
        for method in outputs
    }
    columns = [c for some in written.values() for c in some]
    columns += [Column(n, t) for n, t in STAMPS.items()]
    return columns, {method: tuple(c.name for c in some) for method, some in written.items()}


def with_ids(ids: Sequence[Column], written: Sequence[Column]) -> list[Column]:
    """Return all columns of the output, the ids first.

    Raises:
        SchemaMismatch: two columns would have the same name, or one that BigQuery may take for the
            same, or there would be too many.
    """
    columns = [*ids, *written]
    if len(columns) > MAX_COLUMNS:
        raise SchemaMismatch(
            f"The output would have {len(columns)} columns, and a table has at most {MAX_COLUMNS}: "
            "pass other outputs, or fewer id_columns."
        )
    _check_names(columns)
    _check_similar(ids, written)
    return columns


def leave_out_equal(
    ids: Sequence[Column], columns: Sequence[Column], predictions: Sequence[str] | None = None
) -> tuple[list[Column], list[str]]:
    """Return the ids without those that have a written column's name, and a warning if any do.

    For ids that the request does not name, such as the target in a table for validation.
    `predictions` are the columns that prediction_column names; by default all but the run's own.
    """
    taken = {fold(c.name) for c in columns}
    kept = [c for c in ids if fold(c.name) not in taken]
    equal = [c.name for c in ids if fold(c.name) in taken]
    if not equal:
        return kept, []
    if predictions is None:
        predictions = [c.name for c in columns if c.name not in STAMPS]
    named = {fold(name) for name in predictions}
    others = [name for name in equal if fold(name) not in named]
    advice = []
    if len(others) < len(equal):
        advice.append("Pass prediction_column to give the predictions other names")
    if others:
        advice.append(f"To carry over {', '.join(others)}, score a view that renames the column")
    return kept, [
        f"not carried over, because the run writes columns of the same names: {', '.join(equal)}. "
        + ". ".join(advice)
    ]


def _renamed(values: dict[str, list[Value]], class_columns: str) -> dict[str, list[Value]]:
    """Replace the labels of classes by the request's names for them."""
    every = [v for some in values.values() for v in some]
    labels = dict.fromkeys(word for v in every for word in v.words[len(v.words) - v.classes :])
    names = names_of_labels(class_columns, list(labels))

    def rename(value: Value) -> Value:
        first = len(value.words) - value.classes
        words = (*value.words[:first], *(names.get(w, w) for w in value.words[first:]))
        return replace(value, words=words)

    return {method: [rename(v) for v in some] for method, some in values.items()}


def _columns(method: str, values: Sequence[Value]) -> list[Column]:
    names = column_names([v.words for v in values])
    return [
        Column(name, "FLOAT64", _short(v.label), _short(f"{method}: {v.about} {v.label}"))
        if v.label is not None
        else Column(name, "FLOAT64")
        for name, v in zip(names, values, strict=True)
    ]


def _short(text: str | None) -> str | None:
    if text is None or len(text) <= MAX_DESCRIPTION:
        return text
    return f"{text[: MAX_DESCRIPTION - 3]}..."


def _check_names(columns: Sequence[Column]) -> None:
    """Check that no two columns have the same name."""
    if repeated := duplicates(c.name for c in columns):
        raise SchemaMismatch(
            "The output would have two columns of the same name: pass id_columns without it, or "
            "prediction_column to give the predictions other names.",
            [(name, "is a duplicate") for name in repeated],
        )


def _check_similar(ids: Sequence[Column], written: Sequence[Column]) -> None:
    """Check that no written column's name differs from another only in case beyond ASCII.

    The ids are in one table already, so BigQuery distinguishes them.
    """
    similar = similar_names(c.name for c in [*ids, *written])
    faults = [(c.name, similar[c.name]) for c in written if c.name in similar]
    if faults:
        raise SchemaMismatch(
            "The output would have columns whose names differ only in case beyond ASCII, which "
            "BigQuery may refuse: pass id_columns without them, or prediction_column to give the "
            "predictions other names.",
            [(name, f"is like {other!r}") for name, other in faults],
        )


def _cannot(model: Description, method: str) -> InvalidRequest:
    instead = (
        f"pass outputs={','.join(model.methods)}"
        if model.methods
        else "it has no method to score with"
    )
    return InvalidRequest(("outputs", f"{model.kind} has no {method}: {instead}"))


def _prediction_columns(
    model: Description, targets: Sequence[str], given: Sequence[str] | None
) -> list[Column]:
    types = model.prediction_types
    if given is not None and len(given) != len(types):
        raise InvalidRequest(
            (
                "prediction_column",
                f"{plural(len(given), 'name')} for a model that predicts "
                f"{plural(len(types), 'value')} a row: pass {len(types)}, separated by commas",
            )
        )
    names = predicted_names(targets, len(types)) if given is None else given
    return [Column(n, t) for n, t in zip(names, types, strict=True)]
