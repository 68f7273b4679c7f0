"""Which columns an evaluation compares, and by which it joins; else it says what to do."""

import re
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mlsys.cloud.tables import TableRef
from mlsys.columns.bins import CATEGORY, NUMBER, Bins
from mlsys.errors import InvalidRequest, SchemaMismatch
from workers.evaluation.join import Join
from workers.evaluation.keys import choose_keys
from workers.evaluation.table import evaluation_id
from workers.evaluation.target import CLASSES, NUMBERS, Target, check_label, choose_target
from workers.monitoring.reference import PREDICTION, TRAINING, Reference, Watched
from workers.scoring.planning.columns import Column
from workers.scoring.planning.plan import Plan

LABELS = TableRef.parse("my-project.titanic.labels")
ID, NAME, FARE = Column("Id", "INT64"), Column("Name", "STRING"), Column("Fare", "FLOAT64")
TRUTH = Column("truth", "INT64")


def plan(
    outputs: dict[str, tuple[str, ...]] | None = None,
    types: dict[str, str] | None = None,
    labels: dict[str, str] | None = None,
    ids: tuple[Column, ...] = (ID,),
    reference: Reference | None = None,
    **request: Any,
) -> Plan:
    columns = [Column(name, kind) for name, kind in (types or {"y": "INT64"}).items()]
    known = {
        "run_id": "r1",
        "outputs": outputs or {"predict": ("y",)},
        "output": SimpleNamespace(columns=columns),
        "labels": labels or {},
        "ids": ids,
        "reference": reference,
        "request": request,
    }
    return cast(Plan, SimpleNamespace(**known))


def test_the_task_and_the_scores_follow_from_what_the_run_wrote() -> None:
    assert choose_target(plan(types={"y": "FLOAT64"}), None, None).task == NUMBERS
    for kind in ("INT64", "STRING", "BOOL"):
        assert choose_target(plan(types={"y": kind}), "Y", None).task == CLASSES
    assert choose_target(plan(), None, "regression").task == NUMBERS
    proba = {"predict": ("y",), "predict_proba": ("p0", "p1")}
    for kind, texts, classes in (
        ("INT64", ("0", "1"), (0, 1)),
        ("FLOAT64", ("0.0", "1.0"), (0.0, 1.0)),
        ("BOOL", ("False", "True"), (False, True)),
        ("STRING", ("1", "no"), ("1", "no")),
    ):
        labels = dict(zip(("p0", "p1"), texts, strict=True))
        target = choose_target(plan(proba, {"y": kind}, labels), None, None)
        assert (target.task, target.scores, target.classes) == (CLASSES, ("p0", "p1"), classes)
        assert target.probabilities
    decision = choose_target(
        plan({"predict": ("y",), "decision_function": ("d",)}, {"y": "FLOAT64"}), None, None
    )
    assert (decision.task, decision.scores, decision.classes) == (CLASSES, ("d",), ())


@pytest.mark.parametrize(
    ("bins", "source", "task"),
    [
        (Bins(CATEGORY, values=(0, 1)), TRAINING, CLASSES),
        (Bins(CATEGORY, values=(0, 1)), "a-run-before", NUMBERS),
        (Bins(CATEGORY), TRAINING, NUMBERS),  # a regressor that predicts no finite number
        (Bins(NUMBER, edges=(0, 1)), TRAINING, NUMBERS),
    ],
)
def test_floats_are_classes_where_the_models_profile_has_them_as_such(
    bins: Bins, source: str, task: str
) -> None:
    reference = Reference((Watched(PREDICTION, "Y", bins, source=source),))
    floats = {"y": "FLOAT64"}
    assert choose_target(plan(types=floats, reference=reference), None, None).task == task
    assert choose_target(plan(types=floats, reference=reference), None, NUMBERS).task == NUMBERS
    a_feature = Reference((Watched("feature", "y", bins, source=source),))
    assert choose_target(plan(types=floats, reference=a_feature), None, None).task == NUMBERS


