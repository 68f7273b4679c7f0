"""A challenger gets the batches of a run of its own."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsys.errors import RunInterrupted
from workers.scoring.planning.columns import Column
from workers.scoring.planning.plan import Pair
from workers.scoring.shards import cutter, shadow_part
from workers.scoring.shards.agreement import Agreement, Agreements, both_scored
from workers.scoring.shards.cutter import Cutter
from workers.scoring.shards.rejects import Reject
from workers.scoring.shards.session import Session
from workers.scoring.shards.shadow_part import ShadowPart


@settings(max_examples=40)
@given(st.lists(st.integers(1, 30), max_size=8), st.integers(1, 40))
def test_batches_are_cut_from_the_parts_first_row_on(sizes: list[int], most: int) -> None:
    cutter = Cutter(most)
    rows = pa.table({"a": range(sum(sizes))})
    cut, start = [], 0
    for size in sizes:
        cut += list(cutter.add(rows.slice(start, size)))
        start += size
        assert cutter.rows == start % most
    cut += list(cutter.rest())
    assert [table.num_rows for table in cut[:-1]] == [most] * len(cut[:-1])
    assert [a for table in cut for a in table["a"].to_pylist()] == list(range(sum(sizes)))
    assert list(cutter.rest()) == []


def test_wide_rows_are_not_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cutter, "BATCH_BYTES", 8 * 10)
    wide = Cutter(1_000)
    assert [t.num_rows for t in wide.add(pa.table({"a": range(25)}))] == [25]


class Cancelled(Exception):
    pass


def cancelled() -> bool:
    raise Cancelled


@pytest.mark.parametrize(
    ("stop", "raised"), [(cancelled, Cancelled), (lambda: True, RunInterrupted)]
)
def test_what_stops_the_run_is_not_the_challengers_fault(
    monkeypatch: pytest.MonkeyPatch, stop: Callable[[], bool], raised: type[Exception]
) -> None:
    part, given_up = part_of(monkeypatch, stopped_while_it_scores)
    with pytest.raises(raised), part:
        part.add(pa.table({"a": [1]}), [], [], stop)
        part.finish(True, stop)
    assert given_up == []


def test_any_other_failure_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(rows: pa.Table, stop: Callable[[], bool]) -> Any:
        raise ZeroDivisionError

    part, given_up = part_of(monkeypatch, fails)
    with part:
        part.add(pa.table({"a": [1, 2]}), [], [0], lambda: False)
        assert part.finish(True, lambda: False) is None
    assert given_up == [ZeroDivisionError]


ROWS = 40
PAIR = Pair("prediction", "prediction", labels=False)
PLACES = st.sets(st.integers(0, ROWS - 1), max_size=6)


@settings(max_examples=40)
@given(
    sizes=st.sampled_from([[10] * 4, [5] * 8, [10, 10, 10, 7], [3], [15, 15]]),
    first=PLACES,
    second=PLACES,
)
def test_rows_are_compared_as_they_are_scored(
    sizes: list[int], first: set[int], second: set[int]
) -> None:
    def scored(ids: list[int], without: set[int], factor: float) -> list[pa.Table]:
        kept = [i for i in ids if i not in without]
        values = [factor * i for i in kept]
        return [pa.table({"id": pa.array(kept, pa.float64()), "prediction": values})][: len(kept)]

    def score(rows: pa.Table, _: Any) -> tuple[list[pa.Table], list[Reject]]:
        ids = rows["id"].to_pylist()
        bad = [Reject({}, "", place) for place, i in enumerate(ids) if i in second]
        return scored(ids, second, 1.5), bad

    with pytest.MonkeyPatch.context() as patch:
        part, given_up = part_of(patch, score)
        start = 0
        with part:
            for size in sizes:
                ids = list(range(start, start + size))
                start += size
                own, aside = scored(ids, first, 0.5), [i for i, x in enumerate(ids) if x in first]
                part.add(pa.table({"id": ids}), own, aside, lambda: False)
            assert part.finish(True, lambda: False) == "shadow"
    assert given_up == []
    known = part._challenger.agreements.of("shadow")
    if sizes[0] > 10:  # the challenger takes smaller batches
        assert known is None
        return
    assert known is not None
    both = [i for i in range(start) if i not in first | second]
    expected = Agreement([PAIR], ["id"])
    if both:
        one, two = (scored(both, set(), factor)[0] for factor in (0.5, 1.5))
        rows = both_scored(one, two, [PAIR], ([], []), len(both), lambda at: one.take(at))
        expected.add(rows)
    assert known.report(list) == expected.report(list)


def stopped_while_it_scores(rows: pa.Table, stop: Callable[[], bool]) -> Any:
    if stop():
        raise RunInterrupted("The run was stopped")


def part_of(
    monkeypatch: pytest.MonkeyPatch, score: Callable[..., Any]
) -> tuple[ShadowPart, list[type[Exception]]]:
    """Return the part of a challenger that scores by `score`, and what it is given up for."""
    given_up: list[type[Exception]] = []
    monkeypatch.setattr(shadow_part, "PartWriter", lambda *_: nullcontext(MagicMock()))
    monkeypatch.setattr(shadow_part, "batch_rows", lambda *_: 10)
    columns = [Column(name, "FLOAT64") for name in ("id", "prediction")]
    plan = SimpleNamespace(
        shadow=SimpleNamespace(pairs=[PAIR]),
        output=SimpleNamespace(columns=columns),
        ids=columns[:1],
    )
    fake: Any = SimpleNamespace(
        over=False,
        run=plan,
        agreements=Agreements(),
        scorer=MagicMock(),
        score=score,
        give_up=lambda exc: given_up.append(type(exc)),
    )
    store: Any = SimpleNamespace(blob=str, shadow_name=lambda *_: "shadow")
    return ShadowPart(fake, store, Session(0, ("stream",), None, 1), 0, 0), given_up
