"""How a table is partitioned: which names, which rows, and which ranges fit."""

import datetime as dt
from typing import Any

import pytest
from google.cloud.bigquery import Table, TableReference

from mlsys.cloud.tables import TableRef
from mlsys.errors import InvalidRequest, SchemaMismatch
from workers.scoring.backfill.ranges import MAX_PARTITIONS, partitions_between
from workers.scoring.planning.columns import Column
from workers.scoring.planning.destination import Destination, output_destination
from workers.scoring.planning.partition import input_filter
from workers.scoring.planning.partition_filter import all_of
from workers.scoring.planning.partitioning import Partitioning

NOW = dt.datetime(2026, 11, 28, 3, tzinfo=dt.UTC)
NAME = TableRef("my-project", "d", "t")
RANGES = Partitioning("RANGE", "n", "INT64", -10, 95, 10)


def by_time(kind: str, of: str = "TIMESTAMP") -> Partitioning:
    return Partitioning(kind, "t", of)


def table(kind: str = "TABLE", **resource: Any) -> Table:
    """Return a table's resource as the API has it."""
    reference = TableReference.from_string(str(NAME)).to_api_repr()
    fields = [{"name": "Day", "type": "DATE"}, {"name": "n", "type": "INTEGER"}]
    about = {"tableReference": reference, "type": kind, "schema": {"fields": fields}}
    return Table.from_api_repr(about | resource)


@pytest.mark.parametrize(
    ("by", "name", "condition"),
    [
        (
            by_time("HOUR"),
            "2026112723",
            "`t` >= TIMESTAMP '2026-11-27 23:00:00+00' "
            "AND `t` < TIMESTAMP '2026-11-28 00:00:00+00'",
        ),
        (
            by_time("DAY", "DATETIME"),
            "20260228",
            "`t` >= DATETIME '2026-02-28 00:00:00' AND `t` < DATETIME '2026-03-01 00:00:00'",
        ),
        (
            by_time("MONTH", "DATE"),
            "202612",
            "`t` >= DATE '2026-12-01' AND `t` < DATE '2027-01-01'",
        ),
        (by_time("YEAR", "DATE"), "9999", "`t` >= DATE '9999-01-01'"),
        (
            Partitioning("DAY", None),
            "20261127",
            "_PARTITIONTIME >= TIMESTAMP '2026-11-27 00:00:00+00' "
            "AND _PARTITIONTIME < TIMESTAMP '2026-11-28 00:00:00+00'",
        ),
        (RANGES, "90", "`n` >= 90 AND `n` < 95"),
    ],
)
def test_a_partition_is_a_condition_on_its_column(
    by: Partitioning, name: str, condition: str
) -> None:
    assert by.fault(name, NOW) is None
    assert by.condition(name) == condition


@pytest.mark.parametrize(
    ("by", "name", "words"),
    [
        (by_time("DAY"), "2026112", "by day: pass a partition such as $20261128, not $2026112"),
        (by_time("HOUR"), "20261127", "by hour: pass a partition such as $2026112803"),
        (by_time("MONTH"), "202613", "by month"),
        (by_time("YEAR"), "0", "by year"),
        (RANGES, "15", "by n in ranges of 10 from -10 to 95: pass the first number of a range"),
        (RANGES, "100", "such as $0, not $100"),
        (RANGES, "007", "not $007"),
    ],
)
def test_a_name_of_no_partition_says_what_to_pass(by: Partitioning, name: str, words: str) -> None:
    assert words in (by.fault(name, NOW) or "")


@pytest.mark.parametrize(
    ("kind", "first", "last", "ends", "count"),
    [
        ("DAY", "2026-10-30", "2026-11-02", ("20261030", "20261102"), 4),
        ("DAY", "20261030", "20261102", ("20261030", "20261102"), 4),
        ("DAY", "2024-02", "2024-02", ("20240201", "20240229"), 29),
        ("HOUR", "2026-11-27", "2026-11-28T01", ("2026112700", "2026112801"), 26),
        ("MONTH", "2026-10-15", "2027-01", ("202610", "202701"), 4),
        ("YEAR", "2024", "2026-11-28", ("2024", "2026"), 3),
        ("HOUR", "9999-12-31", "9999", ("9999123100", "9999123123"), 24),
    ],
)
def test_a_range_is_all_partitions_between(
    kind: str, first: str, last: str, ends: tuple[str, str], count: int
) -> None:
    names = partitions_between(by_time(kind), first, last, NOW)
    assert (names[0], names[-1]) == ends
    assert len(names) == len(set(names)) == count
    assert names == sorted(names)


