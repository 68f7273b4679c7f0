"""Plots of drift: paired bars of each column, NULL first, and distances over runs."""

import json
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes

from mlsys.errors import InvalidRequest
from mlsys.vis import plot_drift, plot_drift_history

pytestmark = pytest.mark.usefixtures("figures")


def row(name: str, kind: str, bins: list[tuple[str, int, int | None]], **more: Any) -> dict:
    known = {
        "run_id": "r1",
        "model_name": "titanic",
        "model_version": "v1",
        "role": "feature",
        "column_name": name,
        "kind": kind,
        "level": "ok",
        "distance": 0.05,
        "reference": "training",
        "bins": [{"bin": b, "rows": n, "before": m} for b, n, m in bins],
    }
    return known | more


AGE = [
    ("missing", 25, 10),
    ("below", 0, 0),
    ("(1, 2]", 50, 45),
    ("(2, 3.000123456789]", 25, 45),
    ("above", 0, 0),
]
PORTS = [("missing", 0, 0), ("$C", 60, 30), ("_S", 30, 70), ("other", 10, 0)]
MANY = [("missing", 3, 1), *((f"v{i}", i, 80 - i) for i in range(80)), ("other", 5, 0)]
PROFILE = pd.DataFrame(
    [
        row("age", "number", AGE, level="drift", distance=0.31),
        row("port", "category", PORTS) | {"bins": json.dumps(row("", "", PORTS)["bins"])},
        row("ticket", "category", MANY, role="prediction"),
        row(
            "name",
            "plain",
            [("missing", 0, None), ("other", 100, None)],
            level="unknown",
            distance=None,
        ),
    ]
)


def labels(ax: Axes) -> list[str]:
    return [label.get_text() for label in ax.get_xticklabels()]


def heights(ax: Axes) -> list[list[float]]:
    return [[bar.get_height() for bar in bars] for bars in ax.containers]  # type: ignore[attr-defined]


def test_each_column_has_paired_bars_with_null_first() -> None:
    age, port, ticket = plot_drift(PROFILE)
    assert labels(age) == ["NULL", "(1, 2]", "(2, 3.0001]"]
    assert heights(age) == [[0.1, 0.45, 0.45], [0.25, 0.5, 0.25]]
    assert age.get_title(loc="left") + age.get_title() == "age\ndistance 0.31: drift"
    assert labels(port) == ["$C", "_S", "other"]
    assert len(labels(ticket)) == 14
    assert labels(ticket)[0] == "NULL" and labels(ticket)[-1] == "69 others"
    assert [sum(h) for h in heights(ticket)] == pytest.approx([1, 1])
    assert "prediction ticket" in ticket.get_title(loc="left") + ticket.get_title()
    figure = age.figure
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["training data", "this run"]


def test_columns_are_chosen_by_name_and_one_without_a_reference_has_one_bar() -> None:
    [name] = plot_drift(PROFILE, "name")
    assert labels(name) == ["other"] and heights(name) == [[1.0]]
    assert "nothing to compare with" in name.get_title(loc="left") + name.get_title()
    assert [labels(ax)[0] for ax in plot_drift(PROFILE, ["port", "age"])] == ["$C", "NULL"]


def test_fourteen_columns_with_long_names_are_drawn_without_a_warning() -> None:
    rows = [row(f"{'long_name_' * 9}{i}", "number", AGE) for i in range(14)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        panels = plot_drift(pd.DataFrame(rows), top=14)
        panels[0].figure.canvas.draw()
    assert len(panels) == 14


RUNS = pd.DataFrame(
    [
        {
            "run_id": f"r{day}",
            "column_name": name,
            "predicted_at": pd.Timestamp(f"2026-11-{day:02}", tz="UTC"),
            "distance": distance * day,
            "distance_previous": None,
        }
        for day in (2, 1)
        for name, distance in (("age", 0.1), ("$fare", 0.2), ("port", 0.01))
    ]
)


def test_distances_are_lines_over_time_the_largest_first_with_the_limits() -> None:
    ax = plot_drift_history(RUNS, top=2)
    lines = [list(np.asarray(line.get_ydata())) for line in ax.lines]
    assert lines[:2] == [[0.2, 0.4], [0.1, 0.2]] and lines[2:] == [[0.1, 0.1], [0.2, 0.2]]
    legend = ax.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["$fare", "age"]
    assert [text.get_text().strip() for text in ax.texts] == ["warn", "drift"]
    one = plot_drift_history(RUNS[:3], "port")
    assert one.get_title(loc="left") + one.get_title() == "Distance to the training data, 1 run"


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda: plot_drift(PROFILE[:0]), "is empty: no run has counted columns"),
        (lambda: plot_drift(PROFILE, "x"), "profile has no x: it has age, port, ticket, name"),
        (lambda: plot_drift(PROFILE.drop(columns="bins")), "lacks bins"),
        (lambda: plot_drift({}), "is not a DataFrame"),  # type: ignore[arg-type]
        (lambda: plot_drift(PROFILE, top=0), "pass a number above 0"),
        (lambda: plot_drift(pd.concat([PROFILE, PROFILE.assign(run_id="r2")])), "several runs"),
        (lambda: plot_drift_history(RUNS, against="week"), "lacks distance_week"),
        (lambda: plot_drift_history(RUNS, against="previous"), "has no distance to the run before"),
        (lambda: plot_drift_history(RUNS, against="x"), "pass one of"),
        (lambda: plot_drift_history(RUNS, ["age", "x"]), "drift has no x"),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw: Any, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        draw()
