"""Predictions with labels in every relation, and what scikit-learn says of the same rows."""

from __future__ import annotations

import datetime as dt
import warnings
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
from sklearn import metrics
from sklearn.calibration import calibration_curve

from mlsys.cloud.tables import TableRef
from workers.evaluation.evaluated_runs import ScoredRun
from workers.evaluation.join import Join
from workers.evaluation.target import CLASSES, NUMBERS, Target
from workers.scoring.planning.columns import Column

AT = dt.datetime(2026, 11, 1, 12, tzinfo=dt.UTC)


@dataclass
class Case:
    """A run with its predictions, its scores by class, and their labels, a row each."""

    predictions: np.ndarray
    labels: np.ndarray
    scores: np.ndarray | None = None
    unlabelled: int = 0  # rows, each, without a label, with a NULL label, without a prediction


@dataclass
class Group:
    """Runs that one query evaluates, in one output table."""

    task: str
    type: str
    cases: list[Case]
    classes: tuple[Any, ...] = ()
    label_type: str = ""
    two_keys: bool = False
    decision: bool = False

    def score_names(self) -> list[str]:
        return ["d"] if self.decision else [f"p_{k}" for k in range(len(self.classes))]

    def tables(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return the output of all runs, and their labels."""
        outputs, labels = [], []
        for number, case in enumerate(self.cases):
            count, more = len(case.predictions), case.unlabelled
            ids = number * 100_000 + np.arange(count + 4 * more)
            predicted = np.resize(case.predictions, len(ids)).astype(object)
            label = np.resize(case.labels, len(ids)).astype(object)
            label[count : count + more] = None
            predicted[count + more : count + 2 * more] = None
            frame = pd.DataFrame({"id": ids, "prediction": predicted, "run_id": f"run-{number}"})
            for k, name in enumerate(self.score_names()):
                assert case.scores is not None
                frame[name] = np.resize(case.scores.reshape(count, -1)[:, k], len(ids))
            outputs.append(frame[: count + 3 * more])
            known = pd.DataFrame({"id": ids, "label": label})
            labels.append(known.drop(index=range(count + 2 * more, count + 3 * more)))
        output, known = pd.concat(outputs, ignore_index=True), pd.concat(labels, ignore_index=True)
        output["predicted_at"] = AT
        for frame in (output, known) if self.two_keys else ():
            frame["part"] = "part " + (frame["id"] // 7).astype(str)
            frame["id"] = frame["id"] % 7
        return output, known

    def join(self, output: str, labels: str) -> Join:
        keys = [Column("id", "INT64"), *([Column("part", "STRING")] if self.two_keys else [])]
        scores = tuple(self.score_names())
        target = Target(Column("prediction", self.type), self.task, scores, self.classes)
        return Join(
            TableRef.parse(output),
            TableRef.parse(labels),
            target,
            Column("label", self.label_type or self.type),
            tuple((key, key) for key in keys),
        )

    def runs(self) -> list[ScoredRun]:
        model = SimpleNamespace(name="m", version="v1", generation=7, alias=None)
        return [
            ScoredRun(
                cast(
                    Any,
                    SimpleNamespace(run_id=f"run-{i}", created_at=AT.isoformat(), model=model),
                ),
                len(case.predictions) + 3 * case.unlabelled,
            )
            for i, case in enumerate(self.cases)
        ]


def groups(seed: int = 7, count: int = 8) -> list[Group]:
    """Return runs of every kind; the edges of each kind come first."""
    rng = np.random.default_rng(seed)
    binary = [_binary(rng, n, digits) for n, digits in ((1, 1), (2, 1), (300, 0), (40, 2))]
    binary += [
        _binary(rng, int(rng.integers(3, 80)), int(rng.integers(1, 4))) for _ in range(count)
    ]
    same = np.full((10, 2), 0.5)
    binary.append(Case(np.zeros(10, int), np.arange(10) % 2, same))
    binary.append(Case(np.ones(5, int), np.ones(5, int), np.tile([0.0, 1.0], (5, 1)), unlabelled=2))
    edges = np.linspace(0, 1, 11)
    binary.append(Case((edges > 0.5).astype(int), np.arange(11) % 2, np.c_[1 - edges, edges]))
    names = ("Ab", "a", "b'c", "z z", "é")
    several = [_several(rng, int(rng.integers(20, 90)), names) for _ in range(count)]
    several.append(_several(rng, 9, names[:2]))
    numbers = [Case(np.array([1.5]), np.array([2.0])), Case(np.full(4, 2.0), np.full(4, 2.0))]
    numbers += [Case(np.array([1.0, 3.0, 2.0]), np.full(3, 2.0))]
    numbers += [_numbers(rng, int(rng.integers(2, 90))) for _ in range(count)]
    return [
        Group(CLASSES, "INT64", binary, (0, 1)),
        Group(CLASSES, "STRING", several, names, two_keys=True),
        Group(NUMBERS, "FLOAT64", numbers),
        Group(
            CLASSES,
            "BOOL",
            [
                Case(c.predictions == 1, c.labels == 1, cast(np.ndarray, c.scores)[:, 1] * 9 - 4)
                for c in binary
            ]
            + [
                Case(c.predictions == 1, c.labels == 1, c.scores[:, 1] * 1e308) for c in binary[2:3]
            ],
            decision=True,
        ),
        Group(
            CLASSES,
            "INT64",
            [Case(c.predictions, c.labels * 1.0) for c in binary[2:8]],
            label_type="FLOAT64",
        ),
    ]


def _binary(rng: np.random.Generator, count: int, digits: int) -> Case:
    second = np.round(rng.random(count), digits)
    labels = (rng.random(count) < 0.2 + 0.6 * second).astype(int)
    return Case(
        (second > 0.5).astype(int), labels, np.c_[1 - second, second], int(rng.integers(0, 4))
    )


def _several(rng: np.random.Generator, count: int, names: tuple[str, ...]) -> Case:
    scores = rng.dirichlet(np.ones(5), count)
    pool = np.array(names, dtype=object)
    labels = np.where(
        rng.random(count) < 0.6, pool[scores[:, : len(pool)].argmax(1)], rng.choice(pool, count)
    )
    every = np.array(("Ab", "a", "b'c", "z z", "é"), dtype=object)
    return Case(every[scores.argmax(1)], labels, scores, int(rng.integers(0, 4)))


def _numbers(rng: np.random.Generator, count: int) -> Case:
    labels = rng.normal(rng.choice([0.0, 1e6]), 10.0 ** rng.integers(-3, 5), count)
    noise = rng.normal(0, np.std(labels) * rng.random() + 1e-9, count)
    return Case(labels + np.round(noise, 1), labels, None, int(rng.integers(0, 4)))


def expected_metrics(group: Group, case: Case) -> dict[str, float]:
    """Return scikit-learn's metrics of a case; those that it calls undefined are left out."""
    y, p, scores = case.labels, case.predictions, case.scores
    if group.task == NUMBERS:
        found = {
            "rmse": metrics.root_mean_squared_error(y, p),
            "mae": metrics.mean_absolute_error(y, p),
            "mean_error": float(np.mean(p - y)),
        }
        return found | ({"r2": metrics.r2_score(y, p)} if len(y) > 1 else {})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of undefined metrics
        return _of_classes(group, y, p, scores)


def _of_classes(group: Group, y: Any, p: Any, scores: Any) -> dict[str, float]:
    classes = np.array(sorted({*group.classes, *y, *p}), dtype=object)
    y, p = (
        np.searchsorted(classes.astype(type(classes[0])), v.astype(type(classes[0])))
        for v in (y, p)
    )
    found = {
        "accuracy": metrics.accuracy_score(y, p),
        "balanced_accuracy": metrics.balanced_accuracy_score(y, p),
    }
    averages = ["macro", "weighted", *(["binary"] if len(classes) == 2 else [])]
    for average in averages:
        figures = metrics.precision_recall_fscore_support(y, p, average=average, zero_division=0.0)
        end = "" if average == "binary" else f"_{average}"
        found |= {
            f"{n}{end}": v for n, v in zip(("precision", "recall", "f1"), figures, strict=False)
        }
    present = len(set(y))
    if group.classes:
        every = list(range(len(classes)))
        found["log_loss"] = metrics.log_loss(y, y_proba=scores, labels=every)
        found["brier"] = metrics.brier_score_loss(y, y_proba=scores, labels=every)
    if len(group.classes) > 2 and present == len(group.classes):
        for average, name in (("macro", "roc_auc"), ("weighted", "roc_auc_weighted")):
            found[name] = metrics.roc_auc_score(y, scores, multi_class="ovr", average=average)
    elif scores is not None and len(classes) == 2 and present == 2:
        found["roc_auc"] = metrics.roc_auc_score(y, scores[:, 1] if scores.ndim > 1 else scores)
    return found


def expected_calibration(case: Case) -> list[tuple[float, float]]:
    """Return the share of the second class and the mean probability of each bin that has rows."""
    assert case.scores is not None
    curve = calibration_curve(case.labels, case.scores[:, 1], n_bins=10, strategy="uniform")
    return list(zip(*curve, strict=True))