def test_a_range_of_numbers_is_by_their_first_ones() -> None:
    assert partitions_between(RANGES, "10", "40", NOW) == ["10", "20", "30", "40"]


@pytest.mark.parametrize(
    ("by", "first", "last", "words"),
    [
        (by_time("DAY"), "2026-13", "2026-11", "from: '2026-13' is not a time"),
        (by_time("MONTH"), "2026", "soon", "to: 'soon' is not a time: the input is partitioned by"),
        (by_time("DAY"), "2026-12-01", "2026-11-01", "to: '2026-11-01' lies before '2026-12-01'"),
        (by_time("DAY"), "0001-01-01", "2026-11-01", "from: '0001-01-01' is not a time"),
        (by_time("HOUR"), "2025", "2026", f"more than {MAX_PARTITIONS:,} partitions"),
        (RANGES, "15", "40", "from: the input is partitioned by n in ranges of 10"),
    ],
)
def test_a_range_that_does_not_fit_is_refused(
    by: Partitioning, first: str, last: str, words: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        partitions_between(by, first, last, NOW)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("resource", "partition", "condition"),
    [
        ({"timePartitioning": {"field": "day"}}, "20261127", "`day` >= DATE '2026-11-27'"),
        (
            {"timePartitioning": {"type": "MONTH"}},
            "202611",
            "_PARTITIONTIME >= TIMESTAMP '2026-11-01",
        ),
        (
            {
                "rangePartitioning": {
                    "field": "n",
                    "range": {"start": "0", "end": "50", "interval": "5"},
                }
            },
            "45",
            "`n` >= 45 AND `n` < 50",
        ),
    ],
)
def test_an_input_is_read_by_the_condition_of_its_partition(
    resource: dict[str, Any], partition: str, condition: str
) -> None:
    name = TableRef(NAME.project, NAME.dataset, NAME.table, partition)
    assert (input_filter(name, table(**resource), local=False) or "").startswith(condition)
    assert input_filter(NAME, table(**resource), local=False) is None


@pytest.mark.parametrize(
    ("of", "local", "words"),
    [
        (table(), False, "is not partitioned: pass input_table without the $"),
        (table("VIEW"), False, "is a VIEW, which has no partitions"),
        (table("EXTERNAL"), False, "is an EXTERNAL table, which has no partitions"),
        (table(timePartitioning={"type": "HOUR"}), False, "by hour: pass a partition such as"),
        (table(timePartitioning={"type": "DAY"}), True, "the local BigQuery does not keep"),
    ],
)
def test_an_input_without_such_a_partition_is_refused(of: Table, local: bool, words: str) -> None:
    name = TableRef(NAME.project, NAME.dataset, NAME.table, "20261127")
    with pytest.raises(SchemaMismatch) as refused:
        input_filter(name, of, local)
    assert words in str(refused.value)


def test_conditions_are_joined_so_that_neither_ends_the_other() -> None:
    assert all_of("a = 1 -- the first", None, "b = 2") == "(\na = 1 -- the first\n) AND (\nb = 2\n)"


COLUMNS = [Column("day", "DATE"), Column("predicted_at", "TIMESTAMP")]
BY_DAY = Partitioning("DAY", "Day", "DATE")


def created(partition: str, like: Partitioning | None, columns: list[Column]) -> Destination:
    """Return the destination of a run into a table that does not exist."""
    name = TableRef(NAME.project, NAME.dataset, NAME.table, partition)
    return output_destination(name, None, columns, "WRITE_TRUNCATE", NOW, like=like)


def test_a_new_table_gets_the_partitions_of_the_input() -> None:
    into = created("20261001", BY_DAY, COLUMNS)
    assert into.layout == {"timePartitioning": {"type": "DAY", "field": "Day"}}
    assert Destination.from_dict(into.to_dict()) == into
    assert created("20261001", Partitioning("DAY", None), COLUMNS).layout == {
        "timePartitioning": {"type": "DAY"}
    }
    numbers = [Column("n", "INT64"), *COLUMNS]
    assert created("10", RANGES, numbers).layout == {
        "rangePartitioning": {
            "field": "n",
            "range": {"start": "-10", "end": "95", "interval": "10"},
        }
    }


def test_a_new_table_is_partitioned_by_the_time_of_the_run_otherwise() -> None:
    assert created("20261128", None, COLUMNS).layout is None
    assert created("20261128", RANGES, COLUMNS).layout is None
    with pytest.raises(SchemaMismatch, match=r"the time of the run: pass \$20261128"):
        created("20261001", None, COLUMNS)
    with pytest.raises(SchemaMismatch, match="or add Day, which partitions the input"):
        created("20261001", BY_DAY, COLUMNS[1:])
