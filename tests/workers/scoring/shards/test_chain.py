"""The parts of a stream are a chain from its first row to its last, without gap or overlap."""

from collections.abc import Iterable
from typing import Any

import pytest

from mlsys.errors import TryAgain
from workers.scoring.journal.decisions import Counts
from workers.scoring.publishing import decision
from workers.scoring.request.parsed import MaxRejects
from workers.scoring.shards import chain
from workers.scoring.shards.chain import Chain, read_chains
from workers.scoring.shards.part import Footer, PartDamaged, PartGone
from workers.scoring.shards.session import Session

SESSION = Session(0, ("streams/a", "streams/b"), None, 30, part_rows=10)


class Store:
    """The parts of a run and its objects, without Cloud Storage."""

    def __init__(self, footers: Iterable[tuple[int, Footer]]) -> None:
        self.run_id = "run"
        self.footers = {self.part_name(0, n, f.offset): f for n, f in footers}
        self.made: dict[str, Any] = {}

    def part_name(self, session: int, shard: int, offset: int) -> str:
        return f"parts/{session}/{shard:05d}-{offset:012d}.parquet"

    def parts(self, session: int, shard: int | None = None) -> dict[str, Any]:
        return {name: name for name in self.footers}

    def uri(self, name: str) -> str:
        return f"gs://runs/run/{name}"

    def create(self, name: str, value: Any) -> bool:
        self.made[name] = value
        return True


def footer(offset: int, rows: int, last: bool = False, stream: str = "streams/a") -> Footer:
    return Footer(Counts(rows, rows, 0, 8 * rows), None, "path", stream, offset, last)


def chains(
    monkeypatch: pytest.MonkeyPatch, *footers: tuple[int, Footer]
) -> tuple[Any, list[Chain]]:
    store: Any = Store(footers)
    monkeypatch.setattr(chain, "read_footers", lambda names: [store.footers[n] for n in names])
    return store, read_chains(store, SESSION, store.parts(0))


def test_a_chain_ends_where_its_last_part_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    _, [a, b] = chains(monkeypatch, (0, footer(0, 10)), (0, footer(10, 10)))
    assert (a.end, a.complete, a.counts.read) == (20, False, 20)
    assert (b.end, b.complete, b.parts) == (0, False, ())


@pytest.mark.parametrize("rows", [0, 3, 10])
def test_the_last_part_completes_a_chain(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    _, [a, _] = chains(monkeypatch, (0, footer(0, rows, last=True)))
    assert (a.end, a.complete) == (rows, True)


def test_a_gap_is_where_the_work_resumes(monkeypatch: pytest.MonkeyPatch) -> None:
    _, [a, _] = chains(monkeypatch, (0, footer(0, 10)), (0, footer(20, 5, last=True)))
    assert (a.end, a.complete, a.later) == (10, False, {20})


@pytest.mark.parametrize(
    "wrong",
    [
        footer(0, 10, stream="streams/other"),
        footer(0, 0),  # not the last, and without rows
    ],
)
def test_a_part_of_something_else_is_damaged(
    monkeypatch: pytest.MonkeyPatch, wrong: Footer
) -> None:
    with pytest.raises(PartDamaged, match="another session"):
        chains(monkeypatch, (0, wrong))


def test_a_part_in_the_wrong_place_is_damaged(monkeypatch: pytest.MonkeyPatch) -> None:
    store, _ = chains(monkeypatch, (0, footer(0, 10)))
    store.footers[store.part_name(0, 0, 10)] = footer(0, 10)
    with pytest.raises(PartDamaged):
        read_chains(store, SESSION, store.parts(0))


def test_parts_of_other_names_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    store, _ = chains(monkeypatch, (0, footer(0, 10)))
    parts: dict[str, Any] = {"parts/0/00000.parquet": None, "parts/0/00007-0000.parquet": None}
    assert [c.end for c in read_chains(store, SESSION, parts)] == [0, 0]


WHOLE = [
    (0, footer(0, 10)),
    (0, footer(10, 10, last=True)),
    (1, footer(0, 0, last=True, stream="streams/b")),
]


def decided(monkeypatch: pytest.MonkeyPatch, *footers: tuple[int, Footer]) -> Any:
    store, _ = chains(monkeypatch, *footers)
    plan: Any = type(
        "Plan",
        (),
        {"run_id": "run", "token": "t", "shadow": None, "reference": None, "contract": None},
    )
    return decision.decide(None, store, plan, SESSION, MaxRejects())  # type: ignore[arg-type]


def test_a_decision_names_the_parts_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    made = decided(monkeypatch, *WHOLE)
    assert [name[-24:] for name in made.parts] == [
        "0-000000000000.parquet".rjust(24, "0"),
        "0-000000000010.parquet".rjust(24, "0"),
        "1-000000000000.parquet".rjust(24, "0"),
    ]
    assert made.counts.read == 20
    assert made.streams == 2


@pytest.mark.parametrize("missing", range(3))
def test_no_decision_without_every_part(monkeypatch: pytest.MonkeyPatch, missing: int) -> None:
    """A gap, a chain without its last part, a stream without any part."""
    with pytest.raises(PartGone):
        decided(monkeypatch, *(part for n, part in enumerate(WHOLE) if n != missing))


def test_no_decision_for_parts_that_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TryAgain):
        decided(monkeypatch, (0, footer(0, 12)), *WHOLE[1:])
