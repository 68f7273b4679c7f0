"""Only a statement that outlived its handler is excused, and no other wrong row."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from simulator.gaps import Mismatch, Wrong, check
from simulator.kernel import Actor, simulation
from simulator.statements import Replace
from simulator.warehouse import BigQueryClient, Looked, Merge, Row

TABLE = "model_registry"


def wrong(right: bool = True) -> Wrong:
    """Return a key whose only row should be `new`."""
    return Wrong(
        "the row is wrong",
        TABLE,
        of_key=lambda row: True,
        looks_at=lambda look: True,
        is_right=lambda merge, since: right,
        extra=lambda row: row["value"] != "new",
    )


def excuses(
    *, crashed: bool = True, ended: float = 9.0, right: bool = True, by_it: bool = True
) -> bool:
    """Return whether a row `old` is excused, which a statement left after the last look at 5."""
    with simulation(given=[]) as world:
        warehouse = BigQueryClient(world, TABLE)
        table = warehouse.tables[TABLE]
        owner, other = actor(world, crashed=crashed), actor(world, crashed=False)
        change = Replace(TABLE, lambda row: True, [{"value": "old"}])
        merge = Merge("replace_models", change, owner, table, asked=2.0, ended=ended, state="done")
        table.ended.append(merge)
        table.rows.append(Row({"value": "old"}, 0, merge if by_it else None))
        warehouse.looks.append(Looked("recorded_models", {"key": ""}, owner, 1.0))
        warehouse.looks.append(Looked("recorded_models", {"key": ""}, other, 5.0))
        try:
            return check(warehouse, [wrong(right)]) == "the row is wrong"
        except Mismatch:
            return False


def actor(world: Any, *, crashed: bool) -> Actor:
    return Actor(world, "a", lambda: None, "a", True, lambda _: None, crashed=crashed, done=True)


def test_a_statement_that_ends_after_the_last_look_of_all_is_excused() -> None:
    assert excuses()


@pytest.mark.parametrize(
    "otherwise",
    [
        {"crashed": False},  # its own handler looked, or should have
        {"ended": 4.0},  # somebody has looked since
        {"right": False},  # it never was what the bucket had
        {"by_it": False},  # another statement left the row
    ],
    ids=str,
)
def test_every_other_wrong_row_is_a_fault(otherwise: dict[str, Any]) -> None:
    assert not excuses(**otherwise)


def test_nothing_is_excused_where_nothing_is_wrong() -> None:
    assert check(SimpleNamespace(), []) == ""  # type: ignore[arg-type]
