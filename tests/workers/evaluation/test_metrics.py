"""What is left out where scikit-learn calls a metric undefined, and what is said about it."""

from typing import Any

import pytest

from workers.evaluation.metrics import METRICS, measure_classes, measure_numbers


def classes(cells: dict[tuple[Any, Any], int], **more: Any) -> dict[str, Any]:
    confusion = [{"label": a, "prediction": b, "n": n} for (a, b), n in cells.items()]
    return {
        "confusion": confusion,
        "curves": None,
        "bins": None,
        "log_loss": 4.0,
        "brier": 2.0,
    } | more


def curve(k: int, own: int, others: int, won: float) -> dict[str, Any]:
    return {"k": k, "own": own, "others": others, "won": won}


def test_a_label_that_the_model_does_not_know_leaves_out_what_needs_its_probability() -> None:
    row = classes({("a", "a"): 3, ("c", "b"): 1}, curves=[curve(0, 3, 1, 3.0), curve(1, 0, 4, 0)])
    measured = measure_classes(row, ("a", "b"), probabilities=True)
    assert measured.metrics["accuracy"] == 0.75
    assert not {"log_loss", "brier", "roc_auc", "precision"} & measured.metrics.keys()
    assert "does not know 1 of the labels ('c')" in measured.notes[0]
    assert measured.details["positive_class"] is None


def test_labels_of_one_class_have_no_area_and_say_so() -> None:
    row = classes({(1, 1): 3, (1, 0): 1}, curves=[curve(0, 0, 4, 0.0), curve(1, 4, 0, 0.0)])
    measured = measure_classes(row, (0, 1), probabilities=True)
    assert "roc_auc" not in measured.metrics and "every class" in measured.notes[0]
    assert measured.metrics["log_loss"] == 1.0 and measured.metrics["brier"] == 0.25
    assert measured.metrics["recall"] == 0.75 and measured.metrics["balanced_accuracy"] == 0.75
    assert [c["recall"] for c in measured.details["classes"]] == [0.0, 0.75]


def test_many_classes_keep_their_figures_and_drop_the_pairs() -> None:
    measured = measure_classes(classes({(i, i % 30): 1 for i in range(500)}))
    assert len(measured.details["classes"]) == 500 and "confusion" not in measured.details
    assert not {"log_loss", "brier"} & measured.metrics.keys()


@pytest.mark.parametrize(
    ("squares", "spread", "constant", "r2"),
    [(0.0, 0.0, True, 1.0), (2.0, 1e-30, True, 0.0), (2.0, 4.0, False, 0.5)],
)
def test_equal_labels_have_the_r2_of_scikit_learn(
    squares: float, spread: float, constant: bool, r2: float
) -> None:
    sums = {"squares": squares, "label_squares": spread, "constant": constant, "beyond": 0}
    sums |= {"absolute": 1.0, "error": 1.0, "quantiles": []}
    assert measure_numbers(sums, 4).metrics["r2"] == r2
    assert "r2" not in measure_numbers(sums, 1).metrics
    assert measure_numbers(sums, 4).metrics.keys() <= set(METRICS)


def test_errors_whose_squares_overflow_are_left_out_and_named() -> None:
    measured = measure_numbers({"beyond": 3, "squares": None, "constant": None}, 5_000)
    assert measured.metrics == {}
    assert measured.details == {"error_quantiles": []}
    [note] = measured.notes
    assert note.startswith("3 of 5,000 rows have a prediction or a label beyond 1e+150")
    assert "rmse, mae, mean_error, r2" in note


def test_labels_in_another_spelling_than_every_prediction_are_named() -> None:
    def notes(cells: list[tuple[Any, Any]], *classes: Any) -> str:
        confusion = [{"label": a, "prediction": b, "n": 2} for a, b in cells]
        row = {"confusion": confusion, "curves": (), "bins": ()}
        return " ".join(measure_classes(row, classes).notes)

    other = notes([("Yes", "yes"), ("No", "no")])
    assert other.startswith("no label is equal to any prediction (labels: 'No', 'Yes'; predic")
    assert "no label is equal" in notes([("Yes", "yes")], "no", "yes")
    assert notes([("Yes", "yes"), ("no", "no")]) == ""
    assert notes([("no", "yes")], "no", "yes") == ""  # wrong, and a class of the model
    assert notes([(True, False)]) == ""
