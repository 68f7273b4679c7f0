"""Rules of BigQuery that the local one does not keep, or that take days: simulated in a layer."""

import datetime as dt
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from google.api_core import exceptions
from google.cloud import bigquery
from google.cloud.bigquery_storage_v1 import types
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import KNeighborsRegressor

from mlsys.cloud.tables import TableRef
from mlsys.errors import Conflict, InvalidRequest, SchemaMismatch, TableNotFound, TryAgain
from mlsys.local.stack import LocalStack
from scoring_cases import Lab
from workers.scoring.answers.status import status
from workers.scoring.engines.run import execute
from workers.scoring.planning.find_run import prepare
from workers.scoring.request.parsed import ScoringRequest
from workers.scoring.shards import read_rows
from workers.scoring.shards import read_session as session

X = pd.DataFrame({"id": np.arange(40), "a": np.linspace(0, 1, 40), "b": np.linspace(3, -2, 40)})
MODEL = LinearRegression().fit(X[["a", "b"]], 2 * X["a"] - X["b"])


pytestmark = pytest.mark.usefixtures("environment")


@pytest.fixture(scope="module")
def lab(stack: LocalStack) -> Lab:
    return Lab(stack)


@pytest.fixture
def params(lab: Lab) -> dict[str, str]:
    return lab.params(lab.put(X), lab.upload(MODEL, X[["a", "b"]]))


def test_a_job_is_looked_up_in_its_location(
    lab: Lab, params: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """jobs.get finds a job outside the US and EU by its location alone.

    https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs/get
    """
    client = lab.clients.bigquery
    get_job, load = client.get_job, client.load_table_from_uri
    locations: list[Any] = []

    def get(job_id: str, *, location: str | None = None, **options: Any) -> Any:
        locations.append(location)
        if location is None:
            raise exceptions.NotFound("no location")
        return get_job(job_id, **options)

    def start(uris: Any, table: Any, *, location: str | None = None, **options: Any) -> Any:
        locations.append(location)
        return load(uris, table, **options)

    monkeypatch.setattr(client, "get_job", get)
    monkeypatch.setattr(client, "load_table_from_uri", start)
    prepared = prepare(lab.clients, lab.request(params))
    result = execute(lab.clients, prepared)
    prepared.store.forget("result.json")  # as if the process had died just before it
    assert execute(lab.clients, prepared).job_id == result.job_id
    assert lab.count(params["output_table"]) == len(X)
    assert set(locations) == {prepared.plan.location} != {None}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("raised", "days", "expected", "words"),
    [
        pytest.param(
            exceptions.InvalidArgument("snapshot out of range"),
            8,
            Conflict,
            "was re-created",
            id="a snapshot older than time travel",
        ),
        pytest.param(
            exceptions.NotFound("gone"), 0, TableNotFound, "was deleted", id="a dropped table"
        ),
    ],
)
def test_a_run_whose_snapshot_expired_is_refused(
    lab: Lab,
    params: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    raised: Exception,
    days: int,
    expected: type[Exception],
    words: str,
) -> None:
    prepared = prepare(lab.clients, lab.request(params))
    then = dt.datetime.now(dt.UTC) - dt.timedelta(days=days)
    prepared = replace(prepared, plan=replace(prepared.plan, snapshot_at=then.isoformat()))

    create = lab.clients.bigquery_read.create_read_session

    def refuse(request: types.CreateReadSessionRequest, **options: Any) -> Any:
        if request.read_session.table_modifiers.snapshot_time:
            raise raised
        return create(request, **options)

    monkeypatch.setattr(lab.clients.bigquery_read, "create_read_session", refuse)
    with pytest.raises(expected, match=words):
        execute(lab.clients, prepared)
    state = status(lab.clients, "dev", prepared.plan.run_id)
    assert state["state"] == "failed"
    assert words in state["failure"]["detail"]


