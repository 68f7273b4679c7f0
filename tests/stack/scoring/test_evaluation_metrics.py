"""The metrics that BigQuery's SQL gives are scikit-learn's on the same rows."""

import numpy as np
import pytest

from evaluation_cases import (
    NUMBERS,
    Case,
    Group,
    expected_calibration,
    expected_metrics,
    groups,
)
from mlsys.local.stack import LocalStack
from scoring_cases import Lab
from workers.evaluation.comparison import compare

GROUPS = groups()


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(GROUPS)))
def test_metrics_are_those_of_scikit_learn(stack: LocalStack, number: int) -> None:
    lab, group = Lab(stack), GROUPS[number]
    output, labels = group.tables()
    join = group.join(lab.put(output), lab.put(labels))
    check(group, list(compare(lab.clients, join, group.runs())), len(labels))


def test_a_number_whose_square_overflows_leaves_out_the_metrics_of_its_run(
    stack: LocalStack,
) -> None:
    few = np.array([1.5, 2.0, 0.5])
    cases = [Case(few, few + 1), Case(few * [1, 1, 1e200], few), Case(few, few * [-1e308, 1, 1])]
    group = Group(NUMBERS, "FLOAT64", [*cases, Case(few * 1e149, -few * 1e149)])
    lab, (output, labels) = Lab(stack), group.tables()
    join = group.join(lab.put(output), lab.put(labels))
    usual, *others, largest = compare(lab.clients, join, group.runs())
    for row, mae in ((usual, 1.0), (largest, 8e149 / 3)):
        assert isinstance(row, dict)
        assert row["mae"] == pytest.approx(mae, rel=1e-9) and row["details"]["notes"] == []
        assert row["rmse"] > 0
    for row in others:
        assert isinstance(row, dict)
        assert not any(_is_metric(row, name) for name in row)
        [note] = row["details"]["notes"]
        assert note.startswith("1 of 3 rows has a prediction or a label beyond 1e+150")


def check(group: Group, rows: list, known: int) -> None:
    assert len(rows) == len(group.cases)
    for case, row in zip(group.cases, rows, strict=True):
        assert isinstance(row, dict), row
        more = case.unlabelled
        assert row["rows_evaluated"] == len(case.labels)
        assert row["rows_without_label"] == row["rows_with_null_label"] == more
        assert row["rows_without_prediction"] == more
        assert row["labels_without_prediction"] == known - len(case.labels) - 2 * more
        expected = expected_metrics(group, case)
        names = {name for name, value in row.items() if name in expected or _is_metric(row, name)}
        assert names == expected.keys()
        for name, value in expected.items():
            assert row[name] == pytest.approx(value, rel=1e-9, abs=1e-9), (row["run_id"], name)
        if group.task == NUMBERS:
            errors = case.predictions - case.labels
            for quantile in row["details"]["error_quantiles"]:
                exact = np.quantile(errors, quantile["share"])
                assert quantile["error"] == pytest.approx(exact, rel=1e-9, abs=1e-9)
        elif len(group.classes) == 2:
            bins = [(b["share"], b["mean_probability"]) for b in row["details"]["calibration"]]
            assert bins == [pytest.approx(pair) for pair in expected_calibration(case)]


def _is_metric(row: dict, name: str) -> bool:
    return isinstance(row[name], float)
