"""Plots: the axes show the data, and wrong data raise an error instead of a picture."""

import doctest
import sys
from collections.abc import Callable
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle, StepPatch
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from mlsys import vis
from mlsys.errors import InvalidRequest
from mlsys.vis import (
    plot_class_balance,
    plot_confusion_matrix,
    plot_feature_importance,
    plot_prediction_distribution,
    plot_roc,
    setup_plot_style,
)

rng = np.random.default_rng(0)
X = pd.DataFrame(rng.random((80, 3)), columns=["age", "fare", "noise"])
SLOPE = 4 * X["age"] - 2 * X["fare"]
SURVIVED = np.where(SLOPE.median() < SLOPE, "yes", "no")
PORT = np.array(["C", "Q", "S"])[pd.qcut(SLOPE, 3, labels=False)]


pytestmark = pytest.mark.usefixtures("figures")


def texts(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.texts]


def names(ax: Axes) -> list[str]:
    return [label.get_text() for label in ax.get_yticklabels()]


def lengths(ax: Axes) -> list[float]:
    return [bar.get_width() for bar in ax.patches if isinstance(bar, Rectangle)]


def heights(ax: Axes) -> list[np.ndarray]:
    return [patch.get_data()[0] for patch in ax.patches if isinstance(patch, StepPatch)]


def lay_out(ax: Axes) -> None:
    figure = ax.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()


def legend(ax: Axes) -> list[str]:
    found = ax.get_legend()
    assert found is not None
    return [text.get_text() for text in found.get_texts()]


def test_a_class_balance_shows_count_and_share_of_each_class() -> None:
    ax = plot_class_balance([0] * 549 + [1] * 342)
    assert (names(ax), lengths(ax)) == (["0", "1"], [549, 342])
    assert texts(ax) == ["549 (61.6%)", "342 (38.4%)"]
    assert (ax.get_title(), ax.get_xlabel()) == ("Class balance, 891 rows", "Rows")


@pytest.mark.parametrize(
    "y",
    [
        ["b", "a", "b"],
        np.array(["b", "a", "b"]),
        pd.Series(["b", "a", "b"], index=[7, 7, 7]),
        pd.Series(["b", "a", "b"], dtype="category"),
        pd.Series(["b", "a", "b"], dtype="object"),
    ],
)
def test_labels_may_be_lists_arrays_or_any_series(y: Any) -> None:
    ax = plot_class_balance(y)
    assert (names(ax), lengths(ax)) == (["a", "b"], [1, 2])


def test_nullable_columns_without_nulls_are_accepted_as_labels() -> None:
    assert names(plot_class_balance(pd.Series([1, 0], dtype="Int64"))) == ["0", "1"]
    assert names(plot_class_balance(pd.Series([True, False], dtype="boolean"))) == ["False", "True"]


