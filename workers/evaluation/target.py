"""What is evaluated of a run's output: a predicted column, and the scores of its classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlsys.artifact.output_names import STAMPS
from mlsys.columns.bins import CATEGORY
from mlsys.columns.names import fold
from mlsys.errors import InvalidRequest, SchemaMismatch
from workers.monitoring.reference import PREDICTION, TRAINING
from workers.scoring.planning.columns import Column
from workers.scoring.planning.plan import Plan

CLASSES, NUMBERS = TASKS = ("classification", "regression")
NUMERIC_TYPES = frozenset(("INT64", "FLOAT64", "NUMERIC", "BIGNUMERIC"))
TIMES = frozenset(("DATE", "DATETIME", "TIMESTAMP"))
_LABELS = NUMERIC_TYPES | {"STRING", "BOOL"}
# https://cloud.google.com/bigquery/docs/reference/standard-sql/conversion_rules, by the type that a
# prediction can have.
_CASTS = {
    "STRING": NUMERIC_TYPES | {"BYTES", "TIME"},
    "BOOL": {"INT64", "STRING"},
    "INT64": {"BOOL", "STRING"},
    "FLOAT64": {"STRING"},
}


@dataclass(frozen=True, slots=True)
class Target:
    """What is evaluated: the predicted column, and the columns with the scores of its classes."""

    column: Column
    task: str
    scores: tuple[str, ...] = ()
    classes: tuple[Any, ...] = ()  # of the scores; none: the one score is of the greatest label

    @property
    def probabilities(self) -> bool:
        """Whether the scores are probabilities, and not decisions."""
        return bool(self.classes)


def choose_target(plan: Plan, column: str | None, task: str | None) -> Target:
    """Return what is evaluated of a run's output: the column `column`, or the only predicted one.

    Classes are predicted where the run wrote scores of classes, the values are not FLOAT64, or the
    model's profile has them as classes.

    Raises:
        InvalidRequest: there are several predicted columns and none is named, or another one is.
        SchemaMismatch: the run did not predict, or its values are not of the task.
    """
    predicted = plan.outputs.get("predict", ())
    if not predicted:
        raise SchemaMismatch(
            f"The run {plan.run_id} wrote {', '.join(plan.outputs)}, and not predict: score the "
            "table with outputs=predict to evaluate it."
        )
    by_name = {fold(name): name for name in predicted}
    if column is None and len(predicted) > 1:
        names = ", ".join(predicted)
        text = f"is missing: the run predicted {names}; pass one of them"
        raise InvalidRequest(("prediction_column", text))
    name = predicted[0] if column is None else by_name.get(fold(column))
    if name is None:
        text = f"{column!r} was not predicted by the run: pass one of {', '.join(predicted)}"
        raise InvalidRequest(("prediction_column", text))
    types = {fold(c.name): c.type for c in plan.output.columns}
    chosen = Column(name, types[fold(name)])
    scores, classes = _scores(plan, chosen) if len(predicted) == 1 else ((), ())
    if task is None:
        numbers = chosen.type == "FLOAT64" and not scores and not _is_class(plan, name)
        task = NUMBERS if numbers else CLASSES
    if task == NUMBERS and chosen.type not in NUMERIC_TYPES:
        raise SchemaMismatch(
            "Only numbers can be evaluated as a regression: pass task=classification.",
            [(name, f"is {chosen.type}")],
        )
    return Target(chosen, task, scores, classes) if task == CLASSES else Target(chosen, task)


def written_names(plan: Plan) -> set[str]:
    """Return the names of the columns that a run adds to the ids, folded."""
    predicted = [name for names in plan.outputs.values() for name in names]
    return set(map(fold, (*predicted, *STAMPS)))


def _is_class(plan: Plan, name: str) -> bool:
    """Return whether the model's profile has the predicted values as classes."""
    counted = () if plan.reference is None else plan.reference.of(PREDICTION)
    known = [c for c in counted if fold(c.name) == fold(name) and c.source == TRAINING]
    return bool(known) and known[0].bins.kind == CATEGORY and bool(known[0].bins.values)


def _scores(plan: Plan, predicted: Column) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    """Return the columns with probabilities and their classes, or the one with decisions."""
    probabilities = plan.outputs.get("predict_proba", ())
    if probabilities:
        labels = [plan.labels.get(name) for name in probabilities]
        classes = tuple(_class(label, predicted.type) for label in labels if label is not None)
        if len(set(classes)) == len(probabilities):
            return probabilities, classes
    decisions = plan.outputs.get("decision_function", ())
    return (decisions if len(decisions) == 1 else ()), ()


def _class(label: str, kind: str) -> Any:
    if kind == "BOOL":
        return label == "True"
    return {"INT64": int, "FLOAT64": float}.get(kind, str)(label)


def check_label(label: Column, target: Target) -> None:
    """Check that labels can be compared with predictions.

    Raises:
        SchemaMismatch: they have different types; both are named.
    """
    predicted = target.column
    if label.type in _LABELS and common_type(label.type, predicted.type) is not None:
        return
    if label.type in TIMES and predicted.type == "STRING":  # `workers.evaluation.times`
        return
    raise SchemaMismatch(
        f"Labels and predictions have different types: {_advice(label, predicted)}.",
        [
            (label.name, f"is {label.type}"),
            (predicted.name, f"is {predicted.type}, the prediction"),
        ],
    )


def _advice(label: Column, predicted: Column) -> str:
    """Return what to pass in place of a label of another type; not all types can be cast."""
    kind = predicted.type
    name = label.name if label.name.isidentifier() and label.name.isascii() else f"`{label.name}`"
    by = f"CAST({name} AS {kind})" if label.type in _CASTS[kind] else None
    if label.type == "BOOL" and kind in NUMERIC_TYPES:
        by = f"CAST({name} AS INT64)"  # which is compared with any number
    elif label.type == "BOOL" and kind == "STRING":
        by = f"IF({name}, 'True', 'False')"  # as a run writes such classes
    elif label.type in NUMERIC_TYPES and kind == "BOOL":
        by = f"{name} != 0"
    if by is None:
        return f"pass a label_column whose values are {kind}"
    return f"pass a view that casts the labels, with {by}"


def common_type(a: str, b: str) -> str | None:
    """Return the type in which values of two types are compared, or None if they cannot be."""
    if a == b:
        return a
    return "BIGNUMERIC" if {a, b} <= NUMERIC_TYPES else None
