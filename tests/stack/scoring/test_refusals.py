"""BigQuery's refusals to read: the cause is named, and only transient ones are a 503."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from google.api_core import exceptions
from google.cloud import bigquery
from google.cloud.bigquery_storage_v1 import types
from sklearn.linear_model import LinearRegression

from mlsys.errors import Conflict, SessionOver
from mlsys.local.stack import LocalStack
from scoring_cases import Lab, unique
from workers.scoring.engines.run import execute
from workers.scoring.planning.find_run import prepare
from workers.scoring.shards import read_session as session

pytestmark = pytest.mark.usefixtures("environment")

ROWS = 40


@pytest.fixture(scope="module")
def lab(stack: LocalStack) -> Lab:
    return Lab(stack)


@pytest.fixture
def plain(lab: Lab) -> dict[str, str]:
    data = pd.DataFrame({"id": range(ROWS), "a": np.linspace(0, 1, ROWS)})
    return lab.params(
        lab.put(data),
        lab.put_pickle(LinearRegression().fit(data[["a"]], data["a"])),
        id_columns="id",
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "error",
    [exceptions.InvalidArgument, exceptions.FailedPrecondition, exceptions.OutOfRange],
)
def test_a_refusal_that_is_not_about_the_snapshot_is_permanent(
    lab: Lab, plain: dict[str, str], monkeypatch: pytest.MonkeyPatch, error: Any
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise error("request failed: column `a` cannot be read")

    monkeypatch.setattr(lab.clients.bigquery_read, "create_read_session", refuse)
    verdict = lab.here(plain | {"dry_run": "true"}).json
    assert not verdict["ok"]
    assert "column `a` cannot be read" in verdict["problems"][0]["detail"]
    body = lab.here(plain).problem(422, "schema-mismatch", "column `a` cannot be read")
    assert plain["input_table"] in body["detail"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (exceptions.BadRequest("resources exceeded during query execution"), 422, "exceeded"),
        (exceptions.Forbidden("no", errors=[{"reason": "accessDenied"}]), 403, "permission"),
        (exceptions.Forbidden("no", errors=[{"reason": "quotaExceeded"}]), 503, "did not answer"),
        (exceptions.MethodNotImplemented("no"), 500, "could not be answered"),
    ],
)
def test_a_refused_copy_query_raises_the_matching_error(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, words: str
) -> None:
    data = pd.DataFrame({"id": range(ROWS), "first name": np.linspace(0, 1, ROWS)})
    model = lab.put_pickle(LinearRegression().fit(data[["first name"]], data["first name"]))
    params = lab.params(lab.put(data), model, id_columns="id")
    query = lab.clients.bigquery.query

    def refuse(sql: str, **options: Any) -> Any:
        if sql.startswith("CREATE TABLE"):
            raise error
        return query(sql, **options)

    monkeypatch.setattr(lab.clients.bigquery, "query", refuse)
    answer = lab.here(params)
    assert answer.status == status, answer.text
    assert words in answer.json["detail"]


def test_a_load_that_loses_rows_is_not_retried_forever(
    lab: Lab, plain: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bigquery.LoadJob, "output_rows", ROWS - 1)
    body = lab.here(plain).problem(409, "conflict", f"loaded {ROWS - 1} rows", "run_id of your own")
    assert plain["output_table"] in body["detail"]


def test_sessions_that_keep_ending_are_not_reopened_forever(
    lab: Lab, plain: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = prepare(lab.clients, lab.request(plain), unique("over"))

    def over(*_: Any, **__: Any) -> Any:
        raise exceptions.NotFound("no such session")

    monkeypatch.setattr(lab.clients.bigquery_read, "read_rows", over)
    monkeypatch.setattr(session, "MAX_SESSIONS", 2)
    for _ in range(2):
        with pytest.raises(SessionOver):
            execute(lab.clients, prepared)
    with pytest.raises(Conflict, match="2 read sessions"):
        execute(lab.clients, prepared)


def test_a_recreated_table_is_refused_without_a_retry(
    lab: Lab, plain: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = prepare(lab.clients, lab.request(plain), unique("again"))
    data = lab.rows(plain["input_table"])
    lab.clients.bigquery.delete_table(plain["input_table"], timeout=30)
    lab.put(data, plain["input_table"])
    create = lab.clients.bigquery_read.create_read_session

    def refuse(request: types.CreateReadSessionRequest, **options: Any) -> Any:
        if request.read_session.table_modifiers.snapshot_time:
            raise exceptions.InvalidArgument("no such version of the table")
        return create(request, **options)

    monkeypatch.setattr(lab.clients.bigquery_read, "create_read_session", refuse)
    with pytest.raises(Conflict, match="re-created"):
        execute(lab.clients, prepared)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (
            exceptions.ResourceExhausted("CLIENT: Sent message larger than max (9 vs. 8)"),
            422,
            "too large for a message",
        ),
        (exceptions.InvalidArgument("such a column is unknown"), 422, "such a column is unknown"),
        (exceptions.ResourceExhausted("Quota exceeded"), 503, "did not answer"),
        (exceptions.MethodNotImplemented("no"), 500, "could not be answered"),
        (exceptions.PermissionDenied("no"), 403, "lacks a permission"),
    ],
)
def test_a_refused_stream_raises_the_matching_error(
    lab: Lab,
    plain: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    status: int,
    words: str,
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(lab.clients.bigquery_read, "read_rows", refuse)
    answer = lab.here(plain)
    assert answer.status == status, answer.text
    assert words in answer.json["detail"]


@pytest.mark.slow
def test_rows_of_ordinary_width_are_read_from_the_local_bigquery(lab: Lab) -> None:
    """The server's own limit is 11 MB for a message of 65,536 rows."""
    rows = 3_000
    data = pd.DataFrame({"a": np.linspace(0, 1, rows), "id": [f"{i:010000}" for i in range(rows)]})
    model = lab.put_pickle(LinearRegression().fit(data[["a"]], data["a"]))
    result = lab.http(lab.params(lab.put(data), model, id_columns="id")).done()
    assert result["rows"] == rows
