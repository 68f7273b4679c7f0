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
from workers.scoring.shards import challenger
from workers.scoring.shards.challenger import Cutter, ShadowPart
from workers.scoring.shards.read_session import Session


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
    monkeypatch.setattr(challenger, "BATCH_BYTES", 8 * 10)
    cutter = Cutter(1_000)
    assert [t.num_rows for t in cutter.add(pa.table({"a": range(25)}))] == [25]


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
        part.add(pa.table({"a": [1]}), [], stop)
        part.finish(True, stop)
    assert given_up == []


def test_any_other_failure_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(rows: pa.Table, stop: Callable[[], bool]) -> Any:
        raise ZeroDivisionError

    part, given_up = part_of(monkeypatch, fails)
    with part:
        part.add(pa.table({"a": [1, 2]}), [0], lambda: False)
        assert part.finish(True, lambda: False) is None
    assert given_up == [ZeroDivisionError]


def stopped_while_it_scores(rows: pa.Table, stop: Callable[[], bool]) -> Any:
    if stop():
        raise RunInterrupted("The run was stopped")


def part_of(
    monkeypatch: pytest.MonkeyPatch, score: Callable[..., Any]
) -> tuple[ShadowPart, list[type[Exception]]]:
    """Return the part of a challenger that scores by `score`, and what it is given up for."""
    given_up: list[type[Exception]] = []
    monkeypatch.setattr(challenger, "PartWriter", lambda *_: nullcontext(MagicMock()))
    monkeypatch.setattr(challenger, "batch_rows", lambda *_: 10)
    fake: Any = SimpleNamespace(
        over=False,
        scorer=MagicMock(),
        score=score,
        give_up=lambda exc: given_up.append(type(exc)),
    )
    store: Any = SimpleNamespace(blob=str, shadow_name=lambda *_: "shadow")
    return ShadowPart(fake, store, Session(0, ("stream",), None, 1), 0, 0), given_up
