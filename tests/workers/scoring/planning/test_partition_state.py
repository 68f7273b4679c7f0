"""What is known of a table's partitions, and what is not."""

import datetime as dt
from types import SimpleNamespace
from typing import Any

import pytest
from google.api_core.exceptions import Forbidden, ServiceUnavailable

from mlsys.cloud.tables import TableRef
from mlsys.errors import TryAgain
from workers.scoring.planning import lookup, partition_state
from workers.scoring.planning.lookup import Resolved, resolve
from workers.scoring.planning.model_pin import ModelPin
from workers.scoring.planning.partition_state import (
    PartitionState,
    partition_states,
    states_of_tables,
)

NAME = TableRef("my-project", "d", "t", "20261127")
NOON = dt.datetime(2020, 1, 1, 12, tzinfo=dt.UTC)
PIN = ModelPin("models", "churn/v3/model.pkl", 30, "AAAA==", "churn", "v3", 10)
TABLE: Any = SimpleNamespace(
    table_type="TABLE",
    schema=(),
    streaming_buffer=None,
    location=None,
    num_rows=50,
    modified=NOON,
    range_partitioning=None,
    time_partitioning=SimpleNamespace(field="day", type_="DAY"),
)
REQUEST: Any = SimpleNamespace(input_table=NAME, where=None, identity=dict)
CLIENTS: Any = SimpleNamespace(settings=SimpleNamespace(emulators=SimpleNamespace(bigquery=None)))


def answer(monkeypatch: pytest.MonkeyPatch, *answers: Any) -> list[str]:
    """Let BigQuery answer the queries so, one after the other, and return their list."""
    queries: list[str] = []

    def select(_: Any, sql: str, *__: Any) -> Any:
        queries.append(sql)
        given = answers[min(len(queries), len(answers)) - 1]
        if isinstance(given, Exception):
            raise given
        return [
            {"place": place[0] if place else 0, "partition_id": n, "total_rows": r, "modified": at}
            for n, r, at, *place in given
        ]

    monkeypatch.setattr(partition_state, "select", select)
    monkeypatch.setattr(lookup, "find_table", lambda *_: TABLE)
    monkeypatch.setattr(lookup, "find_model", lambda *_: PIN)
    return queries


def looked_up(monkeypatch: pytest.MonkeyPatch, *answers: Any) -> Resolved:
    answer(monkeypatch, *answers)
    return resolve(CLIENTS, REQUEST)


def test_a_partition_has_its_rows_and_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    queries = answer(monkeypatch, [("20261127", 7, NOON), (None, 1, NOON)])
    assert partition_states(CLIENTS, NAME, TABLE) == {"20261127": PartitionState(7, NOON)}
    assert "FROM `my-project`.`d`.INFORMATION_SCHEMA.PARTITIONS" in queries[0]


def test_two_tables_of_a_location_are_asked_for_by_one_query(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = TableRef("other", "e", "u")
    known = [("20261127", 7, NOON, 0), ("20261127", 8, NOON, 1), ("20261128", 9, NOON, 1)]
    queries = answer(monkeypatch, known)
    both = [(NAME, TABLE), (other, TABLE)]
    first, second = states_of_tables(CLIENTS, both)
    assert first == {"20261127": PartitionState(7, NOON)}
    assert second == {n: PartitionState(r, NOON) for n, r, *_ in known[1:]}
    [sql] = queries
    for dataset in ("`my-project`.`d`", "`other`.`e`"):
        assert f"FROM {dataset}.INFORMATION_SCHEMA.PARTITIONS" in sql

    def at(location: str, **more: Any) -> Any:
        return SimpleNamespace(**vars(TABLE) | {"location": location} | more)

    streamed = [(NAME, at("US", streaming_buffer=object())), (other, at("US"))]
    apart = [(NAME, at("US")), (other, at("EU"))]
    denied = Forbidden("Access Denied", errors=[{"reason": "accessDenied"}])
    mine, yours = [("20261127", 7, NOON)], [("20261127", 8, NOON)]
    one, two = ({"20261127": PartitionState(n, NOON)} for n in (7, 8))
    for tables, answers, states in (
        (streamed, [yours], [None, two]),
        (apart, [yours, mine], [one, two]),  # that of the EU first
        (both, [denied, mine, denied], [one, None]),
    ):
        queries = answer(monkeypatch, *answers)
        assert states_of_tables(CLIENTS, tables) == states
        assert len(queries) == len(answers)


def test_a_quota_that_refills_is_not_taken_for_a_lack_of_permission(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    busy = Forbidden("Quota exceeded", errors=[{"reason": "quotaExceeded"}])
    for passing in (busy, ServiceUnavailable("later")):
        with pytest.raises(type(passing)):
            looked_up(monkeypatch, passing)
    denied = Forbidden("Access Denied", errors=[{"reason": "accessDenied"}])
    assert looked_up(monkeypatch, denied).partition is None
    streamed = SimpleNamespace(**vars(TABLE) | {"streaming_buffer": object()})
    answer(monkeypatch, AssertionError("nothing is asked"))
    assert partition_states(CLIENTS, NAME, streamed) is None


def test_the_run_of_a_partition_follows_from_its_own_state(monkeypatch: pytest.MonkeyPatch) -> None:
    known = [("20261127", 7, NOON)]
    denied = Forbidden("Access Denied", errors=[{"reason": "accessDenied"}])
    first, unknown = looked_up(monkeypatch, known), looked_up(monkeypatch, denied)
    assert (first.rows, first.rows_exact) == (7, True)
    assert (unknown.rows, unknown.rows_exact) == (50, False)
    run_id, unknown_id = first.run_id, unknown.run_id
    monkeypatch.setattr(TABLE, "num_rows", 51)  # another partition was written
    assert looked_up(monkeypatch, known).run_id == run_id
    assert looked_up(monkeypatch, denied).run_id != unknown_id
    for other in ([("20261127", 8, NOON)], [("20261127", 7, NOON + dt.timedelta(1))], []):
        assert looked_up(monkeypatch, other).run_id != run_id
    empty = looked_up(monkeypatch, [])
    assert (empty.rows, empty.rows_exact) == (0, True)


def test_a_partition_that_is_written_meanwhile_is_looked_up_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    late, settled = [("20261127", 8, soon)], [("20261127", 9, NOON)]
    assert looked_up(monkeypatch, late, settled).partition == PartitionState(9, NOON)
    with pytest.raises(TryAgain, match=r"t\$20261127 was written each time"):
        looked_up(monkeypatch, late)
