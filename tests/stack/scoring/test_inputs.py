"""Inputs that can be scored: tables as of one moment, the rows of a view, and filtered rows."""

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
import pytest
from google.api_core import exceptions
from google.cloud.bigquery_storage_v1 import types
from sklearn.linear_model import LinearRegression

from mlsys.cloud.tables import TableRef
from mlsys.errors import InvalidRequest
from mlsys.local.stack import LocalStack
from samples import sampled
from scoring_cases import Lab, unique
from workers.scoring.engines.run import execute
from workers.scoring.journal.store import RunStore
from workers.scoring.planning.find_run import prepare
from workers.scoring.shards import read_session as session

pytestmark = pytest.mark.usefixtures("environment")

ROWS = 100
X = pd.DataFrame({"a": np.linspace(0, 1, ROWS), "b": np.linspace(3, -2, ROWS)})
MODEL = LinearRegression().fit(X, X["a"] - X["b"])
DATA = X.assign(id=range(ROWS), city=["Rome", "Oslo"] * (ROWS // 2))


@pytest.fixture(scope="module")
def lab(stack: LocalStack) -> Lab:
    return Lab(stack)


@pytest.fixture
def params(lab: Lab) -> dict[str, str]:
    return lab.params(lab.put(DATA), lab.upload(MODEL, X))


def assert_scored(lab: Lab, params: dict[str, str], data: pd.DataFrame = DATA) -> None:
    rows = lab.rows(params["output_table"])
    assert rows["id"].tolist() == data["id"].tolist()
    if len(data):
        np.testing.assert_array_equal(rows["prediction"], MODEL.predict(data[["a", "b"]]))


# Filters


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "keep"),
    [
        ("id < 10", DATA["id"] < 10),
        ("city = 'Oslo' AND a > 0.5", (DATA["city"] == "Oslo") & (DATA["a"] > 0.5)),
        ("id < 0", DATA["id"] < 0),
        ("id < 10 OR id > 90", (DATA["id"] < 10) | (DATA["id"] > 90)),
    ],
)
def test_a_filter_may_name_any_column(
    lab: Lab, params: dict[str, str], where: str, keep: pd.Series
) -> None:
    params |= {"where": where}
    result = lab.http(params).done()
    assert result["rows"] == result["rows_read"] == keep.sum()
    assert_scored(lab, params, DATA[keep])
    assert lab.http(params).done() == result | {"reused": True}


@pytest.mark.slow
def test_a_different_filter_gives_a_new_run(lab: Lab, params: dict[str, str]) -> None:
    ids = {lab.here(params | w).done()["run_id"] for w in ({}, {"where": "id < 5"})}
    ids.add(lab.here(params | {"where": "id < 6"}).done()["run_id"])
    assert len(ids) == 3


@pytest.mark.parametrize(
    "where",
    sampled(
        [
            "nope < 3",
            "a <",
            "a < 3; DROP TABLE t",
            "1=1) UNION ALL SELECT * FROM (SELECT 1",
            "id IN (SELECT id FROM `mlsys-local.titanic.train`)",
            "city = 'Rome' AND rand() < 0.1",
            "DATE '2026-01-01' < current_date",
            "a < 3) OR (1=1",
            "a < 3) OR (b < 3",
            "((a < 3)",
            "a < 3 -- and more",
            "a < 3 # and more",
            "a < 3 /* and */",
        ],
        5,
        __file__,
    ),
)
def test_a_filter_that_is_not_a_condition_on_the_tables_columns_is_refused(
    lab: Lab, params: dict[str, str], where: str
) -> None:
    answer = lab.here(params | {"where": where})
    body = answer.problem(400, "invalid-request", "where", quotes=True)
    assert [p["name"] for p in body["parameters"]] == ["where"]
    assert not lab.exists(params["output_table"])


def test_a_refused_filter_names_the_missing_columns(
    lab: Lab, params: dict[str, str], view: str
) -> None:
    request = params | {"where": "idd < 3 AND city = 'nowhere' AND Aa > 1"}
    lab.here(request).problem(400, "invalid-request", "has no column Aa, idd")
    for dry_run in ("true", "false"):
        request = params | {"input_table": view, "where": "id IN (SELECT 1)", "dry_run": dry_run}
        assert "'SELECT' is not allowed in a filter" in lab.here(request).text


def test_a_filter_may_have_punctuation_in_its_literals(lab: Lab, params: dict[str, str]) -> None:
    params |= {"where": "city != 'a) # (' AND (id < 10 OR (id > 90))"}
    assert lab.here(params).done()["rows"] == 19


