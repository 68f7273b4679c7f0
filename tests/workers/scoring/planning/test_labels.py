"""Names of output columns by class: in every script, all different, with the label beside them."""

import datetime as dt
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import OneHotEncoder

from in_process import columns_of_outputs, columns_written
from mlsys.columns.names import duplicates, name_fault
from mlsys.errors import InvalidRequest, SchemaMismatch
from workers.scoring.planning.columns import Column, check_output_names
from workers.scoring.planning.labels import column_names, read_class_columns
from workers.scoring.planning.outputs import leave_out_equal

X = np.arange(12.0).reshape(-1, 1)


def probabilities(labels: Any) -> dict[str, str | None]:
    """Return the columns of predict_proba, with their labels."""
    model = LogisticRegression().fit(X, np.resize(np.asarray(labels), 12))
    columns, written = columns_of_outputs([], model, (), ["predict_proba"])
    found = {c.name: c.label for c in columns if c.name in written["predict_proba"]}
    assert list(found.values()) == [str(c) for c in model.classes_]
    return found


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["<=50K", ">50K"], ["probability___50K", "probability__50K"]),
        (["yes", "no"], ["probability_no", "probability_yes"]),
        ([-1, 1], ["probability__1", "probability_1"]),
        ([1.0, 2.0], ["probability_1_0", "probability_2_0"]),
        ([False, True], ["probability_False", "probability_True"]),
        (["", "x"], ["probability_", "probability_x"]),
        (["None", "nan"], ["probability_None", "probability_nan"]),
        (["a b", "a-c"], ["probability_a_b", "probability_a_c"]),
        (["北京", "上海"], ["probability_上海", "probability_北京"]),
        (["да", "нет", "<3"], ["probability__3", "probability_да", "probability_нет"]),
        (["größe", "klein"], ["probability_größe", "probability_klein"]),
        (["हिन्दी", "اردو"], ["probability_اردو", "probability_हिन्दी"]),
    ],
    ids=str,
)
def test_labels_that_differ_in_letters_and_digits_become_names(
    labels: list[Any], names: list[str]
) -> None:
    assert list(probabilities(labels)) == names


def test_labels_that_would_share_a_name_get_a_digest() -> None:
    found = probabilities(["A+", "A", "A-", "a"])
    assert list(found.values()) == ["A", "A+", "A-", "a"]
    assert [name[:14] for name in found] == ["probability_A_"] * 3 + ["probability_a_"]
    assert len({name.lower() for name in found}) == 4
    assert list(probabilities(["yes", "Yes", "no"]))[1] == "probability_no"
    with_a = probabilities(["A+", "A", "A-"])
    assert next(iter(with_a)) == "probability_A"
    # A model of other classes gives the same: the name depends only on the label.
    assert list(with_a)[1:] == list(probabilities(["A+", "A-", "B"]))[:2]


def test_dates_and_long_labels_become_names() -> None:
    days = np.array(["2026-11-28", "2026-11-29"], "datetime64[D]").astype(str)
    assert list(probabilities(days)) == ["probability_2026_11_28", "probability_2026_11_29"]
    found = probabilities(["x" * 500 + "a", "x" * 500 + "b"])
    assert all(len(name) <= 300 for name in found)
    assert len(set(found)) == 2


texts = st.text(max_size=8) | st.sampled_from(["A+", "A-", "a_", "A_", "Да", "да", "ß", "ss"])


@given(st.lists(texts, unique=True, min_size=1, max_size=12))
def test_different_labels_have_different_names(labels: list[str]) -> None:
    names = column_names([("probability", label) for label in labels])
    assert not duplicates(names)
    assert len({name.lower() for name in names}) == len(names)
    assert [name_fault(name) for name in names] == [None] * len(names)
    # and a label equal to another one's name with its digest
    again = column_names([("probability", x) for x in dict.fromkeys([*labels, names[0][12:]])])
    assert not duplicates(again)


def test_a_name_has_at_most_three_hundred_characters() -> None:
    words = [("probability", "t" * 300, "l" * 200 + label) for label in ("a", "b")]
    names = column_names(words)
    assert len(set(names)) == 2
    assert max(map(len, names)) == 300


def test_the_columns_of_a_transformer_are_named_by_the_same_rule() -> None:
    encoder = OneHotEncoder(sparse_output=False).fit(np.array([["A+"], ["A-"], ["é"]]))
    columns, _ = columns_of_outputs([], encoder, (), ["transform"])
    assert [c.label for c in columns[:3]] == ["x0_A+", "x0_A-", "x0_é"]
    assert columns[2].name == "transform_x0_é"
    assert len({c.name for c in columns}) == 7


