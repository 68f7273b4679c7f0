"""Plots show the author's texts literally, and stay legible whatever the data."""

import warnings
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.text import Text
from sklearn.linear_model import LinearRegression

from mlsys import vis
from mlsys.errors import InvalidRequest
from mlsys.vis.style import COLORS

NAMES = ("$0-$50", "a#$b#$", "_old", r"$\frac$")
SCORES = np.eye(4)


pytestmark = pytest.mark.usefixtures("figures")


def drawn(ax: Axes) -> list[str]:
    """Return the texts of a drawn plot; none is rendered as mathematics."""
    figure = ax.get_figure(root=True)
    assert figure is not None
    figure.canvas.draw()
    visible = [text for text in figure.findobj(Text) if isinstance(text, Text) and text.get_text()]
    assert [t.get_text() for t in visible if t.get_parse_math() and "$" in t.get_text()] == []
    return [text.get_text() for text in visible]


def shown(ax: Axes) -> list[str]:
    legend = ax.get_legend()
    assert legend is not None
    return [text.get_text().split(" (")[0] for text in legend.get_texts()]


def test_dollars_and_underscores_are_shown_literally() -> None:
    assert set(NAMES) <= set(drawn(vis.plot_class_balance(NAMES)))
    assert set(NAMES) <= set(drawn(vis.plot_confusion_matrix(NAMES, NAMES)))
    ax = vis.plot_roc(NAMES, SCORES, classes=NAMES)
    drawn(ax)
    assert shown(ax)[:4] == list(NAMES)
    for values in ([0.1, 0.2, 0.3, 0.4], ["a", "b", "a", "$b$"]):
        ax = vis.plot_prediction_distribution(values, by=NAMES)
        drawn(ax)
        assert shown(ax) == sorted(NAMES)
    model = LinearRegression().fit(SCORES, [1, 2, 3, 4])
    assert set(NAMES) <= set(drawn(vis.plot_feature_importance(model, NAMES)))


def test_a_title_set_later_is_shown_literally() -> None:
    ax = vis.plot_class_balance(["a", "b"])
    ax.set(title="From $5 to $10", xlabel="$x", ylabel="$y$")
    assert {"From $5 to $10", "$x", "$y$"} <= set(drawn(ax))


def test_a_legend_of_a_grouped_plot_shows_the_colour_of_its_group() -> None:
    for values in ([0.1, 0.2, 0.3, 0.4], ["a", "b", "a", "b"]):
        ax = vis.plot_prediction_distribution(values, by=["_x", "_x", "y", "y"])
        legend = ax.get_legend()
        assert legend is not None
        colors = [patch.get_facecolor()[:3] for patch in legend.get_patches()]
        assert colors == [matplotlib.colors.to_rgb(color) for color in COLORS[:2]]


@pytest.mark.parametrize(
    "values",
    [
        [0.1 + 0.2, 0.3, 0.3],
        [1e-5, 1e-5 + 1e-20],
        [0.5],
        [5e-324, 1e-323, 0.0],
        [1e17 + 0.5, 1e17 + 16, *np.linspace(1, 2, 30)],
        [-1e299, 1e299, *np.linspace(1, 2, 30)],
    ],
)
def test_predictions_of_any_spread_are_drawn(values: list[float]) -> None:
    ax = vis.plot_prediction_distribution(values)
    drawn(ax)
    [patch] = ax.patches
    data: Any = patch
    assert data.get_data()[0].sum() == len(values)  # every row is in a bin


def test_predictions_beyond_an_axis_are_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"^predictions: 1e\+308 is too large to draw"):
        vis.plot_prediction_distribution([1e308, 0.5])


@pytest.mark.slow
def test_fifty_classes_of_long_names_leave_room_for_the_axes() -> None:
    names = [f"class {i:02} with a name that goes on and on and on $x_{i}$" for i in range(50)]
    scores = np.eye(50)
    for ax in (
        vis.plot_class_balance(names),
        vis.plot_confusion_matrix(names, names),
        vis.plot_roc(names, scores),
    ):
        drawn(ax)
        box = ax.get_position()
        assert box.width > 0.3 and box.height > 0.3
        plt.close("all")
    _figure, given = plt.subplots(layout="constrained")
    vis.plot_roc(names, scores, ax=given)
    drawn(given)
    assert given.get_position().width > 0.3


FOREIGN = ("日本語", "한국", "हिन्दी", "a\tb", "😀", "ascii")


def all_plots(names: Any) -> list[Axes]:
    model = LinearRegression().fit(np.eye(len(names)), range(len(names)))
    return [
        vis.plot_class_balance(names),
        vis.plot_confusion_matrix(names, names),
        vis.plot_roc(names, np.eye(len(names)), classes=names),
        vis.plot_feature_importance(model, names),
        vis.plot_prediction_distribution(np.linspace(0, 1, len(names)), by=names),
        vis.plot_prediction_distribution(names),
    ]


@pytest.mark.slow
def test_characters_without_a_font_are_named_in_one_warning_for_each_plot() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for ax in all_plots(FOREIGN):
            assert set(FOREIGN) <= set(drawn(ax)) | {t.split(" (")[0] for t in drawn(ax)}
            drawn(ax.set_title("日本語").axes)  # from the fonts that are installed
    messages = [str(w.message) for w in caught]
    assert len(messages) <= 6 and not any("Glyph" in text for text in messages), messages
    for w in caught:
        assert str(w.message).startswith("No installed font has ") and "addfont" in str(w.message)
        assert w.filename == __file__


def test_latin_greek_and_cyrillic_keep_the_font_without_a_warning() -> None:
    for ax in all_plots(("größe", "Ωμέγα", "Привет", "a\nb")):
        drawn(ax)
        assert ax.title.get_fontfamily() == plt.rcParams["font.family"]


def test_an_installed_font_with_the_characters_is_used() -> None:
    """Matplotlib's Computer Modern lacks Cyrillic; its bundled DejaVu has it."""
    plt.rcParams["font.family"] = ["cmb10"]
    ax = vis.plot_class_balance(["Привет", "b"])
    drawn(ax)
    first, *others = ax.get_yticklabels()[0].get_fontfamily()
    assert first == "cmb10" and others[0].startswith("DejaVu")
