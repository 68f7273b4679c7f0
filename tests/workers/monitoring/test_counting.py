"""The counts of a run are equal for any cut of its rows into streams, parts and batches."""

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from known_shifts import normal, words
from mlsys.artifact.metadata import ModelMetadata
from mlsys.artifact.profiling import describe
from mlsys.columns.bins import CATEGORY, NUMBER, Bins, Counts
from mlsys.columns.features import Feature
from mlsys.columns.stored import stored
from mlsys.errors import InputDrifted
from workers.monitoring.counting import Tally, added, count_features, read_text, with_codes
from workers.monitoring.drift import DRIFT, OK, TOO_FEW, UNKNOWN, WARN
from workers.monitoring.reference import (
    FEATURE,
    PREDICTION,
    STANDARD_EDGES,
    TRAINING,
    Reference,
    Watched,
    of_outputs,
)
from workers.monitoring.table import counts_of
from workers.scoring.journal.decisions import Counts as RowCounts
from workers.scoring.planning.columns import Column
from workers.scoring.planning.watched import of_training
from workers.scoring.publishing.profile import (
    add_up,
    check_drift,
    judge_all,
    rows_of,
    summary,
    unchecked,
)
from workers.scoring.shards.part import Footer, PartDamaged

ROWS = 60
RANDOM = np.random.default_rng(0)
TABLE = pa.table(
    {
        "Fare": pa.array(RANDOM.normal(size=ROWS), mask=RANDOM.random(ROWS) < 0.2),
        "id": pa.array(range(ROWS)),
        "sex": pa.array(RANDOM.choice(["male", "female", "x"], ROWS)),
        "prediction": pa.array(RANDOM.normal(size=ROWS)),
    }
)


def watched(role: str, name: str, values: Any, importance: float | None = None) -> Watched:
    profile = describe(stored(pd.Series(values), name))
    return Watched(role, name, profile.bins, profile.counts, importance, TRAINING)


REFERENCE = Reference(
    (
        watched(FEATURE, "fare", normal(500)(RANDOM), 0.2),
        watched(FEATURE, "sex", words(500, ["male", "female"])(RANDOM), 0.8),
        watched(PREDICTION, "prediction", normal(500)(RANDOM)),
    )
)


def part(batches: list[pa.Table]) -> str:
    """Return the counts of a part, whose rows are scored in two halves of each batch."""
    tally = Tally(REFERENCE)
    for batch in batches:
        half = batch.num_rows // 2
        tally.add(count_features(REFERENCE, batch), [batch.slice(0, half), batch.slice(half)])
    return tally.text()


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9)), max_size=ROWS), st.randoms())
def test_the_sum_does_not_depend_on_streams_parts_and_batches(cuts: Any, random: Any) -> None:
    """Rows fall into any part in any order, and a part's rows into any batches."""
    rows = list(range(ROWS))
    random.shuffle(rows)
    parts: dict[int, list[pa.Table]] = {}
    for place, (number, size) in enumerate([*cuts, (6, ROWS)]):
        taken = pa.array(rows[:size], pa.int64())
        rows = rows[size:]
        parts.setdefault(number * (1 + place % 2), []).append(TABLE.take(taken))
    texts = [part(batches) for batches in parts.values()]
    random.shuffle(texts)
    total = added(REFERENCE, map(read_text, texts))
    whole = read_text(part([TABLE]))
    assert json.dumps([c.to_dict() for c in total]) == json.dumps([c.to_dict() for c in whole])
    assert [counts.rows for counts in total] == [ROWS] * 3


def test_rejected_rows_are_counted_as_features_and_not_as_predictions() -> None:
    tally = Tally(REFERENCE)
    tally.add(count_features(REFERENCE, TABLE), [TABLE.slice(0, 50)])
    assert [counts.rows for counts in read_text(tally.text())] == [ROWS, ROWS, 50]


def test_coded_texts_have_the_same_counts() -> None:
    renamed = TABLE.rename_columns(["Fare", "id", "SEX", "prediction"])
    sexes = renamed.filter(pc.is_in(renamed.column("SEX"), pa.array(["male", "female"])))
    rows = with_codes(REFERENCE, sexes)
    assert rows.column("SEX").type == pa.dictionary(pa.int32(), pa.string())
    assert count_features(REFERENCE, rows) == count_features(REFERENCE, sexes)
    assert with_codes(REFERENCE, renamed) == renamed, "a third of the rows has another text"
    assert with_codes(None, renamed) is renamed


