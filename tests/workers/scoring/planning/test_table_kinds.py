"""Tables that BigQuery reads or queries only in some ways: what planning says about each."""

from types import SimpleNamespace
from typing import Any

import pytest
from google.api_core.exceptions import BadRequest
from google.cloud.bigquery import Table, TableReference

from mlsys.cloud.tables import TableRef
from mlsys.errors import InvalidRequest, SchemaMismatch
from workers.scoring.planning import destination, lookup, still_counts
from workers.scoring.planning.destination import output_location
from workers.scoring.planning.lookup import Resolved, check_where
from workers.scoring.planning.partition_filter import (
    all_of,
    any_partition,
    partition_column,
    requires_filter,
)
from workers.scoring.planning.table_kinds import input_warnings, output_warnings

NAME = TableRef("my-project", "d", "t")
KINDS = {
    "VIEW": "is a VIEW",
    "MATERIALIZED_VIEW": "is a MATERIALIZED VIEW",
    "EXTERNAL": "is an EXTERNAL table",
    "SNAPSHOT": "is a table SNAPSHOT",
}
BY_DAY = {"timePartitioning": {"type": "DAY", "field": "day"}}
BY_ARRIVAL = {"timePartitioning": {"type": "DAY"}}
BY_RANGE = {
    "rangePartitioning": {"field": "id", "range": {"start": "0", "end": "9", "interval": "1"}}
}


def table(kind: str = "TABLE", **resource: Any) -> Table:
    """Return a table's resource as the API has it."""
    reference = TableReference.from_string(str(NAME)).to_api_repr()
    return Table.from_api_repr({"tableReference": reference, "type": kind, **resource})


def resolved(of: Table, where: str | None = None, partition: str | None = None) -> Any:
    """Return the look-up of a table for a request."""
    request = SimpleNamespace(input_table=NAME, where=where)
    is_query = Resolved.is_query.fget(SimpleNamespace(table=of))  # type: ignore[attr-defined]
    return SimpleNamespace(
        request=request,
        table=of,
        schema=(),
        is_query=is_query,
        partition_filter=partition,
        restriction=all_of(where, partition),
    )


@pytest.mark.parametrize(
    ("resource", "column"),
    [
        (BY_DAY | {"requirePartitionFilter": True}, "day"),
        (
            {"timePartitioning": BY_DAY["timePartitioning"] | {"requirePartitionFilter": True}},
            "day",
        ),
        (BY_ARRIVAL | {"requirePartitionFilter": True}, "_PARTITIONTIME"),
        (BY_RANGE | {"requirePartitionFilter": True}, "id"),
    ],
)
def test_a_required_filter_is_found_in_every_form(resource: dict[str, Any], column: str) -> None:
    found = table(**resource)
    assert requires_filter(found)
    assert partition_column(found) == column
    assert any_partition(found) == f"(`{column}` IS NULL OR `{column}` IS NOT NULL)"
    assert output_warnings(NAME, found, "WRITE_APPEND") == [
        f"{NAME} can be queried only with a condition on {column}, its partitioning column"
    ]


@pytest.mark.parametrize("resource", [{}, BY_DAY, BY_ARRIVAL, BY_RANGE])
def test_other_tables_require_no_filter(resource: dict[str, Any]) -> None:
    assert not requires_filter(table(**resource))
    assert output_warnings(NAME, table(**resource), "WRITE_TRUNCATE") == []


def test_a_filter_on_another_column_is_told_which_one_is_required(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    queries = []

    def dry_run(_: Any, sql: str) -> None:
        queries.append(sql)
        if "`day` IS NULL" not in sql or "nope" in sql:
            raise BadRequest("Cannot query over table 't' without a filter over column(s) 'day'")

    monkeypatch.setattr(lookup, "dry_run", dry_run)
    found = table(**BY_DAY, requirePartitionFilter=True)
    for where in (None, "age > 3"):
        with pytest.raises(InvalidRequest, match="pass a condition on day"):
            check_where(None, resolved(found, where))  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest, match="BigQuery refuses it as a filter .*no column nope"):
        check_where(None, resolved(found, "nope > 3"))  # type: ignore[arg-type]
    assert len(queries) == 4
    check_where(None, resolved(found, partition="`day` = x"))  # type: ignore[arg-type]
    assert len(queries) == 4


@pytest.mark.parametrize("fails", [False, True])
def test_the_rows_of_a_finished_run_are_found_where_a_filter_is_required(
    monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    found = table(**BY_DAY, requirePartitionFilter=True, creationTime="1")
    queries = []

    def select(_: Any, sql: str, *__: Any) -> Any:
        queries.append(sql)
        if fails:
            raise BadRequest("Unrecognized name: run_id")
        return [(1,)]

    monkeypatch.setattr(still_counts, "select", select)
    into = SimpleNamespace(table=NAME, write_disposition="WRITE_TRUNCATE")
    plan = SimpleNamespace(output=into, created_at="2026-01-01T00:00:00+00:00", run_id="run")
    result = SimpleNamespace(rows=1, output_created=found.created.isoformat())
    exists = still_counts._output_exists(None, plan, result, found)  # type: ignore[arg-type]
    assert exists is not fails
    assert queries[0].endswith("AND (`day` IS NULL OR `day` IS NOT NULL) LIMIT 1")


@pytest.mark.parametrize(("kind", "words"), KINDS.items())
def test_what_cannot_be_read_is_copied_and_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch, kind: str, words: str
) -> None:
    found = resolved(table(kind))
    assert found.is_query
    assert any(words in warning for warning in input_warnings(NAME, found.table, False))
    monkeypatch.setattr(destination, "find_table", lambda *_: found.table)
    with pytest.raises(SchemaMismatch, match=f"{words}: pass a table as output_table"):
        output_location(None, NAME)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "resource", [{}, {"cloneDefinition": {"cloneTime": "2026-01-01T00:00:00Z"}}]
)
def test_a_table_and_a_clone_are_read_and_written_as_they_are(
    monkeypatch: pytest.MonkeyPatch, resource: dict[str, Any]
) -> None:
    found = resolved(table(**resource, location="EU"))
    assert not found.is_query
    assert input_warnings(NAME, found.table, False) == []
    monkeypatch.setattr(destination, "find_table", lambda *_: found.table)
    assert output_location(None, NAME) == (found.table, "EU")  # type: ignore[arg-type]


def test_rows_that_are_being_streamed_are_named() -> None:
    streamed = table(streamingBuffer={"estimatedRows": "1200", "oldestEntryTime": "1"})
    (warning,) = input_warnings(NAME, streamed, False)
    assert "about 1,200 are in its streaming buffer" in warning
    assert "after the run has replaced" in output_warnings(NAME, streamed, "WRITE_TRUNCATE")[0]
    assert output_warnings(NAME, streamed, "WRITE_APPEND") == []
    assert output_warnings(NAME, None, "WRITE_TRUNCATE") == []