def test_a_snapshot_ahead_of_bigquerys_clock_is_retried(
    lab: Lab, params: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = prepare(lab.clients, lab.request(params))

    create = lab.clients.bigquery_read.create_read_session

    def refuse(request: types.CreateReadSessionRequest, **options: Any) -> Any:
        if request.read_session.table_modifiers.snapshot_time:
            raise exceptions.InvalidArgument("snapshot in the future")
        return create(request, **options)

    with monkeypatch.context() as patch:
        patch.setattr(lab.clients.bigquery_read, "create_read_session", refuse)
        with pytest.raises(TryAgain, match="yet"):
            execute(lab.clients, prepared)
    assert execute(lab.clients, prepared).rows == len(X)


def test_a_session_that_ends_while_it_is_read_is_replaced(
    lab: Lab, params: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restart of the local stack does so: its sessions do not say when they expire."""
    prepared = prepare(lab.clients, lab.request(params))
    first = session.current_session(lab.clients, prepared.store, prepared.plan)
    read = lab.clients.bigquery_read.read_rows

    def over(stream: str, offset: int = 0, **options: Any) -> Any:
        if stream in first.streams:
            raise exceptions.NotFound("no such session")
        return read(stream, offset, **options)

    monkeypatch.setattr(lab.clients.bigquery_read, "read_rows", over)
    with pytest.raises(TryAgain, match="has ended the read session"):
        execute(lab.clients, prepared)
    assert status(lab.clients, "dev", prepared.plan.run_id)["state"] == "running"
    assert execute(lab.clients, prepared).rows == len(X)
    assert prepared.store.parts(0) == {}
    assert len(prepared.store.parts(1)) == 1
    assert lab.count(params["output_table"]) == len(X)


def test_a_session_must_last_as_long_as_the_request_may() -> None:
    now = dt.datetime.now(dt.UTC)
    at_six = session.Session(0, ("s",), (now + dt.timedelta(hours=6)).isoformat(), 1)
    assert not at_six.expired(now + dt.timedelta(hours=1))
    assert at_six.expired(now + dt.timedelta(hours=7))
    assert not session.Session(0, ("s",), None, 1).expired(now)


def test_wide_rows_are_read_in_small_batches(
    lab: Lab, params: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = prepare(lab.clients, lab.request(params))
    opened = session.current_session(lab.clients, prepared.store, prepared.plan)
    monkeypatch.setattr(read_rows, "BATCH_BYTES", 200)  # a row has 24
    batches = list(read_rows.read_batches(lab.clients, opened, 0, 0, 65_536))
    assert sum(batch.num_rows for batch in batches) == len(X)
    assert max(batch.num_rows for batch in batches) <= 16
    assert len(batches) >= 3


def test_a_google_failure_is_reported_without_its_text_and_cleared_by_the_next_try(
    lab: Lab, params: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = prepare(lab.clients, lab.request(params))

    def forbid(*_: Any, **__: Any) -> Any:
        raise exceptions.Forbidden("secret words")

    with monkeypatch.context() as patch:
        patch.setattr(lab.clients.bigquery_read, "read_rows", forbid)
        with pytest.raises(exceptions.Forbidden):
            execute(lab.clients, prepared)
    state = status(lab.clients, "dev", prepared.plan.run_id)
    assert state["state"] == "failed"
    assert "Forbidden" in state["failure"]["detail"]
    assert "secret" not in state["failure"]["detail"]
    assert execute(lab.clients, prepared).rows == len(X)
    assert prepared.store.read("failure.json") is None
    assert status(lab.clients, "dev", prepared.plan.run_id)["state"] == "succeeded"


@pytest.mark.slow
def test_rows_that_another_run_has_replaced_are_written_again(
    lab: Lab, params: dict[str, str]
) -> None:
    other = lab.upload(LinearRegression().fit(X[["a", "b"]], X["a"]), X[["a", "b"]])
    params |= {"write_disposition": "WRITE_TRUNCATE"}
    first = lab.here(params).done()
    assert lab.here(params).done()["reused"]
    lab.here(params | {"model_name": other}).done()
    again = lab.here(params).done()
    assert not again["reused"]
    assert again["run_id"] == f"{first['run_id']}-2"
    rows = lab.rows(params["output_table"])
    assert set(rows["run_id"]) == {again["run_id"]}
    np.testing.assert_array_equal(rows["prediction"], MODEL.predict(X[["a", "b"]]))


def test_a_load_is_sent_with_the_existing_tables_schema(
    lab: Lab, params: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A load replaces the table's schema by its own, which must have the descriptions and modes."""
    fields = [
        bigquery.SchemaField("id", "INTEGER", "REQUIRED", description="The passenger"),
        bigquery.SchemaField("prediction", "FLOAT"),
        bigquery.SchemaField("predicted_at", "TIMESTAMP"),
        bigquery.SchemaField("model_name", "STRING"),
        bigquery.SchemaField("model_version", "STRING"),
        bigquery.SchemaField("run_id", "STRING"),
        bigquery.SchemaField("note", "STRING", description="Ours"),
    ]
    table = bigquery.Table(params["output_table"], fields)
    lab.clients.bigquery.create_table(table, timeout=30)
    load = lab.clients.bigquery.load_table_from_uri
    brought: list[Any] = []
    dispositions = []

    def start(*args: Any, job_config: Any, **options: Any) -> Any:
        brought.extend(job_config.schema)
        dispositions.append(job_config.write_disposition)
        return load(*args, job_config=job_config, **options)

    monkeypatch.setattr(lab.clients.bigquery, "load_table_from_uri", start)
    lab.here(params | {"write_disposition": "WRITE_TRUNCATE"}).done()
    assert dispositions == ["WRITE_TRUNCATE_DATA"]
    loaded_fields = {f.name: (f.mode, f.description) for f in brought}
    assert loaded_fields["id"] == ("REQUIRED", "The passenger")
    assert loaded_fields["note"] == ("NULLABLE", "Ours")
    assert lab.rows(params["output_table"])["note"].isna().all()


def test_outputs_without_names_are_counted_by_the_golden_rows(lab: Lab) -> None:
    """A fitted KNeighborsRegressor does not store how many values it predicts for a row."""
    y = np.column_stack([X["a"], X["b"], X["a"] * 2])
    model = KNeighborsRegressor(3).fit(X[["a", "b"]], y)
    _, rows = lab.score(lab.put(X), lab.upload(model, X[["a", "b"]], y=y))
    values = rows[["prediction_0", "prediction_1", "prediction_2"]].to_numpy()
    np.testing.assert_array_equal(values, model.predict(X[["a", "b"]]))


def test_a_parameter_at_its_default_is_not_part_of_the_runs_identity() -> None:
    table, other = (TableRef.parse(f"my-project.d.{name}") for name in "io")
    plain = ScoringRequest("dev", table, other, "m", "v1")
    assert plain.to_dict() == {
        "env": "dev",
        "input_table": "my-project.d.i",
        "output_table": "my-project.d.o",
        "model_name": "m",
        "model_version": "v1",
    }
    request = ScoringRequest("dev", table, other, "m", "v1", ("id",), ("predict", "predict_proba"))
    assert request.to_dict() == plain.to_dict() | {
        "id_columns": "id",
        "outputs": "predict,predict_proba",
    }


@pytest.mark.parametrize(
    "error",
    [
        InvalidRequest(("a", "is missing"), ("b", "is wrong")),
        SchemaMismatch("The table does not fit.", [("a", "is missing")]),
        SchemaMismatch("The table does not fit."),
    ],
)
def test_an_error_can_be_pickled_between_processes(error: Exception) -> None:
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert vars(back) == vars(error)


def test_a_run_that_must_stop_leaves_its_load_job_running(
    lab: Lab, params: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    load = lab.clients.bigquery.load_table_from_uri
    stopping = False

    @contextmanager
    def unfinished() -> Iterator[None]:
        nonlocal stopping

        def start(*args: Any, **options: Any) -> Any:
            nonlocal stopping
            job = load(*args, **options)
            stopping = True
            monkeypatch.setattr(type(job), "done", lambda *_, **__: False)
            return job

        with monkeypatch.context() as patch:
            patch.setattr(lab.clients.bigquery, "load_table_from_uri", start)
            yield
        monkeypatch.undo()

    prepared = prepare(lab.clients, lab.request(params))
    with unfinished(), pytest.raises(TryAgain, match="is still running"):
        execute(lab.clients, prepared, stopping=lambda: stopping)
    assert execute(lab.clients, prepared).job_id.endswith("_0")
    assert lab.count(params["output_table"]) == len(X)
