"""Which jobs the layer's BigQuery refuses; no server is needed."""

import pytest

from rules.job_checks import (
    DML,
    LOADS_A_DAY,
    bad_name,
    changed_table,
    elsewhere,
    read_tables,
    too_many_loads,
    too_many_statements,
    unfiltered,
)


@pytest.mark.parametrize(
    "names",
    [["a", "B", "größe", "first name", "2020", "a-b", "<=50K", "客户", "_x"], ["x" * 300], []],
)
def test_names_that_a_table_can_have_are_accepted(names: list[str]) -> None:
    assert bad_name(names) is None


@pytest.mark.parametrize(
    "names",
    [
        [""],
        ["x" * 301],
        ["_PARTITIONTIME"],
        ["_table_x"],
        ["__ROOT__a"],
        ["a", "A"],
        *([f"a{sign}b"] for sign in '!"$()*,./;?@[\\]^`{}~\n\t'),
    ],
)
def test_other_names_are_refused(names: list[str]) -> None:
    error = bad_name(names)
    assert error is not None
    assert error.reason == "invalid"


def test_only_ascii_letters_are_equal_without_their_case() -> None:
    assert bad_name(["straße", "strasse", "Größe", "GRÖSSE", "grÖße"]) is None
    assert bad_name(["größe", "Größe"]) is not None


@pytest.mark.parametrize(
    ("bucket", "dataset", "accepted"),
    [
        ("EU", "US", True),
        ("us-central1", "US", True),
        ("US-EAST4", "us-east4", True),
        ("EUROPE-WEST1", "EU", True),
        ("EU", "europe-west1", False),
        ("US", "us-east4", False),
        ("US", "EU", False),
        ("ASIA", "asia-northeast1", False),
    ],
)
def test_a_bucket_lies_where_the_dataset_lies(bucket: str, dataset: str, accepted: bool) -> None:
    error = elsewhere(bucket, dataset)
    assert (error is None) == accepted
    assert accepted or f"source: {bucket}, destination: {dataset}" in str(error)


def test_loads_and_statements_are_counted() -> None:
    assert too_many_loads(LOADS_A_DAY - 1, LOADS_A_DAY) is None
    assert "quotaExceeded" in str(too_many_loads(LOADS_A_DAY, LOADS_A_DAY))
    assert too_many_statements("t", DML, DML) is None
    assert "limit is 20" in str(too_many_statements("t", DML + 1, DML))


@pytest.mark.parametrize(
    ("sql", "table"),
    [
        ("SELECT 1", None),
        ("INSERT d.t VALUES (1)", None),
        ("UPDATE d.t SET a = 1 WHERE TRUE", "d.t"),
        ("\n delete from `p.d.t` WHERE TRUE", "p.d.t"),
        ("MERGE INTO `d`.`t` USING s ON FALSE", "d.t"),
    ],
)
def test_statements_that_change_rows_name_their_table(sql: str, table: str | None) -> None:
    assert changed_table(sql) == table


@pytest.mark.parametrize(
    ("sql", "accepted"),
    [
        ("SELECT * FROM d.t", False),
        ("SELECT * FROM `p.d.t` WHERE day > '2026-01-01'", True),
        ("SELECT * FROM (SELECT * FROM d.t WHERE a = 'day') WHERE day IS NOT NULL", False),
        ("SELECT * FROM d.t WHERE day = '2026-01-01' OR a = 1", False),
        ("UPDATE d.t SET a = 1 WHERE TRUE", False),
        ("DELETE FROM d.t WHERE day = '2026-01-01'", True),
        ("MERGE d.t USING d.t AS s ON FALSE WHEN NOT MATCHED THEN INSERT ROW", False),
        ("CREATE TABLE d.t (day DATE)", True),
        ("this is not SQL (", True),
    ],
)
def test_a_statement_filters_each_table_that_requires_it(sql: str, accepted: bool) -> None:
    errors = [
        unfiltered(".".join(parts), ["day"], condition)
        for parts, condition in read_tables(sql)
        if parts[-1] == "t"
    ]
    assert (not any(errors)) == accepted
