"""The rows read are as many as the table has, or nothing is published."""

from types import SimpleNamespace
from typing import Any

import pytest
from google.api_core import exceptions

from mlsys.bq import TableRef
from mlsys.errors import Conflict, TryAgain
from workers.scoring.publishing import row_count
from workers.scoring.publishing.row_count import check_row_count
from workers.scoring.shards.session import Session

TABLE = TableRef("p", "d", "t")


class Store:
    """The objects of a run, in memory."""

    run_id, env = "run", "dev"

    def __init__(self) -> None:
        self.objects: dict[str, Any] = {}

    def parts(self, session: int) -> dict[str, Any]:
        return {}

    def read(self, name: str) -> Any:
        return self.objects.get(name)

    def create(self, name: str, value: Any) -> bool:
        return self.objects.setdefault(name, value) is value


class BigQuery:
    """A count of rows, and the queries that asked for it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:
        self.queries: list[str] = []

        def select(notes: Any, clients: Any, sql: str) -> Any:
            self.queries.append(sql)
            if isinstance(answer, Exception):
                raise answer
            return [{"n": answer}]

        monkeypatch.setattr(row_count, "select_for", select)


def checked(
    store: Any, read: int, exact: bool = True, number: int = 0, local: bool = False, **plan: Any
) -> None:
    clients: Any = SimpleNamespace(
        settings=SimpleNamespace(
            emulators=SimpleNamespace(bigquery="http://x" if local else None),
            dataset=lambda env: f"p.mlsys_{env}",
        )
    )
    planned: Any = {"run_id": "run", "token": "t", "input_table": TABLE, "is_copied": False}
    planned |= {"snapshot_at": "2026-11-28T12:00:00+00:00", "restriction": None} | plan
    session = Session(number, ("s",), None, 10, rows_exact=exact)
    check_row_count(clients, store, SimpleNamespace(**planned), session, read)  # type: ignore[arg-type]


def test_the_tables_number_of_rows_needs_no_query(monkeypatch: pytest.MonkeyPatch) -> None:
    bigquery = BigQuery(monkeypatch, 0)
    checked(Store(), 10)
    checked(Store(), 7, exact=False)  # a filter, or rows that are being streamed
    assert bigquery.queries == []


def test_another_number_is_right_if_the_snapshot_has_as_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bigquery, store = BigQuery(monkeypatch, 12), Store()
    checked(store, 12)
    assert store.objects == {}
    assert bigquery.queries == [
        "SELECT COUNT(*) AS n FROM `p.d.t` "
        "FOR SYSTEM_TIME AS OF TIMESTAMP '2026-11-28 12:00:00.000000+00'"
    ]


@pytest.mark.parametrize("read", [0, 9, 11])
@pytest.mark.parametrize("answer", [10, 12, exceptions.Forbidden("no"), exceptions.NotFound("no")])
def test_missing_and_repeated_rows_are_read_again_once(
    monkeypatch: pytest.MonkeyPatch, read: int, answer: Any
) -> None:
    BigQuery(monkeypatch, answer)
    store = Store()
    with pytest.raises(TryAgain, match=f"sent {read} of 1[02] rows of p.d.t"):
        checked(store, read)
    assert store.objects["session-0-over.json"]["kind"] == "rows"
    with pytest.raises(Conflict, match="run_id of your own"):
        checked(store, read, number=1)


@pytest.mark.parametrize("local", [True, False])
def test_the_rows_of_a_copy_are_counted_in_the_copy(
    monkeypatch: pytest.MonkeyPatch, local: bool
) -> None:
    bigquery = BigQuery(monkeypatch, 12)
    checked(Store(), 12, local=local, is_copied=True)
    assert bigquery.queries == ["SELECT COUNT(*) AS n FROM `p.mlsys_dev.view_rows_run_t`"]
