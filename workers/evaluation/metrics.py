"""Metrics from the counts and sums of `workers/sql/templates`, as scikit-learn defines them.

All of a run's rows are in them, so a metric is that of scikit-learn's function on the same rows,
but for the last bits of sums. Where scikit-learn warns and returns NaN, a metric is None.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlsys.plural import part

# Columns of `prediction_evaluations`, in its order
METRICS = (
    *("accuracy", "balanced_accuracy", "precision", "recall", "f1"),
    *("precision_macro", "recall_macro", "f1_macro"),
    *("precision_weighted", "recall_weighted", "f1_weighted"),
    *("roc_auc", "roc_auc_weighted", "log_loss", "brier"),
    *("rmse", "mae", "r2", "mean_error"),
)
BINS = 10  # of a calibration
EDGES = tuple(i * 0.1 for i in range(1, BINS))  # between them, in the bits of numpy.linspace
SHARES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)  # of the errors' quantiles
MOST = 1e150  # of a number whose error is squared: FLOAT64 ends at 1.8e308
MAX_CELLS = 10_000  # pairs of label and prediction that are counted, as in evaluate_classes.sql
MAX_SHOWN_CELLS = 400  # that `details` keeps


@dataclass(frozen=True, slots=True)
class Measured:
    """The metrics of one run by their names, and what they are made of."""

    metrics: Mapping[str, float]
    details: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def measure_numbers(sums: Mapping[str, Any], count: int) -> Measured:
    """Return the metrics of predicted numbers; an error is the prediction less the label.

    `sums` is a row of evaluate_numbers.sql about `count` labelled rows, at least one.
    """
    if beyond := sums["beyond"]:
        text = (
            f"{part(beyond, count, 'row', 'has')} a prediction or a label beyond {MOST:g}, and "
            "FLOAT64 cannot hold the square of such an error: rmse, mae, mean_error, r2 and the "
            "quantiles of the error are left out. Correct these rows, or pass a view of the labels "
            "without them"
        )
        return Measured({}, {"error_quantiles": []}, (text,))
    squares, spread = sums["squares"], 0.0 if sums["constant"] else sums["label_squares"]
    metrics = {
        "rmse": math.sqrt(squares / count),
        "mae": sums["absolute"] / count,
        "mean_error": sums["error"] / count,
    }
    if count > 1:
        metrics["r2"] = 1 - squares / spread if spread else float(squares == 0)
    quantiles = sorted(sums["quantiles"], key=lambda quantile: quantile["share"])
    details = {"error_quantiles": [{"share": q["share"], "error": q["error"]} for q in quantiles]}
    return Measured(_finite(metrics), details)


def measure_classes(
    row: Mapping[str, Any], classes: Sequence[Any] = (), *, probabilities: bool = False
) -> Measured:
    """Return the metrics of predicted classes.

    `row` is a row of evaluate_classes.sql with at least one labelled row. `classes` are the model's
    in the order of its scores, if they are known; `probabilities` says that the scores are such.
    """
    confusion = _Confusion(row["confusion"])
    every = sorted({*classes, *confusion.classes})
    positive = every[1] if len(every) == 2 else None
    per_class = [confusion.figures(name) for name in confusion.classes]
    metrics: dict[str, float | None] = confusion.averages(per_class)
    if positive is not None:
        own = confusion.figures(positive)
        metrics |= {name: own[name] for name in ("precision", "recall", "f1")}
    notes = confusion.apart(classes)
    areas = {curve["k"]: _area(curve) for curve in row["curves"] or ()}
    unknown = confusion.unknown(classes)
    if probabilities and not unknown:
        metrics["log_loss"] = row["log_loss"] / confusion.total
        metrics["brier"] = row["brier"] / confusion.total / (2 if len(classes) == 2 else 1)
    if unknown:
        notes.append(
            f"the model does not know {len(unknown)} of the labels ({_listed(unknown)}): "
            "log_loss, brier and roc_auc are left out"
        )
    elif areas:
        metrics |= _areas(areas, classes, confusion)
        if metrics["roc_auc"] is None:
            notes.append("roc_auc is left out: it needs labels of every class of the model")
    details: dict[str, Any] = {"positive_class": positive, "classes": per_class}
    for number, name in enumerate(classes):
        for figures in per_class:
            if figures["label"] == name and areas.get(number) is not None:
                figures["roc_auc"] = areas[number]
    if probabilities:
        details["calibration"] = _calibration(row["bins"] or (), classes)
    if len(confusion.cells) <= MAX_SHOWN_CELLS:
        details["confusion"] = [
            {"label": label, "prediction": prediction, "rows": count}
            for (label, prediction), count in sorted(confusion.cells.items())
        ]
    return Measured(_finite(metrics), details, tuple(notes))


class _Confusion:
    """How many rows have each pair of label and prediction."""

    def __init__(self, cells: Iterable[Mapping[str, Any]]) -> None:
        self.cells = {(cell["label"], cell["prediction"]): cell["n"] for cell in cells}
        self.total = sum(self.cells.values())
        self.labels: dict[Any, int] = {}
        self.predictions: dict[Any, int] = {}
        for (label, prediction), count in self.cells.items():
            self.labels[label] = self.labels.get(label, 0) + count
            self.predictions[prediction] = self.predictions.get(prediction, 0) + count
        self.classes = sorted({*self.labels, *self.predictions})

    def figures(self, name: Any) -> dict[str, Any]:
        """Return the figures of one class against the rest; a share of nothing is 0."""
        right = self.cells.get((name, name), 0)
        rows, predicted = self.labels.get(name, 0), self.predictions.get(name, 0)
        return {
            "label": name,
            "rows": rows,
            "predicted": predicted,
            "precision": right / predicted if predicted else 0.0,
            "recall": right / rows if rows else 0.0,
            "f1": 2 * right / (rows + predicted) if rows + predicted else 0.0,
        }

    def averages(self, per_class: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
        """Return the metrics over all classes."""
        metrics: dict[str, float | None] = {
            "accuracy": sum(self.cells.get((name, name), 0) for name in self.labels) / self.total,
            "balanced_accuracy": math.fsum(c["recall"] for c in per_class if c["rows"])
            / len(self.labels),
        }
        for name in ("precision", "recall", "f1"):
            metrics[f"{name}_macro"] = math.fsum(c[name] for c in per_class) / len(per_class)
            weighted = math.fsum(c[name] * c["rows"] for c in per_class)
            metrics[f"{name}_weighted"] = weighted / self.total
        return metrics

    def apart(self, classes: Sequence[Any]) -> list[str]:
        """Return a note if no label is a prediction, nor a class of the model: other spellings."""
        labels, predictions = sorted(self.labels), sorted(self.predictions)
        if isinstance(labels[0], bool) or set(labels) & {*predictions, *classes}:
            return []
        return [
            f"no label is equal to any prediction (labels: {_listed(labels)}; predictions: "
            f"{_listed(predictions)}): if they mean the same classes, pass a view that spells the "
            "labels as the predictions"
        ]

    def unknown(self, classes: Sequence[Any]) -> list[Any]:
        """Return the labels that are not classes of the model, if those are known."""
        return sorted(set(self.labels) - set(classes)) if classes else []


def _area(curve: Mapping[str, Any]) -> float | None:
    """Return the area under a ROC curve, or None if all rows are of the class, or none is."""
    pairs = curve["own"] * curve["others"]
    return curve["won"] / pairs if pairs else None


def _areas(
    areas: Mapping[int, float | None], classes: Sequence[Any], confusion: _Confusion
) -> dict[str, float | None]:
    """Return the area of two classes, or the averages over each class against the rest."""
    if len(areas) <= 2:
        return {"roc_auc": areas[max(areas)]}  # of the second class, or of the one score
    known = [area for area in areas.values() if area is not None]
    if len(known) < len(classes):
        return {"roc_auc": None}
    weighted = math.fsum(
        area * confusion.labels[classes[number]]
        for number, area in areas.items()
        if area is not None
    )
    return {
        "roc_auc": math.fsum(known) / len(known),
        "roc_auc_weighted": weighted / confusion.total,
    }


def _calibration(bins: Iterable[Mapping[str, Any]], classes: Sequence[Any]) -> list[dict[str, Any]]:
    """Return the bins that have rows: of the second of two classes, or of every class."""
    first = 1 if len(classes) == 2 else 0
    return [
        {
            "label": classes[bin["k"]],
            "from": bin["bin"] / BINS,
            "to": (bin["bin"] + 1) / BINS,
            "rows": bin["n"],
            "mean_probability": bin["total"] / bin["n"],
            "share": bin["own"] / bin["n"],
        }
        for bin in sorted(bins, key=lambda bin: (bin["k"], bin["bin"]))
        if bin["k"] >= first
    ]


def _finite(metrics: Mapping[str, float | None]) -> dict[str, float]:
    """Return the metrics that have a value, in the order of `METRICS`."""
    return {
        name: float(value)
        for name in METRICS
        if (value := metrics.get(name)) is not None and math.isfinite(value)
    }


def _listed(values: Sequence[Any]) -> str:
    texts = [repr(value)[:40] for value in values[:3]]
    return ", ".join(texts) + (", ..." if len(values) > len(texts) else "")