def test_a_column_has_a_description() -> None:
    model = LogisticRegression().fit(X, np.resize(["<=50K", ">50K"], 12))
    columns, _ = columns_of_outputs([], model, (), ["predict", "predict_proba"])
    assert [c.description for c in columns[:3]] == [
        None,
        "predict_proba: class <=50K",
        "predict_proba: class >50K",
    ]


MODEL = LogisticRegression().fit(X, np.resize([0, 1], 12))


def test_default_ids_give_way_to_output_columns_of_the_same_name() -> None:
    written, _ = columns_written(MODEL, ("Survived",), ["predict"])
    ids = [Column(n, "INT64") for n in ("id", "survived", "Run_Id", "note")]
    kept, [warning] = leave_out_equal(ids, written)
    assert [c.name for c in kept] == ["id", "note"]
    assert "survived, Run_Id" in warning
    assert "Pass prediction_column" in warning
    assert "To carry over Run_Id, score a view" in warning
    assert leave_out_equal(kept, written) == (kept, [])


def test_prediction_column_is_advised_only_where_it_helps() -> None:
    """prediction_column names neither the run's own columns nor those of predict_proba."""
    written, outputs = columns_written(MODEL, ("survived",), ["predict", "predict_proba"])
    for name, renames in (("survived", True), ("Model_Name", False), ("probability_1", False)):
        _, [warning] = leave_out_equal([Column(name, "INT64")], written, outputs["predict"])
        assert ("prediction_column" in warning) is renames
        assert (f"To carry over {name}, score a view" in warning) is not renames


def test_prediction_column_names_the_predictions() -> None:
    columns, methods = columns_of_outputs(
        [Column("survived", "INT64")], MODEL, ("survived",), ["predict"], None, ["guess"]
    )
    assert methods == {"predict": ("guess",)}
    assert [c.name for c in columns][:2] == ["survived", "guess"]
    with pytest.raises(InvalidRequest, match="2 names for a model that predicts 1 value a row"):
        columns_of_outputs([], MODEL, (), ["predict"], None, ["a", "b"])


@pytest.mark.parametrize("target", ["survived (y/n)", "", "a.b", "x" * 301])
def test_a_target_that_is_not_a_column_name_is_refused_with_a_workaround(target: str) -> None:
    with pytest.raises(SchemaMismatch, match="pass prediction_column"):
        check_output_names(columns_of_outputs([], MODEL, (target,), ["predict"])[0])
    assert columns_of_outputs([], MODEL, (target,), ["predict"], None, ["p"])[1] == {
        "predict": ("p",)
    }


def test_labels_that_are_dates_have_different_names() -> None:
    days = [dt.date(2026, 11, 28), dt.date(2026, 11, 29)]
    assert column_names([("probability", str(day)) for day in days]) == [
        "probability_2026_11_28",
        "probability_2026_11_29",
    ]


GRADES = LogisticRegression().fit(X, np.resize(["A+", "A", "A-"], 12))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("mid, top,low", ["mid", "top", "low"]),
        ('{"A+": "top", "A-": "low"}', ["A", "top", "low"]),
        ('{"A-": "平"}', ["A", "A_", "平"]),
    ],
)
def test_class_names_name_the_classes(text: str, names: list[str]) -> None:
    methods = ["predict_proba", "decision_function"]
    form = read_class_columns(text)
    assert read_class_columns(form) == form
    columns, written = columns_of_outputs([], GRADES, (), methods, class_columns=form)
    assert written["predict_proba"] == tuple(f"probability_{name}" for name in names)
    assert written["decision_function"] == tuple(f"decision_{name}" for name in names)
    assert [c.label for c in columns[:3]] == ["A", "A+", "A-"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b", "2 names, and the outputs have columns for 3 classes in this order: 'A', 'A\\+'"),
        ('{"B": "b"}', "names 'B'; the outputs have columns for: 'A', 'A\\+', 'A-'"),
        ("a,A,b", "holds a name twice"),
        ("a,b c,d", "'b c' is not made of letters"),
        ("a,,b", "'' is not made of letters"),
        ("{", "is not JSON"),
        ('{"A": 1}', "has to name a column"),
        ('{"a":' * 20_000, "is not JSON"),
        ("{}", "has to name a column"),
    ],
)
def test_names_that_do_not_fit_the_classes_are_refused(text: str, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        form = read_class_columns(text)
        columns_of_outputs([], GRADES, (), ["predict_proba"], class_columns=form)


def test_class_names_are_refused_without_columns_for_classes() -> None:
    with pytest.raises(InvalidRequest, match="for 0 classes"):
        columns_of_outputs([], GRADES, (), ["predict"], class_columns="a,b,c")
