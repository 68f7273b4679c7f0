"""A partition of the local BigQuery keeps its time until its rows differ."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import duckdb
import pytest

from mlsys.local.partition_times import Times

NAMES = {"project_id": "p", "dataset_id": "d", "table_id": "t"}


@dataclass(frozen=True)
class Partition:
    """A partition as bqemulator lists it: with the time of the table."""

    partition_id: str
    last_modified_time: int

    def model_copy(self, update: dict[str, Any]) -> "Partition":
        return replace(self, **update)


@pytest.fixture
def engine() -> Iterator[Any]:
    with duckdb.connect() as connection:
        connection.execute('CREATE SCHEMA "p__d"')
        # One column is named as an alias of the table would be.
        connection.execute('CREATE TABLE "p__d"."t" (day DATE, n BIGINT, t VARCHAR)')
        connection.execute(
            """INSERT INTO "p__d"."t" VALUES ('2026-11-26', 1, 'a'), ('2026-11-26', 1, 'a'),
            ('2026-11-27', 12, 'b'), (NULL, 25, 'c')"""
        )
        yield connection


BY_DAY = {"time_partitioning": SimpleNamespace(field="day", type="DAY"), "range_partitioning": None}
BY_N = {
    "time_partitioning": None,
    "range_partitioning": SimpleNamespace(field="n", start=0, interval=10),
}


@pytest.mark.parametrize(
    ("by", "names", "change", "changed"),
    [
        (BY_DAY, ["20261126", "20261127"], "UPDATE {} SET n = 13 WHERE n = 12", ["20261127"]),
        (BY_DAY, ["20261126", "20261127"], "DELETE FROM {} WHERE n = 1", []),
        (BY_DAY, ["20261126", "20261127"], "INSERT INTO {} VALUES ('2026-11-28', 1, 'd')", []),
        (BY_DAY, ["20261126", "20261127"], "INSERT INTO {} SELECT * FROM {} WHERE n = 1", None),
        (BY_N, ["0", "10", "20"], "UPDATE {} SET t = 'z' WHERE n = 25", ["20"]),
    ],
)
def test_only_the_partition_that_was_written_has_another_time(
    engine: Any, by: dict[str, Any], names: list[str], change: str, changed: list[str] | None
) -> None:
    times = Times(lambda _, table: [Partition(n, table.last_modified_time) for n in names])

    def listed(at: int) -> dict[str, int]:
        table = SimpleNamespace(**NAMES, **by, creation_time=0, last_modified_time=at)
        return {each.partition_id: each.last_modified_time for each in times(engine, table)}

    assert listed(1) == listed(2) == dict.fromkeys(names, 1)
    engine.execute(change.format(*['"p__d"."t"'] * 2))
    expected = ["20261126"] if changed is None else changed
    after = listed(3)
    kept = {name: 3 if name in expected else 1 for name in names}
    if "DELETE" in change:  # the partition is gone: it has the time of the table
        kept["20261126"] = 3
    assert after == kept
    assert listed(4) == kept | ({"20261126": 4} if "DELETE" in change else {})


def test_a_table_without_partitions_is_left_as_it_is(engine: Any) -> None:
    times = Times(lambda *_: (Partition("__NULL__", 5),))
    table = SimpleNamespace(**NAMES, time_partitioning=None, range_partitioning=None)
    assert times(engine, table) == (Partition("__NULL__", 5),)