def test_without_a_reference_nothing_is_counted() -> None:
    tally = Tally(None)
    tally.add(count_features(None, TABLE), [TABLE])
    footer = Footer(RowCounts(), None, profile=tally.text())
    assert footer.profile == ""
    assert "mlsys.profile" not in footer.notes()
    assert judge_all(plan(None), add_up(plan(None), [footer])) == []
    assert summary([]) is None


def plan(reference: Reference | None) -> Any:
    """Return what the publishing of a profile needs of a plan."""
    pin = SimpleNamespace(name="titanic", version="v1", generation=7)
    about = {"run_id": "r", "snapshot_at": "2026-11-28", "model": pin, "input_table": "p.d.t"}
    return SimpleNamespace(reference=reference, **about)


def test_the_footers_of_parts_carry_the_counts() -> None:
    notes = Footer(RowCounts(), None, profile=part([TABLE])).notes()
    footer = Footer.of_notes({key.encode(): text.encode() for key, text in notes.items()})
    assert add_up(plan(REFERENCE), [footer]) == read_text(footer.profile)
    for text in ("", "[]", "[{}, {}]", '[{"rows": -1}]'):
        with pytest.raises(PartDamaged, match="lacks the counts"):
            add_up(plan(REFERENCE), [footer, replace(footer, profile=text)])


def judged(rows: int = 400, shift: float = 0.0, names: Any = ("male", "female")) -> Any:
    """Return the verdicts on a table whose fare is shifted."""
    random = np.random.default_rng(1)
    table = pa.table(
        {
            "fare": pa.array(random.normal(shift, size=rows)),
            "sex": pa.array(random.choice(names, rows), pa.string()),
            "prediction": pa.array(random.normal(size=rows)),
        }
    )
    tally = Tally(REFERENCE)
    tally.add(count_features(REFERENCE, table), [table])
    return judge_all(plan(REFERENCE), read_text(tally.text()))


@pytest.mark.parametrize(
    ("given", "level", "text"),
    [
        ({}, OK, "none of 3 columns"),
        ({"shift": 2}, DRIFT, "1 of 3 columns (fare 0.69)"),
        ({"shift": 2, "names": ["m", "f"]}, DRIFT, "2 of 3 columns (sex 1.00, fare 0.69)"),
        (
            {"names": ["male", "female", *["male", "female"] * 9, "x"]},
            WARN,
            "none of 3 columns; 1 to look at (sex: distance 0.17)",
        ),
        ({"rows": 20}, TOO_FEW, "too few rows to compare"),
    ],
)
def test_a_run_says_which_columns_have_drifted_the_important_first(
    given: Any, level: str, text: str
) -> None:
    said = summary(judged(**given))
    assert said is not None
    assert (said["level"], said["columns"], said["text"]) == (level, 3, text)


def test_max_drift_names_the_columns_with_their_distances() -> None:
    far = judged(shift=2)
    check_drift(plan(REFERENCE), far, None)
    check_drift(plan(REFERENCE), far, 0.9)
    check_drift(plan(REFERENCE), judged(rows=20, shift=2), 0.1)  # too few to tell
    with pytest.raises(InputDrifted, match=r"1 of 3 columns .* training data: fare 0\.69\."):
        check_drift(plan(REFERENCE), far, 0.5)


@pytest.mark.parametrize(
    ("given", "most", "warnings"),
    [
        ({"shift": 2}, 0.5, []),
        ({"rows": 20}, None, []),
        ({"rows": 20}, 0.5, ["max_drift=0.5 checked nothing: too few rows to compare"]),
    ],
)
def test_a_run_says_that_max_drift_checked_nothing(
    given: Any, most: float | None, warnings: list[str]
) -> None:
    assert unchecked(judged(**given), most) == warnings
    [nothing] = unchecked([], 0.3)
    assert nothing == "max_drift=0.3 checked nothing: the run counts no columns"


def test_a_row_of_the_table_has_the_counts_and_both_distributions() -> None:
    said = judged(shift=2, names=["male", "below"])
    rows = rows_of(plan(REFERENCE), said)
    assert [(row["role"], row["column_name"], row["position"]) for row in rows] == [
        (FEATURE, "fare", 0),
        (FEATURE, "sex", 1),
        (PREDICTION, "prediction", 0),
    ]
    for row, (column, counts, _) in zip(rows, said, strict=True):
        bins = row["bins"]
        assert [b["place"] for b in bins] == list(range(len(bins)))
        assert sum(b["rows"] for b in bins) == row["row_count"] == 400
        assert sum(b["before"] for b in bins) == row["reference_rows"] == 500
        read = counts_of(row | {"bins": json.dumps(bins)})
        assert read == replace(counts, minimum=None, maximum=None)
        assert row["bins_id"] == column.bins.id
    assert json.loads(json.dumps(rows, allow_nan=False)) == list(rows)


