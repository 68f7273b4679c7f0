"""A metric over time and over versions: one line a version, in their order, and clear refusals."""

import warnings

import numpy as np
import pandas as pd
import pytest

from mlsys.errors import InvalidRequest
from mlsys.vis import plot_metric_history

pytestmark = pytest.mark.usefixtures("figures")

RUNS = pd.DataFrame(
    [
        {
            "model_name": "titanic",
            "model_version": version,
            "predicted_at": pd.Timestamp(f"2026-11-{day:02}", tz="UTC"),
            "metric": metric,
            "value": value,
            "rows_evaluated": rows,
        }
        for version, day, metric, value, rows in (
            ("v10", 9, "accuracy", 0.9, 10),
            ("v2", 2, "accuracy", 0.6, 30),
            ("v2", 1, "accuracy", 0.8, 10),
            ("v2", 1, "rmse", 7.0, 10),
        )
    ]
)


def test_each_version_is_a_line_over_time_in_the_order_of_their_numbers() -> None:
    ax = plot_metric_history(RUNS, "accuracy")
    assert ax.get_title(loc="left") + ax.get_title() == "accuracy of titanic, 3 runs"
    assert [list(np.asarray(line.get_ydata())) for line in ax.lines] == [[0.8, 0.6], [0.9]]
    legend = ax.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["v2", "v10"]


def test_versions_have_the_mean_of_their_runs_by_rows() -> None:
    ax = plot_metric_history(RUNS, "accuracy", by="version")
    assert list(np.asarray(ax.lines[0].get_ydata())) == pytest.approx([0.65, 0.9])
    assert [label.get_text() for label in ax.get_xticklabels()] == ["v2", "v10"]
    assert [text.get_text() for text in ax.texts] == ["0.65", "0.9"]


def test_the_rows_of_evaluate_are_taken_too_and_one_run_is_drawn_around_its_day() -> None:
    wide = RUNS[:1].assign(accuracy=0.9, roc_auc=np.nan).drop(columns=["metric", "value"])
    ax = plot_metric_history(wide.assign(predicted_at="2026-11-28T12:00:00+00:00"), "accuracy")
    low, high = ax.get_xlim()
    assert high - low == pytest.approx(2) and ax.get_legend() is None
    many = pd.concat([RUNS[:1].assign(model_version=f"v{i}") for i in range(60)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for by in ("time", "version"):
            plot_metric_history(many, "accuracy", by=by).figure.canvas.draw()
    with pytest.raises(InvalidRequest, match="measured of no run in metrics, which have accuracy"):
        plot_metric_history(wide, "roc_auc")


@pytest.mark.parametrize(
    ("metrics", "metric", "by", "words"),
    [
        (RUNS, "f1", "time", "'f1' was measured of no run in metrics, which have accuracy, rmse"),
        (RUNS[:0], "f1", "time", "no metric: evaluate a run first"),
        (RUNS, "accuracy", "day", "pass 'time' or 'version'"),
        (RUNS.drop(columns="predicted_at"), "accuracy", "time", "lacks predicted_at"),
        ([1], "accuracy", "time", "is not a DataFrame"),
        (pd.concat([RUNS, RUNS.assign(model_name="x")]), "accuracy", "time", "are of 2 models"),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    metrics: pd.DataFrame, metric: str, by: str, words: str
) -> None:
    with pytest.raises(InvalidRequest, match=words):
        plot_metric_history(metrics, metric, by=by)
