"""A refusal to read the input is "try again" only if time alone makes the snapshot readable."""

import datetime as dt
from types import SimpleNamespace
from typing import Any

import pytest
from google.api_core import exceptions

from mlsys.cloud.tables import TableRef
from mlsys.errors import (
    CloudUnavailable,
    Conflict,
    InvalidRequest,
    MlsysError,
    PermissionMissing,
    SchemaMismatch,
    TableNotFound,
    TryAgain,
)
from workers.scoring.shards import refusals
from workers.scoring.shards.refusals import why_denied, why_refused

TABLE = TableRef("my-project", "d", "people")


def refusal(
    monkeypatch: pytest.MonkeyPatch,
    *bad: str,
    age: float = 60,
    created: float | None = -30,
    ahead: float = 0,
    where: str | None = "age > 3",
    is_query: bool = False,
) -> Exception:
    """Return the error for a refused session whose `bad` parts (where, snapshot, table) are bad.

    `age` is the snapshot's in seconds by this machine's clock, `ahead` how far that clock is ahead
    of BigQuery's; `created` says in how many days the table was created, None that it was deleted.
    """
    now = dt.datetime.now(dt.UTC)
    table = None
    if created is not None:
        table = SimpleNamespace(created=now + dt.timedelta(days=created))
    monkeypatch.setattr(refusals, "find_table", lambda *_: table)
    time = now - dt.timedelta(seconds=ahead)
    monkeypatch.setattr(refusals, "select", lambda *_: [{"now": time}])
    at = now - dt.timedelta(seconds=age)
    plan: Any = SimpleNamespace(
        run_id="run",
        restriction=where,
        is_query=is_query,
        input_table=TABLE,
        snapshot_at=at.isoformat(),
    )

    def works(*, where: bool, snapshot: bool) -> bool:
        parts = {"table", *(["where"] if where else []), *(["snapshot"] if snapshot else [])}
        return not parts & set(bad)

    exc = exceptions.InvalidArgument("request failed: it names column `x`")
    return why_refused(SimpleNamespace(), plan, exc, works)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"bad": ["snapshot"], "age": 2}, TryAgain, "cannot be read as of"),
        ({"bad": ["snapshot"], "age": -2}, TryAgain, "cannot be read as of"),
        ({"bad": ["snapshot"], "age": 60, "ahead": 90}, TryAgain, "cannot be read as of"),
        ({"bad": [], "age": 60}, TryAgain, "cannot be read as of"),  # it became readable since
        ({"bad": ["snapshot"], "age": 60}, Conflict, "can no longer be read"),
        ({"bad": ["snapshot"], "age": 500}, Conflict, "can no longer be read"),
        ({"bad": ["snapshot"], "age": 2, "created": 30}, Conflict, "was re-created"),
        ({"bad": ["snapshot"], "age": 2, "created": None}, TableNotFound, "was deleted"),
        ({"bad": ["where"], "age": 2}, InvalidRequest, "(request failed: it names column `x`)"),
        ({"bad": ["where", "snapshot"], "age": 2}, InvalidRequest, "refuses it as a filter"),
        ({"bad": ["table"], "age": 2}, SchemaMismatch, "it names column `x`"),
        ({"bad": ["table", "where"], "age": 2}, SchemaMismatch, "it names column `x`"),
        ({"bad": ["table"], "age": 2, "where": None}, SchemaMismatch, "it names column `x`"),
        ({"bad": ["snapshot"], "age": 2, "where": None}, TryAgain, "cannot be read as of"),
        ({"bad": ["where"], "age": 2, "is_query": True}, InvalidRequest, "refuses it as a filter"),
        ({"bad": ["table"], "age": 2, "is_query": True}, SchemaMismatch, "it names column `x`"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_the_cause_of_a_refused_session_is_found(
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    error: type[MlsysError],
    words: str,
) -> None:
    found = refusal(monkeypatch, *options.pop("bad"), **options)
    assert type(found) is error
    assert words in str(found)


@pytest.mark.parametrize(
    ("exc", "error", "words"),
    [
        (
            exceptions.PermissionDenied(
                "the user does not have 'bigquery.readsessions.create' permission for 'projects/p'"
            ),
            PermissionMissing,
            "lacks bigquery.readsessions.create. Ask for the role roles/bigquery.readSessionUser",
        ),
        (
            exceptions.PermissionDenied(
                "Access Denied: User does not have full access for table due to row access policies"
            ),
            PermissionMissing,
            "FILTER USING (TRUE)",
        ),
        (exceptions.PermissionDenied("no"), PermissionMissing, "row-level security"),
        (
            exceptions.Forbidden("no", errors=[{"reason": "rateLimitExceeded"}]),
            CloudUnavailable,
            "try again",
        ),
    ],
)
def test_a_denied_session_names_the_permission_or_full_access(
    exc: exceptions.Forbidden, error: type[MlsysError], words: str
) -> None:
    found = why_denied(TABLE, exc)
    assert type(found) is error
    assert words in str(found)
    assert "my-project.d.people" in str(found)
