"""What the counts of a batch tell of a clause is what the clause finds in its values."""

import datetime as dt
import math
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.dummy import DummyRegressor

from mlsys.artifact.contract import Clause
from mlsys.artifact.contract_draft import draft
from mlsys.artifact.profile import Profile
from mlsys.artifact.profiling import build_profile, describe
from mlsys.artifact.signatures import Signature
from mlsys.columns.bins import CATEGORY, NUMBER, Bins, count
from mlsys.columns.stored import stored
from workers.monitoring import contract_checks
from workers.monitoring.contract import ContractCounts, PlannedContract, judge
from workers.monitoring.contract_checks import failing
from workers.monitoring.contract_known import known
from workers.monitoring.counting import count_features
from workers.monitoring.reference import FEATURE, Reference, Watched, of_profile
from workers.scoring.shards.contract import InputCheck

WHOLE = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63)]),
)
REAL = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5, math.inf, -math.inf, math.nan, 2.0**53]),
    st.floats(-3, 3),
)
TEXT = st.sampled_from(["", "a", "b", "c", "é", "A"])


@st.composite
def cases(draw: st.DrawFn) -> tuple[Clause, Bins, pa.Array]:
    """Draw a clause, the bins of its column, and values; bounds and values are often the bins'."""
    kind, values = draw(
        st.sampled_from([(pa.int64(), WHOLE), (pa.float64(), REAL), (pa.string(), TEXT)])
    )
    column = pa.array(draw(st.lists(st.one_of(st.none(), values), max_size=8)), kind)
    if draw(st.booleans()):
        return Clause("not_null", "warn", "c"), draw(st.sampled_from([Bins(), _bins(draw)])), column
    if pa.types.is_string(kind):
        own = draw(st.lists(TEXT, unique=True, max_size=4))
        bins = Bins(CATEGORY, values=tuple(own))
        listed = own if draw(st.booleans()) else draw(st.lists(TEXT, max_size=4))
        check = draw(st.sampled_from(["isin", "notin"]))
        return Clause(check, "warn", "c", {"values": listed}), bins, column
    bins = draw(st.sampled_from([Bins(), _bins(draw)]))
    bound = st.one_of(
        st.sampled_from(bins.edges or (0,)), REAL.filter(math.isfinite), st.just(2**53 + 1)
    )
    check = draw(st.sampled_from(["gt", "ge", "lt", "le", "in_range"]))
    if check != "in_range":
        return Clause(check, "warn", "c", {"value": draw(bound)}), bins, column
    low, high = sorted([draw(bound), draw(bound)])
    if draw(st.booleans()) and bins.edges:
        low, high = bins.edges[0], bins.edges[-1]
    return Clause(check, "warn", "c", {"min_value": low, "max_value": high}), bins, column


def _bins(draw: st.DrawFn) -> Bins:
    numbers = st.one_of(st.integers(-2, 2), st.floats(-2, 2), st.just(2**53 + 2))
    edges = sorted(draw(st.lists(numbers, min_size=2, max_size=4)))
    return Bins(NUMBER, tuple(edges)) if draw(st.booleans()) else Bins(CATEGORY, values=(0, 1.5))


def own_count(clause: Clause, column: pa.ChunkedArray) -> int:
    mask = failing(clause, column.type)(column)
    return 0 if mask is None else sum(mask.to_pylist())


@settings(max_examples=200)
@given(cases())
def test_the_counts_tell_what_the_values_do_or_nothing(
    case: tuple[Clause, Bins, pa.Array],
) -> None:
    clause, bins, values = case
    column = pa.chunked_array([values])
    if pa.types.is_string(values.type) and bins.kind != CATEGORY:
        bins = Bins()
    elif pa.types.is_string(values.type):
        bins = Bins(CATEGORY, values=tuple(map(str, bins.values)))
    of_counts = known(clause, values.type, bins)
    if of_counts is not None:
        assert of_counts(count(bins, column)) in (None, own_count(clause, column))


TRAINING = pd.DataFrame(
    {
        "amount": np.random.default_rng(1).normal(size=400),
        "number": np.random.default_rng(2).integers(0, 90, 400),
        "colour": np.random.default_rng(3).choice(["red", "blue", "green"], 400),
    }
)