def test_a_confusion_matrix_counts_rows() -> None:
    ax = plot_confusion_matrix(["a", "a", "b", "b", "b"], ["a", "b", "b", "b", "b"])
    assert texts(ax) == ["1", "1", "0", "3"]
    assert names(ax) == ["a", "b"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("Predicted label", "True label")
    assert ax.get_title() == "Confusion matrix, 5 rows"


def test_a_confusion_matrix_keeps_the_order_of_the_labels() -> None:
    ax = plot_confusion_matrix(["a", "a", "b"], ["a", "b", "b"], labels=["b", "a"])
    assert (names(ax), texts(ax)) == (["b", "a"], ["1", "0", "1", "1"])


def test_large_counts_are_not_abbreviated() -> None:
    ax = plot_confusion_matrix([0] * 1_234_567 + [1], [0] * 1_234_567 + [1])
    assert texts(ax)[0] == "1,234,567"


@pytest.mark.parametrize(
    ("normalize", "shown"),
    [
        ("true", ["50.0%", "50.0%", "0.0%", "100.0%"]),
        ("pred", ["100.0%", "25.0%", "0.0%", "75.0%"]),
        ("all", ["20.0%", "20.0%", "0.0%", "60.0%"]),
    ],
)
def test_a_normalized_confusion_matrix_shows_percent(normalize: str, shown: list[str]) -> None:
    ax = plot_confusion_matrix([0, 0, 1, 1, 1], [0, 1, 1, 1, 1], normalize=normalize)
    assert texts(ax) == shown
    assert "%" in ax.get_title()


def test_a_matrix_of_equal_counts_is_legible() -> None:
    ax = plot_confusion_matrix([0, 0, 1, 1], [0, 1, 0, 1])
    image = ax.images[0]
    background = image.to_rgba(image.get_array())[0, 0, :3]
    written = matplotlib.colors.to_rgb(ax.texts[0].get_color())
    assert abs(np.mean(background) - np.mean(written)) > 0.5


@pytest.mark.parametrize("two_columns", [False, True])
def test_a_binary_roc_curve_shows_the_second_class(two_columns: bool) -> None:
    model = LogisticRegression().fit(X[["noise", "fare"]], SURVIVED)
    score = model.predict_proba(X[["noise", "fare"]])
    auc = roc_auc_score(SURVIVED == "yes", score[:, 1])
    ax = plot_roc(SURVIVED, score if two_columns else score[:, 1])
    assert legend(ax) == [f"yes (AUC = {auc:.2f})", "Chance level (AUC = 0.5)"]
    assert ax.get_title() == "ROC curve"


def test_the_classes_argument_sets_the_positive_class() -> None:
    ax = plot_roc([1, 1, 0], [0.1, 0.2, 0.9], classes=[1, 0])
    assert legend(ax)[0] == "0 (AUC = 1.00)"


def test_each_of_many_classes_gets_a_one_vs_rest_curve() -> None:
    model = RandomForestClassifier(5, max_depth=2, random_state=0).fit(X, PORT)
    score = model.predict_proba(X)
    ax = plot_roc(PORT, score)
    aucs = [roc_auc_score(name == PORT, score[:, i]) for i, name in enumerate("CQS")]
    shown = [f"{name} (AUC = {auc:.2f})" for name, auc in zip("CQS", aucs, strict=True)]
    assert legend(ax) == [*shown, "Chance level (AUC = 0.5)"]
    assert len({line.get_color() for line in ax.lines}) == 4


def test_a_class_without_rows_is_named_and_gets_no_curve() -> None:
    score = [[0.8, 0.1, 0.1], [0.2, 0.6, 0.2], [0.7, 0.2, 0.1]]
    ax = plot_roc(["a", "b", "a"], score, classes=["a", "b", "c"])
    assert legend(ax)[:3] == ["a (AUC = 1.00)", "b (AUC = 1.00)", "c: no rows"]


def test_importances_of_a_forest_are_sorted_descending() -> None:
    model = RandomForestClassifier(10, random_state=0).fit(X, SURVIVED)
    ax = plot_feature_importance(model, top=2)
    order = np.argsort(-model.feature_importances_)[:2]
    assert names(ax) == list(X.columns[order])
    assert lengths(ax) == pytest.approx(model.feature_importances_[order])
    assert ax.get_title() == "Features of RandomForestClassifier, top 2 of 3"


def test_coefficients_keep_their_sign_and_name_their_class() -> None:
    model = LogisticRegression().fit(X, SURVIVED)
    ax = plot_feature_importance(model)
    assert names(ax)[:2] == ["age", "fare"]
    assert lengths(ax)[0] > 0 > lengths(ax)[1]
    assert lengths(ax)[:2] == pytest.approx(list(model.coef_[0][:2]))
    assert ax.get_xlabel() == "Coefficient (above 0: towards yes)"
    assert ax.patches[0].get_facecolor() != ax.patches[1].get_facecolor()


def test_coefficients_of_many_classes_are_averaged_by_absolute_value() -> None:
    model = LogisticRegression().fit(X, PORT)
    ax = plot_feature_importance(model)
    expected = np.sort(np.abs(model.coef_).mean(axis=0))[::-1]
    assert lengths(ax) == pytest.approx(expected)
    assert ax.get_xlabel() == "Mean absolute coefficient"


COLUMNS = make_column_transformer((StandardScaler(), ["fare"]), ("passthrough", ["age"]))


@pytest.mark.parametrize(
    ("model", "given", "shown"),
    [
        (LinearRegression(), None, ["age", "fare"]),
        (LinearRegression(), ["Age", "Fare", "Noise"], ["Age", "Fare"]),
        (make_pipeline(LinearRegression()), None, ["age", "fare"]),
        (make_pipeline(StandardScaler(), Ridge(0.1)), None, ["age", "fare"]),
        (
            make_pipeline(COLUMNS, LinearRegression()),  # the input has another order
            ["age", "fare", "noise"],
            ["passthrough__age", "standardscaler__fare"],
        ),
        (make_pipeline("passthrough", LinearRegression()), None, ["age", "fare"]),
        (make_pipeline(FunctionTransformer(), LinearRegression()), list("abc"), ["a", "b"]),
        (GridSearchCV(Ridge(), {"alpha": [0.1]}, cv=2), None, ["age", "fare"]),
    ],
)
def test_features_have_the_names_that_the_last_step_gets(
    model: Any, given: list[str] | None, shown: list[str]
) -> None:
    assert names(plot_feature_importance(model.fit(X, SLOPE), given))[:2] == shown


def test_features_without_names_are_numbered() -> None:
    model = LinearRegression().fit(X.to_numpy(), SLOPE)
    assert names(plot_feature_importance(model))[:2] == ["feature 0", "feature 1"]


def test_long_names_are_cut_in_the_middle() -> None:
    ax = plot_class_balance(["x" * 30 + "y" * 30, "short"])
    assert names(ax) == ["short", "x" * 24 + "…" + "y" * 15]


def test_predicted_labels_are_shown_as_bars() -> None:
    ax = plot_prediction_distribution(["yes", "no", "no", "no"])
    assert (names(ax), lengths(ax)) == (["no", "yes"], [3, 1])
    assert texts(ax) == ["3 (75.0%)", "1 (25.0%)"]


def test_a_few_integers_are_shown_as_labels() -> None:
    assert names(plot_prediction_distribution([1.0, 0.0, 1.0])) == ["0.0", "1.0"]


def test_predicted_numbers_are_shown_as_a_histogram_of_all_rows() -> None:
    ax = plot_prediction_distribution(rng.normal(30, 5, 500))
    assert [height.sum() for height in heights(ax)] == [500]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("Prediction", "Rows")


def test_groups_of_numbers_are_compared_by_share() -> None:
    ax = plot_prediction_distribution(rng.random(40), by=["v1"] * 30 + ["v2"] * 10)
    assert [height.sum() for height in heights(ax)] == pytest.approx([1, 1])
    assert legend(ax) == ["v1 (n = 30)", "v2 (n = 10)"]
    assert ax.get_ylabel() == "Share of the group's rows"


def test_groups_of_labels_are_compared_by_share() -> None:
    ax = plot_prediction_distribution(["a", "a", "b", "b", "b"], by=[1, 1, 1, 2, 2])
    assert texts(ax) == ["66.7%", "33.3%", "0.0%", "100.0%"]
    assert lengths(ax) == pytest.approx([2 / 3, 1 / 3, 0, 1])
    assert legend(ax) == ["1 (n = 3)", "2 (n = 2)"]


DRAW: list[Callable[..., Axes]] = [
    lambda ax=None: plot_class_balance(SURVIVED, ax=ax),
    lambda ax=None: plot_confusion_matrix(SURVIVED, SURVIVED, ax=ax),
    lambda ax=None: plot_roc(SURVIVED, SLOPE, ax=ax),
    lambda ax=None: plot_feature_importance(LinearRegression().fit(X, SLOPE), ax=ax),
    lambda ax=None: plot_prediction_distribution(SURVIVED, by=PORT, ax=ax),
    lambda ax=None: plot_prediction_distribution(SLOPE, by=PORT, ax=ax),
]


@pytest.mark.parametrize("draw", DRAW)
def test_a_plot_is_drawn_on_the_given_axes(draw: Callable[..., Axes]) -> None:
    _, (left, right) = plt.subplots(1, 2)
    assert draw(ax=right) is right
    assert len(plt.get_fignums()) == 1
    assert not left.has_data()
    assert right.has_data()


@pytest.mark.parametrize("draw", DRAW)
def test_a_plot_without_axes_makes_one_figure_that_can_be_drawn(draw: Callable[..., Axes]) -> None:
    ax = draw()
    assert len(plt.get_fignums()) == 1
    lay_out(ax)
    assert ax.get_title(loc="left") or ax.get_title()


@pytest.mark.parametrize("styled", [False, True])
def test_bar_labels_stay_inside_the_axes(styled: bool) -> None:
    if styled:
        setup_plot_style()
    for ax in (
        plot_class_balance(["a"] * 123_456 + ["b"]),
        plot_feature_importance(LogisticRegression().fit(X, SURVIVED)),
        plot_prediction_distribution(["a"] * 99 + ["b"]),
    ):
        lay_out(ax)
        frame = ax.get_window_extent()
        for text in ax.texts:
            box = text.get_window_extent()
            assert frame.x0 < box.x0 and box.x1 < frame.x1, text.get_text()


UNFITTED = LogisticRegression()
WRONG: list[tuple[Callable[[], Axes], str]] = [
    (lambda: plot_class_balance([]), "y: is empty"),
    (lambda: plot_class_balance(["a", None]), "y: has 1 missing value of 2"),
    (lambda: plot_class_balance([1.0, np.nan]), "y: has 1 missing value of 2"),
    (lambda: plot_class_balance(X), r"y: has shape \(80, 3\): pass one column"),
    (lambda: plot_class_balance(rng.random(200)), "y: has 200 distinct values, more than 100"),
    (lambda: plot_class_balance([1, "a"]), "y: mix text and numbers"),
    (lambda: plot_confusion_matrix([0, 1], [0]), "y_true 2 and y_pred 1 rows"),
    (lambda: plot_confusion_matrix([0, 1], ["0", "1"]), "mix text and numbers"),
    (lambda: plot_confusion_matrix([0.5, 1.2], [0.5, 1.2]), "pass class labels"),
    (lambda: plot_confusion_matrix([0, 1], [0, 1], labels=[7]), "none of \\[7\\] is in y_true"),
    (lambda: plot_confusion_matrix([0, 1], [0, 1], labels=[0, 0]), "pass each class once"),
    (lambda: plot_confusion_matrix([0, 1], [0, 1], normalize="rows"), "normalize: is 'rows': pass"),
    (lambda: plot_roc([0, 1], [0.5]), "y_true 2 and y_score 1 rows"),
    (lambda: plot_roc([0, 1], [0.5, np.nan]), "y_score: has 1 missing or infinite values"),
    (lambda: plot_roc([0, 1], ["a", "b"]), "y_score: has values that are not numbers"),
    (lambda: plot_roc([], []), "y_true: is empty"),
    (lambda: plot_roc([1, 1], [0.5, 0.6]), "y_true: has the one class 1"),
    (lambda: plot_roc([0, 1, 2], [0.1, 0.2, 0.3]), "pass one column per class"),
    (lambda: plot_roc([0, 1], [[0.1, 0.2, 0.7]] * 2), "classes=model.classes_"),
    (
        lambda: plot_roc([0, 1], [0.1, 0.2], classes=[0, 2]),
        r"\[0, 2\] lack \[1\], which y_true has",
    ),
    (lambda: plot_roc([0, 1], np.zeros((2, 2, 2))), "pass a 1-d or 2-d array"),
    (lambda: plot_feature_importance(UNFITTED), "LogisticRegression is not fitted: call fit"),
    (lambda: plot_feature_importance("model.pkl"), "str is not an estimator"),
    (
        lambda: plot_feature_importance(KNeighborsClassifier().fit(X, SURVIVED)),
        "KNeighborsClassifier has neither .*permutation_importance",
    ),
    (
        lambda: plot_feature_importance(LinearRegression().fit(X, SLOPE), ["age"]),
        "feature_names: 1 name for 3 features",
    ),
    (
        lambda: plot_feature_importance(
            make_pipeline(COLUMNS, LinearRegression()).fit(X, SLOPE), ["a", "b", "c"]
        ),
        "feature_names: .*: pass the columns of X",
    ),
    (
        lambda: plot_feature_importance(
            Pipeline([("scale", StandardScaler()), ("last", "passthrough")]).fit(X, SLOPE)
        ),
        "has neither feature_importances_ nor coef_",
    ),
    (lambda: plot_feature_importance(LinearRegression().fit(X, SLOPE), top=0), "top: is 0: pass"),
    (lambda: plot_prediction_distribution([]), "predictions: is empty"),
    (lambda: plot_prediction_distribution([0.5, np.inf]), "missing or infinite"),
    (lambda: plot_prediction_distribution([0.5, 0.6], by=["a"]), "predictions 2 and by 1 rows"),
    (lambda: plot_prediction_distribution(SLOPE, by=SLOPE), "by: has 80 distinct values: pass"),
]


@pytest.mark.parametrize(("draw", "message"), WRONG)
def test_wrong_data_are_refused_before_a_figure_is_created(
    draw: Callable[[], Axes], message: str
) -> None:
    with pytest.raises(InvalidRequest, match=message):
        draw()
    assert plt.get_fignums() == []


def test_setting_the_style_twice_changes_nothing() -> None:
    before = dict(plt.rcParams)
    setup_plot_style()
    once = dict(plt.rcParams)
    setup_plot_style()
    assert dict(plt.rcParams) == once != before


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'mlsys\[vis\]'"):
        plot_class_balance([0, 1])


def test_the_examples_of_the_module_run() -> None:
    assert doctest.testmod(vis).failed == 0
    assert doctest.testmod(vis).attempted > 0