def test_a_reference_is_read_as_it_was_written() -> None:
    assert Reference.from_dict(json.loads(json.dumps(REFERENCE.to_dict()))) == REFERENCE


def profiled(column: dict[str, Any]) -> ModelMetadata:
    profile = {"version": 2, "rows": 9, "columns": [column]}
    return ModelMetadata.from_document({"profile": profile})


@pytest.mark.parametrize(
    ("column", "kind", "warning"),
    [
        ({"kind": "number", "edges": [0, 1], "counts": [9]}, "FLOAT64", None),
        ({"kind": "number", "edges": [0, 1], "counts": [9]}, "NUMERIC", None),
        ({"kind": "number", "edges": [0, 1], "counts": [9]}, "STRING", "do not fit the types of A"),
        ({"kind": "number", "edges": [0, 1], "counts": [9]}, "DATE", "do not fit the types of A"),
        ({"kind": "number", "edges": ["2026-01-01", "x"], "counts": [9]}, "DATE", "do not fit"),
        ({"kind": "category", "values": [1], "counts": [9]}, "STRING", "do not fit the types of A"),
        ({"kind": "category", "values": ["1"], "counts": [9]}, "INT64", "do not fit the types"),
        ({"kind": "category", "values": [True], "counts": [9]}, "BOOL", None),
        ({"kind": "plain"}, "BYTES", None),
        ({"kind": "number"}, "FLOAT64", "profile has the wrong form"),
    ],
)
def test_a_profile_that_does_not_fit_the_table_is_left_out_with_a_warning(
    column: dict[str, Any], kind: str, warning: str | None
) -> None:
    feature = Feature("a", kind, "unknown")
    reference, warnings = of_training(profiled(column), [Column("A", kind)], [feature], {}, [])
    assert [c.name for c in reference.columns] == ["A"] if warning is None else reference is None
    assert (warning is None) == (not warnings)
    assert warning is None or warning in warnings[0]


@pytest.mark.parametrize(
    ("profile", "warning"),
    [
        ({"version": 2, "rows": 9, "columns": []}, "has 0 columns, and the model takes 1"),
        ({"version": 2, "rows": 9, "columns": [{"kind": "plain"}] * 2}, "has 2 columns, and"),
        ({"rows": 9, "columns": {}}, "is of version 1, and the bins are in version 2: upload"),
        ({"version": 3, "rows": 9, "columns": [{"kind": "plain"}]}, "is of version 3, and"),
        (["kind"], "is of version ['kind'], and"),
        ({"version": 2, "columns": []}, "profile has the wrong form: 'rows' is missing"),
        ({"version": 2, "rows": 10**30, "columns": [{"kind": "plain"}]}, "from 0 to 2^63 - 1"),
    ],
)
def test_a_profile_that_cannot_be_compared_with_is_named(profile: Any, warning: str) -> None:
    metadata = ModelMetadata.from_document({"profile": profile})
    features = [Feature("a", "FLOAT64", "float64")]
    reference, [said] = of_training(metadata, [Column("a", "FLOAT64")], features, {}, [])
    assert reference is None
    assert said.startswith("the rows are not compared with the training data: ") and warning in said


def test_a_model_without_a_profile_has_bins_that_all_its_runs_share() -> None:
    outputs = {"predict": ("label",), "predict_proba": ("p_a", "p_b"), "transform": ("t",)}
    types = {"label": "STRING", "p_a": "FLOAT64", "p_b": "FLOAT64", "t": "BYTES"}
    columns = of_outputs(outputs, types, ["a", "b"]).columns
    assert [c.bins.kind for c in columns] == [CATEGORY, NUMBER, NUMBER, "plain"]
    assert columns[1].bins == Bins(NUMBER, STANDARD_EDGES)
    assert len(set(STANDARD_EDGES)) == len(STANDARD_EDGES)
    none = summary(judge_all(plan(Reference(columns)), [Counts(40)] * 4))
    assert none == {
        **{"level": UNKNOWN, "columns": 0, "over": []},
        "text": "nothing to compare with yet",
    }