def test_a_filter_that_no_row_fulfils_gives_a_warning(lab: Lab, params: dict[str, str]) -> None:
    result = lab.here(params | {"where": "id < 0"}).done()
    drafted = "contract: row_count 1..: there are 0 rows"  # the contract that upload_model writes
    assert sorted(result["warnings"]) == [drafted, "no row matches where"]


@pytest.mark.parametrize("where", ["", "x" * 10_001])
def test_an_empty_or_overlong_filter_is_refused(
    lab: Lab, params: dict[str, str], where: str
) -> None:
    lab.here(params | {"where": where}).problem(400, "invalid-request", "where")


def test_a_filter_that_the_read_api_refuses_is_not_taken_for_a_bad_snapshot(
    lab: Lab, params: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row restrictions support less than SQL: a session can refuse what a dry run accepts.

    https://cloud.google.com/bigquery/docs/reference/storage/rpc/google.cloud.bigquery.storage.v1#tablereadoptions
    """
    create = lab.clients.bigquery_read.create_read_session
    restrictions: list[str] = []

    def refuse(request: types.CreateReadSessionRequest, **options: Any) -> Any:
        restrictions.append(request.read_session.read_options.row_restriction)
        if request.read_session.read_options.row_restriction:
            raise exceptions.InvalidArgument("row filter error")
        return create(request, **options)

    monkeypatch.setattr(lab.clients.bigquery_read, "create_read_session", refuse)
    prepared = prepare(lab.clients, lab.request(params | {"where": "id < 5"}))
    with pytest.raises(InvalidRequest, match="as a filter of"):
        execute(lab.clients, prepared)
    assert restrictions == ["id < 5", "id < 5", ""]  # also as of now, without the snapshot


def test_the_number_of_filtered_rows_is_unknown_before_the_run(
    lab: Lab, params: dict[str, str]
) -> None:
    prepared = prepare(lab.clients, lab.request(params | {"where": "id < 5"}))
    session.current_session(lab.clients, prepared.store, prepared.plan)
    state = lab.here({"env": "dev"}, f"/runs/{prepared.plan.run_id}").json
    assert state["rows_total"] is None
    assert state["shards_total"] is None


# Views


@pytest.fixture
def view(lab: Lab, params: dict[str, str]) -> str:
    return lab.view(
        f"SELECT id, a, b, CONCAT(city, '!') AS town FROM `{params['input_table']}` WHERE id < 60"
    )


def test_the_rows_of_a_view_are_scored(lab: Lab, params: dict[str, str], view: str) -> None:
    params |= {"input_table": view}
    result = lab.http(params).done()
    assert result["rows"] == 60
    assert_scored(lab, params, DATA[:60])
    assert any("VIEW" in w and "run_id" in w for w in result["warnings"])


@pytest.mark.slow
def test_a_filter_of_a_view_may_name_any_of_its_columns(
    lab: Lab, params: dict[str, str], view: str
) -> None:
    params |= {"input_table": view, "where": "town = 'Rome!'"}
    assert lab.here(params).done()["rows"] == 30
    assert_scored(lab, params, DATA[:60:2])


def test_each_request_for_a_view_is_a_new_run_unless_it_passes_a_run_id(
    lab: Lab, params: dict[str, str], view: str
) -> None:
    params |= {"input_table": view}
    first = lab.here(params).done()
    second = lab.here(params).done()
    assert first["run_id"] != second["run_id"]
    assert lab.count(params["output_table"]) == 120
    again = lab.here(params | {"run_id": second["run_id"]}).done()
    assert again == second | {"reused": True}
    assert lab.count(params["output_table"]) == 120


def test_a_dry_run_of_a_view_requires_the_run_id(
    lab: Lab, params: dict[str, str], view: str
) -> None:
    params |= {"input_table": view, "dry_run": "true"}
    found = lab.here(params).json
    assert found["ok"] and found["run_id_required"]
    assert found["rows"] is None
    assert not lab.here(params | {"run_id": found["run_id"]}).json["run_id_required"]


def test_a_views_rows_are_materialized_once(
    lab: Lab, params: dict[str, str], view: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resumed run reads the rows of its beginning, whatever the view would give now."""
    request = lab.request(params | {"input_table": view})
    prepared = prepare(lab.clients, request, unique("view"))
    first = session.current_session(lab.clients, prepared.store, prepared.plan)
    assert first.rows == 60
    lab.put(DATA.assign(id=DATA["id"] - 1000), params["input_table"], "WRITE_APPEND")
    prepared.store.forget("session-0.json")
    again = session.current_session(lab.clients, prepared.store, prepared.plan)
    assert again.rows == 60
    assert execute(lab.clients, prepared).rows == 60
    assert_scored(lab, params, DATA[:60])


def test_a_view_that_cannot_be_queried_is_refused(lab: Lab, params: dict[str, str]) -> None:
    table = lab.put(DATA)
    view = lab.view(f"SELECT id, a, b FROM `{table}`")
    lab.clients.bigquery.delete_table(table, timeout=30)
    lab.here(params | {"input_table": view}).problem(422, "schema-mismatch", view, "cannot query")


def test_a_view_is_read_without_a_snapshot_and_a_table_as_of_the_plans_snapshot(
    lab: Lab, params: dict[str, str], view: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = lab.clients.bigquery_read.create_read_session
    snapshots: dict[str, Any] = {}

    def record(request: types.CreateReadSessionRequest, **options: Any) -> Any:
        snapshots[request.read_session.table] = request.read_session.table_modifiers.snapshot_time
        return create(request, **options)

    monkeypatch.setattr(lab.clients.bigquery_read, "create_read_session", record)
    plan = prepare(lab.clients, lab.request(params)).plan
    lab.here(params).done()
    of_view = lab.here(params | {"input_table": view}).done()
    path = TableRef.parse(params["input_table"]).path
    assert snapshots[path] == dt.datetime.fromisoformat(plan.snapshot_at)
    [written] = snapshots.keys() - {path}
    assert f"/tables/view_rows_{of_view['run_id']}_" in written
    assert not snapshots[written]


# The snapshot


class TimeTravel:
    """A layer over the local BigQuery, which ignores `snapshot_time`: it reads from copies.

    A session sees the table as of its snapshot, whatever came later:
    https://cloud.google.com/bigquery/docs/reference/storage/rpc/google.cloud.bigquery.storage.v1#tablemodifiers
    """

    def __init__(self, lab: Lab, monkeypatch: pytest.MonkeyPatch, table: str) -> None:
        self.lab = lab
        self.table = table
        self.versions: list[tuple[dt.datetime, str]] = []
        self.create = lab.clients.bigquery_read.create_read_session
        monkeypatch.setattr(lab.clients.bigquery_read, "create_read_session", self.open)

    def put(self, rows: pd.DataFrame) -> None:
        """Replace the table's rows, and record the time."""
        self.lab.put(rows, self.table, "WRITE_TRUNCATE")
        copy = self.lab.put(rows)
        self.versions.append((dt.datetime.now(dt.UTC), copy))

    def open(self, request: types.CreateReadSessionRequest | None = None, **options: Any) -> Any:
        if request is None:  # the test's own
            return self.create(**options)
        if request.read_session.table == TableRef.parse(self.table).path:
            at = request.read_session.table_modifiers.snapshot_time
            seen = [copy for since, copy in self.versions if at is None or since <= at]
            if not seen:
                raise exceptions.InvalidArgument("before time travel")
            request.read_session.table = TableRef.parse(seen[-1]).path
        return self.create(request, **options)


@pytest.mark.slow
@pytest.mark.parametrize("session_expires", [False, True])
def test_an_input_that_changes_during_the_run_is_scored_as_of_its_start(
    lab: Lab, params: dict[str, str], monkeypatch: pytest.MonkeyPatch, session_expires: bool
) -> None:
    rows = 60_000
    random = np.random.default_rng(0).random((rows, 2))
    old = pd.DataFrame(random, columns=["a", "b"]).assign(id=range(rows))
    new = old.assign(id=old["id"] + rows, a=old["b"])
    monkeypatch.setattr(session, "streams_to_request", lambda _: (4, 4))
    history = TimeTravel(lab, monkeypatch, lab.put(old))
    history.put(old)
    params |= {"input_table": history.table}
    prepared = prepare(lab.clients, lab.request(params), unique("snapshot"))
    store: RunStore = prepared.store
    with pytest.raises(Exception, match="repeat the same request"):
        execute(lab.clients, prepared, stopping=lambda: bool(store.parts(0)))
    assert 1 <= len(store.parts(0)) < 4
    history.put(new)
    if session_expires:
        value = store.read("session-0.json")
        assert value is not None
        past = dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)
        store.note("session-0.json", value | {"expires_at": past.isoformat()})
    result = lab.here(params | {"run_id": prepared.plan.run_id}).done()
    assert result["rows"] == rows
    assert len(store.parts(1)) == (result["shards"] if session_expires else 0)
    assert_scored(lab, params, old)