@pytest.mark.parametrize("name", TRAINING)
def test_the_counts_tell_every_clause_of_a_draft(name: str) -> None:
    X = TRAINING[[name]]
    signature = Signature.from_data(X)
    model = DummyRegressor().fit(np.zeros((len(X), 1)), np.zeros(len(X)))
    document = {"signature": signature.to_dict(), "profile": build_profile(model, X, signature)}
    profile = Profile.of_document(document)
    assert profile is not None
    bins = of_profile(profile, [name], {}).columns[0].bins
    more = [None, -9, 999, *X[name][:9]] if name != "colour" else [None, "violet", "red"]
    column = pa.chunked_array([pa.array(more, stored(X[name], name).type)])
    clauses = [clause for clause in draft(document).clauses if clause.of_values]
    assert {clause.check for clause in clauses} >= {"not_null"} and len(clauses) == 2
    for clause in clauses:
        of_counts = known(clause, column.type, bins)
        assert of_counts is not None
        assert of_counts(count(bins, column)) == own_count(clause, column) > 0


ROWS = pa.table(
    {
        "id": range(100),
        "Amount": [*[0.5] * 97, 5.0, None, -5.0],
        "colour": [*["red"] * 98, "violet", "pink"],
    }
)
CLAUSES = (
    Clause("in_range", "warn", "Amount", {"min_value": -1, "max_value": 1}, 0.04),
    Clause("in_range", "reject", "Amount", {"max_value": 1}),
    Clause("isin", "stop", "colour", {"values": ["red", "blue"]}, 0.02),
    Clause("not_null", "stop", "Amount"),
    Clause("ge", "warn", "Amount", {"value": -1}, 0.005),
    Clause("str_length", "warn", "colour", {"max_value": 5}, 0.1),
)
REFERENCE = Reference(
    (
        Watched(FEATURE, "amount", Bins(NUMBER, (-1, 0, 1))),
        Watched(FEATURE, "colour", Bins(CATEGORY, values=("blue", "red"))),
    )
)


def plan(reference: Reference | None, *clauses: Clause, mode: str = "enforce") -> Any:
    contract = PlannedContract(1, mode, clauses or CLAUSES)
    return SimpleNamespace(contract=contract, ids=[SimpleNamespace(name="id")], reference=reference)


@pytest.mark.parametrize("mode", ["enforce", "warn"])
def test_a_batch_is_judged_alike_with_counts_and_without(mode: str) -> None:
    counted = InputCheck(plan(REFERENCE, mode=mode)).check(ROWS, count_features(REFERENCE, ROWS))
    looked = InputCheck(plan(None, mode=mode)).check(ROWS, [])
    assert counted.counts == looked.counts
    assert counted.counts.failing == {0: 2, 1: 1, 2: 2, 3: 1, 4: 1, 5: 1}
    ids = {place: [e["ids"]["id"] for e in each] for place, each in counted.counts.examples.items()}
    assert ids == {1: [97], 3: [98], 4: [99]}  # within its share a clause names none
    assert [*counted.refusing] == [*looked.refusing] == ([1] if mode == "enforce" else [])
    assert counted.kept(ROWS).equals(looked.kept(ROWS))


def test_good_rows_are_not_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []
    monkeypatch.setattr(contract_checks, "_extremes", lambda column: looks.append(column))
    monkeypatch.setattr(contract_checks, "_missing", lambda column: looks.append(column))
    good = ROWS.slice(0, 90)
    check = InputCheck(plan(REFERENCE, *CLAUSES[:5]))
    assert check.check(good, count_features(REFERENCE, good)).counts == ContractCounts()
    assert not looks


@settings(max_examples=50)
@given(st.lists(st.booleans(), min_size=1, max_size=60), st.sets(st.integers(1, 59)))
def test_a_broken_clause_always_has_an_example(fails: list[bool], cuts: set[int]) -> None:
    """If more than a share of all rows fail, so do more than that share of some batch."""
    rows = pa.table({"id": range(len(fails)), "Amount": [9.0 if fail else 0.0 for fail in fails]})
    clause = Clause("in_range", "warn", "Amount", CLAUSES[0].parameters, 0.3)
    amounts = Reference(REFERENCE.columns[:1])
    check = InputCheck(plan(amounts, clause))
    places = sorted({0, len(fails)} | {cut for cut in cuts if cut < len(fails)})
    total = ContractCounts()
    for start, stop in pairwise(places):
        batch = rows.slice(start, stop - start)
        total += check.check(batch, count_features(amounts, batch)).counts
    at = dt.datetime(2026, 11, 28, tzinfo=dt.UTC)
    broken = judge(PlannedContract(1, clauses=(clause,)), total, len(fails), at)
    assert bool(broken) == (sum(fails) > clause.allowed(len(fails)))
    assert all(each.failing == sum(fails) and each.examples for each in broken)


def test_the_values_of_other_types_are_looked_at() -> None:
    bins = describe(pa.array(range(30), pa.int64())).bins
    clause = Clause("in_range", "warn", "c", {"min_value": 0, "max_value": 9})
    for kind in (pa.decimal128(38, 9), pa.float32()):
        assert known(clause, kind, bins) is None