@pytest.mark.parametrize(
    ("run", "column", "task", "error", "words"),
    [
        (plan({"transform": ("t",)}), None, None, SchemaMismatch, "wrote transform"),
        (plan({"predict": ("y", "z")}), None, None, InvalidRequest, "predicted y, z"),
        (plan(), "z", None, InvalidRequest, "pass one of y"),
        (plan(types={"y": "STRING"}), None, NUMBERS, SchemaMismatch, "y: is STRING"),
    ],
)
def test_a_target_that_is_not_clear_is_refused(
    run: Plan, column: str | None, task: str | None, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        choose_target(run, column, task)


@pytest.mark.parametrize(
    ("label", "predicted", "advice"),
    [
        ("INT64", "INT64", None),
        ("FLOAT64", "INT64", None),
        ("NUMERIC", "FLOAT64", None),
        ("STRING", "STRING", None),
        ("BOOL", "BOOL", None),
        ("BOOL", "INT64", "with CAST(truth AS INT64)."),
        ("BOOL", "FLOAT64", "with CAST(truth AS INT64)."),  # no BOOL can be cast as FLOAT64
        ("INT64", "BOOL", "with truth != 0."),
        ("FLOAT64", "BOOL", "with truth != 0."),
        ("STRING", "BOOL", "with CAST(truth AS BOOL)."),
        ("STRING", "INT64", "with CAST(truth AS INT64)."),
        ("STRING", "FLOAT64", "with CAST(truth AS FLOAT64)."),
        ("INT64", "STRING", "with CAST(truth AS STRING)."),
        ("BOOL", "STRING", "with IF(truth, 'True', 'False')."),
        ("DATE", "STRING", None),
        ("DATETIME", "STRING", None),
        ("TIMESTAMP", "STRING", None),
        ("TIME", "STRING", "with CAST(truth AS STRING)."),
        ("DATE", "INT64", "pass a label_column whose values are INT64."),
        ("TIMESTAMP", "BOOL", "pass a label_column whose values are BOOL."),
        ("ARRAY", "INT64", "pass a label_column whose values are INT64."),
        ("STRUCT", "STRING", "pass a label_column whose values are STRING."),
    ],
)
def test_labels_of_another_type_are_refused_with_both_named(
    label: str, predicted: str, advice: str | None
) -> None:
    target = Target(Column("y", predicted), CLASSES)
    if advice is None:
        check_label(Column("truth", label), target)
        return
    with pytest.raises(SchemaMismatch, match=re.escape(advice)) as refused:
        check_label(Column("truth", label), target)
    assert f"truth: is {label}" in str(refused.value) and f"y: is {predicted}" in str(refused.value)


def test_the_advice_for_a_label_quotes_its_name() -> None:
    with pytest.raises(SchemaMismatch, match=re.escape("CAST(`its truth` AS STRING)")):
        check_label(Column("its truth", "INT64"), Target(Column("y", "STRING"), CLASSES))


def keys(
    run: Plan,
    *labels: Column,
    given: tuple[str, ...] | None = None,
    own: tuple[str, ...] = (),
) -> list[str]:
    chosen = choose_keys(
        run, [*labels, Column("truth", "INT64")], "truth", LABELS, given, lambda: own
    )
    return [f"{a.name} {b.type}" for a, b in chosen]


def test_ids_are_those_named_else_the_only_one_in_both_tables() -> None:
    carried = (ID, NAME, FARE, Column("truth", "INT64"))
    assert keys(plan(ids=carried), Column("id", "INT64"), FARE) == ["Id INT64"]
    assert keys(plan(ids=carried), NAME, ID, given=("name", "id")) == ["Name STRING", "Id INT64"]
    assert keys(plan(ids=carried, id_columns="Id"), NAME, ID) == ["Id INT64"]
    assert keys(plan(ids=carried, id_columns="*"), ID) == ["Id INT64"]
    assert keys(plan(), Column("Id", "FLOAT64")) == ["Id FLOAT64"]


def test_a_request_without_ids_takes_those_of_the_model_if_the_labels_have_them_all() -> None:
    both = plan(ids=(ID, NAME))
    assert keys(both, NAME, ID, own=("id", "NAME")) == ["Id INT64", "Name STRING"]
    assert keys(both, ID, own=("Id", "Name")) == ["Id INT64"]  # the only common one
    assert keys(both, NAME, ID, given=("Id",), own=("Id", "Name")) == ["Id INT64"]
    assert keys(plan(ids=(ID, NAME), id_columns="Name"), NAME, ID, own=("Id",)) == ["Name STRING"]
    for own in (("*",), ("gone",), ("Id", "truth")):
        with pytest.raises(InvalidRequest, match="both have Id, Name"):
            keys(both, NAME, ID, own=own)


@pytest.mark.parametrize(
    ("run", "labels", "given", "error", "words"),
    [
        (plan(ids=()), [ID], None, SchemaMismatch, "score the table again with id_columns"),
        (plan(ids=(ID, NAME)), [ID, NAME], None, InvalidRequest, "both have Id, Name"),
        (plan(ids=(ID, NAME)), [ID, NAME], None, InvalidRequest, "several do, id_columns=Id,Name"),
        (plan(), [NAME], None, SchemaMismatch, "Id: is missing"),
        (
            plan(ids=(FARE,)),
            [FARE],
            None,
            InvalidRequest,
            r"both have Fare \(FLOAT64\), .*=Fare if",
        ),
        (plan(), [ID], ("Name",), InvalidRequest, "pass any of Id"),
        (plan(ids=(ID, NAME)), [ID], ("Id", "Name"), SchemaMismatch, "Name: is missing"),
        (plan(), [Column("Id", "STRING")], ("Id",), SchemaMismatch, "STRING, and INT64"),
        (plan(ids=(ID, TRUTH)), [ID], ("Id", "TRUTH"), InvalidRequest, "truth is an id column"),
        (plan(ids=(TRUTH,), id_columns="Truth"), [], None, InvalidRequest, "id_columns without it"),
    ],
)
def test_ids_that_are_not_clear_are_refused(
    run: Plan,
    labels: list[Column],
    given: tuple[str, ...] | None,
    error: type[Exception],
    words: str,
) -> None:
    with pytest.raises(error, match=words):
        keys(run, *labels, given=given)


def test_names_of_columns_are_quoted_and_types_of_numbers_are_made_equal() -> None:
    target = Target(Column("order", "INT64"), CLASSES, ("p.x", "p y"), (0, 1))
    key = (Column("select", "INT64"), Column("select", "FLOAT64"))
    sql = Join(LABELS, LABELS, target, Column("l", "FLOAT64"), (key,)).sql()
    for text in (
        "SAFE_CAST(p.`select` AS BIGNUMERIC) AS key_0",
        "SAFE_CAST(p.`order` AS FLOAT64)",
        "[(0, p.`p.x`), (1, p.`p y`)]",
        "CASE s.k WHEN 0 THEN CAST(@class_0 AS FLOAT64) WHEN 1",
    ):
        assert text in sql, sql
    assert "${" not in sql


def test_an_evaluation_has_the_same_id_until_what_comes_out_differs() -> None:
    row = {"run_id": "r", "accuracy": 0.1 + 0.2, "rows_evaluated": 3, "details": {"a": 1}}
    again = row | {"accuracy": 0.3, "details": {}}
    assert evaluation_id(row) == evaluation_id(again)
    assert evaluation_id(row) != evaluation_id(row | {"rows_evaluated": 4})
    assert evaluation_id(row) != evaluation_id(row | {"accuracy": 0.31})
