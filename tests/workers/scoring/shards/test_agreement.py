"""The report of two models does not depend on the order or the pieces of their rows."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from workers.scoring.planning.plan import Pair
from workers.scoring.shards import agreement, compared_columns, quantiles
from workers.scoring.shards.agreement import Agreement, Agreements, Rows
from workers.scoring.shards.quantiles import exact_sums, rank, select

FINITE = st.floats(allow_nan=False, allow_infinity=False)
ANY = st.none() | st.floats() | st.sampled_from([0.0, -0.0, 1.5])
LABELS = st.none() | st.sampled_from(["yes", "no", "", "é"])
NUMBERS = Pair("prediction", "prediction", labels=False)
WORDS = Pair("prediction", "guess", labels=True)


def report(
    pair: Pair, first: Sequence[Any], second: Sequence[Any], cuts: Iterable[int] = ()
) -> dict[str, Any]:
    """Return the report of the rows, whose ids are their numbers, in parts that end at `cuts`."""
    kind = pa.string() if pair.labels else pa.float64()
    ids = pa.table({"id": pa.array(range(len(first)), pa.int64())})
    ends = [0, *sorted(cuts), len(first)]

    def parts() -> Iterable[Rows]:
        for start, end in pairwise(ends):
            columns = [pa.chunked_array([pa.array(c[start:end], kind)]) for c in (first, second)]
            some = ids.slice(start, end - start)
            yield Rows(
                columns[:1],
                columns[1:],
                end - start,
                lambda mask, some=some: some.filter(pa.array(mask)),
            )

    whole = compare([pair], ["id"], parts)
    merged = Agreement([pair], ["id"])
    for part in parts():
        one = Agreement([pair], ["id"])
        one.add(part)
        merged.merge(one)
    assert merged.report(parts) == whole
    return whole


def compare(
    pairs: Sequence[Pair], ids: Sequence[str], parts: Callable[[], Iterable[Rows]]
) -> dict[str, Any]:
    """Return the report of the parts."""
    total = Agreement(pairs, ids)
    for part in parts():
        total.add(part)
    return total.report(parts)


def difference(a: float | None, b: float | None) -> Fraction | None:
    """Return the exact difference as a float holds it; None if it is not finite."""
    a, b = (float("nan") if x is None else x for x in (a, b))
    if a == b or (a != a and b != b):
        return Fraction(0)
    with np.errstate(all="ignore"):
        found = float(np.float64(b) - np.float64(a))
    return Fraction(found) if np.isfinite(found) else None


@settings(max_examples=50)
@given(st.lists(st.tuples(ANY, ANY), max_size=40), st.lists(st.integers(0, 40), max_size=3))
@example([(1e308, -1e308), (None, 1.0), (None, float("nan")), (5e-324, 0.0)], [1, 2])
def test_differences_of_numbers_are_exact(
    rows: list[tuple[float | None, float | None]], cuts: list[int]
) -> None:
    first, second = [a for a, _ in rows], [b for _, b in rows]
    whole = report(NUMBERS, first, second)
    assert report(NUMBERS, first, second, [min(cut, len(rows)) for cut in cuts]) == whole
    found = [difference(a, b) for a, b in rows]
    finite = sorted(d for d in found if d is not None)
    (column,) = whole["columns"]
    assert (whole["rows"], column["not_finite"]) == (len(rows), len(rows) - len(finite))
    assert column["equal"] == whole["equal"] == sum(d == 0 for d in finite)
    if finite:
        assert column["mean"] == float(sum(finite) / len(finite))
        assert column["mean_absolute"] == float(sum(map(abs, finite)) / len(finite))
        assert column["max_absolute"] == float(max(map(abs, finite)))
        for share, value in column["quantiles"].items():
            assert value == float(finite[rank(Fraction(share), len(finite))])
    order = sorted(
        (i for i, d in enumerate(found) if d != 0),
        key=lambda i: (found[i] is not None, -abs(found[i] or 0), i),
    )
    assert [row["ids"]["id"] for row in whole["most_different"]] == order[:50]


@settings(max_examples=50)
@given(st.lists(st.tuples(LABELS, LABELS), max_size=40), st.lists(st.integers(0, 40), max_size=3))
def test_labels_are_counted_by_pairs(
    rows: list[tuple[str | None, str | None]], cuts: list[int]
) -> None:
    first, second = [a for a, _ in rows], [b for _, b in rows]
    whole = report(WORDS, first, second)
    assert report(WORDS, first, second, [min(cut, len(rows)) for cut in cuts]) == whole
    (column,) = whole["columns"]
    confusion = {(c["first"], c["shadow"]): c["rows"] for c in column["confusion"]}
    assert confusion == Counter(rows)
    assert (column["column"], column["shadow_column"]) == ("prediction", "guess")
    assert whole["equal"] == column["equal"] == sum(a == b for a, b in rows)
    unequal = [i for i, (a, b) in enumerate(rows) if a != b]
    assert [row["ids"]["id"] for row in whole["most_different"]] == unequal[:50]


def test_too_many_pairs_of_labels_have_no_confusion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compared_columns, "MAX_PAIRS", 3)
    words = list("abcd")
    (column,) = report(WORDS, words, words, cuts=[2])["columns"]
    assert (column["confusion"], column["label_pairs"], column["equal"]) == (None, None, 4)
    (column,) = report(WORDS, words[:3] * 2, words[:3] * 2, cuts=[2])["columns"]
    assert (column["label_pairs"], len(column["confusion"])) == (3, 3)


def test_labels_of_two_types_are_compared_as_numbers_or_as_text() -> None:
    whole, parts = pa.chunked_array([pa.array([1, 2])]), pa.chunked_array([pa.array([1.0, 2.5])])
    words = pa.chunked_array([pa.array(["1", "3"])])
    for other, equal in ((parts, [1, 2.5]), (words, ["1", "3"])):
        assert compared_columns.alike(whole, other)[1].to_pylist() == equal
    assert compared_columns.alike(whole, words)[0].to_pylist() == ["1", "2"]


@pytest.mark.parametrize("in_memory", [0, 3, 10**6])
@settings(max_examples=30)
@given(numbers=st.lists(FINITE | st.sampled_from([0.0, 1.0, -1.0]), min_size=1, max_size=60))
def test_numbers_beyond_the_memory_are_selected_by_their_bits(
    in_memory: int, numbers: list[float]
) -> None:
    pieces = [np.array(numbers[::2]), np.array(numbers[1::2])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantiles, "IN_MEMORY", in_memory)
        patch.setattr(quantiles, "_BITS", 8)
        found = select(lambda: pieces, len(numbers), range(len(numbers)))
    assert [found[i] for i in range(len(numbers))] == sorted(numbers)


@settings(max_examples=50)
@given(st.lists(FINITE, max_size=50))
def test_sums_are_exact_in_any_order(numbers: list[float]) -> None:
    def sums(some: list[float]) -> list[Fraction]:
        return [Fraction(total, 2**1074) for total in exact_sums(np.array(some))]

    above = sum(Fraction(x) for x in numbers if x > 0)
    assert sums(numbers) == [above, above - sum(map(Fraction, numbers))]
    pieces = zip(sums(numbers[:7]), sums(numbers[7:]), strict=True)
    assert [one + two for one, two in pieces] == sums(numbers[::-1])


def test_agreements_are_held_while_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreement, "HELD_BYTES", 100)
    rows = Rows([pa.chunked_array([[1.0] * 6])], [pa.chunked_array([[1.0] * 6])], 6, pa.table)
    one, two = Agreements(), Agreements()
    for held, names in ((one, "ab"), (two, "cde")):
        for name in names:
            part = Agreement([NUMBERS], ["id"])
            part.add(rows)
            held.keep(name, part)
    one.merge(pickle.loads(pickle.dumps(two)))  # as from a process of the pool
    assert [one.of(name) is not None for name in "abcde"] == [True, True, False, False, False]
    assert [two.of(name) is not None for name in "cde"] == [True, True, False]


@pytest.mark.parametrize(
    "ids",
    [
        pa.array([True, False, None]),
        pa.array([b"b", b"a", None]),
        pa.array(["b", "a", None]),
        pa.array([2, 1, None], pa.timestamp("us", "UTC")),
        pa.array([2, 1, None], pa.time64("us")),
        pa.array([2, 1, None], pa.date32()),
        pa.array([2, 1, None], pa.decimal128(38, 9)),
    ],
    ids=lambda ids: str(ids.type),
)
def test_ids_of_every_type_have_an_order(ids: pa.Array) -> None:
    rows = Rows(
        [pa.chunked_array([[1.0, 1.0, 1.0]])],
        [pa.chunked_array([[2.0, 2.0, 2.0]])],
        3,
        lambda mask: pa.table({"id": ids}).filter(pa.array(mask)),
    )
    listed = [
        row["ids"]["id"] for row in compare([NUMBERS], ["id"], lambda: [rows])["most_different"]
    ]
    expected = compare([NUMBERS], [], lambda: [rows])
    assert (expected["most_different"], listed[2], len(set(map(str, listed)))) == (None, None, 3)
