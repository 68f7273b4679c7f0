"""A run that stops anywhere resumes from its stored objects, and writes each row once."""

import dataclasses
import datetime as dt
import gc
import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import requests
from google.api_core.exceptions import ServiceUnavailable
from google.cloud.storage.exceptions import InvalidResponse
from google.cloud.storage.fileio import BlobWriter
from requests.exceptions import ConnectionError
from sklearn.linear_model import LinearRegression
from sklearn.tree import DecisionTreeRegressor

from mlsys.cloud.clients import Clients
from mlsys.cloud.tables import TableRef
from mlsys.errors import PredictionFailed, RunInterrupted, SchemaMismatch
from mlsys.local.bigquery import create_tables
from mlsys.local.stack import LocalStack
from mlsys.local.storage import create_buckets
from scoring_cases import Lab, unique
from workers.scoring.answers.status import status
from workers.scoring.engines.run import execute
from workers.scoring.journal.store import RunStore
from workers.scoring.planning.find_run import Prepared, prepare
from workers.scoring.planning.model_pin import load_pinned
from workers.scoring.planning.plan import Plan
from workers.scoring.publishing import publication
from workers.scoring.request.parsed import MaxRejects
from workers.scoring.shards import part, pool, read_rows, read_session
from workers.scoring.shards.chain import Chain
from workers.scoring.shards.part import Footer, read_footers
from workers.scoring.shards.read_session import current_session
from workers.scoring.shards.scorer import Scorer
from workers.scoring.shards.shard import score_shard

pytestmark = pytest.mark.usefixtures("environment")

ROWS = 60_000
FEATURES = ["a", "b", "c"]


def ramp(rows: int = ROWS) -> pd.DataFrame:
    random = np.random.default_rng(0).random((rows, 3))
    return pd.DataFrame(random, columns=FEATURES).assign(id=range(rows))


DATA = ramp()
MODEL = DecisionTreeRegressor(max_depth=12, random_state=0).fit(
    DATA[FEATURES].iloc[:5000], DATA["a"].iloc[:5000] * DATA["b"].iloc[:5000]
)

LONG = ramp(150_000)
SLOPE = LinearRegression().fit(LONG[FEATURES], LONG["a"])


@pytest.fixture(scope="module")
def lab(stack: LocalStack) -> Lab:
    return Lab(stack)


@pytest.fixture(scope="module")
def table(lab: Lab) -> str:
    """Return a table large enough for several streams."""
    return lab.put(DATA)


@pytest.fixture
def params(lab: Lab, table: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return a request whose run has several shards, scored in this process."""
    monkeypatch.setattr(read_session, "streams_to_request", lambda _: (4, 4))
    return lab.params(table, lab.upload(MODEL, DATA[FEATURES]))


def planned(lab: Lab, params: dict[str, str], run_id: str | None = None) -> Prepared:
    return prepare(lab.clients, lab.request(params), run_id)


def after_the_first_part(store: RunStore) -> Callable[[], bool]:
    """Return a function that tells a run to stop once it has a part."""
    return lambda: bool(store.parts(0) or store.parts(1))


def interrupted_run(lab: Lab, params: dict[str, str]) -> tuple[Prepared, dict[str, Any]]:
    """Stop a run after its first shard; return it with the progress that it reported."""
    prepared = planned(lab, params)
    with pytest.raises(RunInterrupted, match="repeat the same request") as caught:
        execute(lab.clients, prepared, stopping=after_the_first_part(prepared.store))
    return prepared, caught.value.progress


def generations(store: RunStore, number: int = 0) -> dict[str, int]:
    """Return the parts of a session with their generations."""
    gc.collect()  # so that a writer that was never closed would publish now
    return {name: int(blob.generation) for name, blob in store.parts(number).items()}


def assert_each_row_is_there_once(lab: Lab, params: dict[str, str]) -> None:
    rows = lab.rows(params["output_table"])
    assert rows["id"].tolist() == DATA["id"].tolist()
    np.testing.assert_array_equal(rows["prediction"], MODEL.predict(DATA[FEATURES]))


# Stopping and resuming


@pytest.mark.slow
def test_a_stopped_run_reports_its_progress_and_resumes_in_another_process(
    lab: Lab, params: dict[str, str]
) -> None:
    prepared, progress = interrupted_run(lab, params)
    first = generations(prepared.store)
    assert len(first) == 1
    done = sum(read_footers([blob])[0].counts.scored for blob in prepared.store.parts(0).values())
    expected = {"rows_done": done, "rows_total": ROWS, "shards_done": 1}
    assert 0 < done < ROWS
    assert progress.items() >= expected.items()
    assert progress["shards_total"] is None
    assert not lab.exists(params["output_table"])
    state = lab.http({"env": "dev"}, f"/runs/{prepared.plan.run_id}").json
    assert state.items() >= {"state": "running", **progress}.items()
    assert state["run_id"] == prepared.plan.run_id
    assert state["seconds"] > 0
    assert state["request"]["input_table"] == params["input_table"]
    result = lab.http(params).done()
    assert result["run_id"] == prepared.plan.run_id
    assert result["rows"] == ROWS
    assert not result["reused"]
    assert generations(prepared.store).items() >= first.items()
    assert_each_row_is_there_once(lab, params)
    state = lab.http({"env": "dev"}, f"/runs/{prepared.plan.run_id}").json
    assert state["state"] == "succeeded"
    assert state["rows_done"] == state["rows_total"] == ROWS
    assert state["shards_done"] == state["shards_total"] == result["shards"] == 4
    assert (result["streams"], result["streams_requested"]) == (4, 4)
    assert state["result"]["job_id"] == result["job_id"]


@pytest.mark.slow
def test_a_run_in_several_processes_stops_and_resumes(
    lab: Lab, params: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "INLINE_ROWS", 0)
    prepared, progress = interrupted_run(lab, params)
    assert 0 < progress["rows_done"] < ROWS
    first = generations(prepared.store)
    monkeypatch.undo()
    execute(lab.clients, planned(lab, params))
    assert generations(prepared.store).items() >= first.items()
    assert_each_row_is_there_once(lab, params)


def test_a_run_past_its_deadline_writes_no_part(lab: Lab, params: dict[str, str]) -> None:
    prepared = planned(lab, params)
    with pytest.raises(RunInterrupted) as caught:
        execute(lab.clients, prepared, deadline=time.monotonic() - 1)
    assert caught.value.progress["rows_done"] == 0
    assert caught.value.progress["rows_total"] == ROWS
    assert generations(prepared.store) == {}
    execute(lab.clients, prepared, deadline=time.monotonic() + 60)
    assert_each_row_is_there_once(lab, params)


@pytest.mark.slow
def test_a_service_that_is_stopping_answers_503_with_the_progress(
    stack: LocalStack, params: dict[str, str]
) -> None:
    lab = Lab(stack)
    lab.app.extensions["mlsys"].stopping.set()
    answer = lab.here(params)
    body = answer.problem(503, "run-interrupted", "repeat the same request")
    assert int(answer.headers["Retry-After"]) > 0
    assert body["progress"]["rows_done"] == 0
    assert body["progress"]["rows_total"] == ROWS
    lab.app.extensions["mlsys"].stopping.clear()
    lab.here(params).done()
    assert_each_row_is_there_once(lab, params)


def test_a_crash_between_the_last_part_and_the_load_loses_nothing(
    lab: Lab, params: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*args: Any) -> None:
        raise KeyboardInterrupt

    prepared = planned(lab, params)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(publication, "publish_output", crash)
        execute(lab.clients, prepared)
    parts = generations(prepared.store)
    assert not lab.exists(params["output_table"])
    assert lab.here({"env": "dev"}, f"/runs/{prepared.plan.run_id}").json["rows_done"] == ROWS
    assert lab.http(params).done()["job_id"].endswith("_0")
    assert generations(prepared.store) == parts
    assert_each_row_is_there_once(lab, params)


def test_a_crash_between_the_load_and_the_result_duplicates_nothing(
    lab: Lab, params: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    create = RunStore.create

    def crash(self: RunStore, name: str, value: Any) -> bool:
        if name == "result.json":
            raise KeyboardInterrupt
        return create(self, name, value)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(RunStore, "create", crash)
        execute(lab.clients, planned(lab, params))
    assert lab.count(params["output_table"]) == ROWS
    assert lab.http(params).done()["job_id"].endswith("_0")
    assert_each_row_is_there_once(lab, params)


def test_a_failed_load_is_retried_under_the_next_job_id(lab: Lab, params: dict[str, str]) -> None:
    prepared = planned(lab, params)
    lab.create({"in_the_way": "DATE"}, params["output_table"])
    with pytest.raises(SchemaMismatch, match="another output_table"):
        execute(lab.clients, prepared)
    state = status(lab.clients, "dev", prepared.plan.run_id)
    assert state["state"] == "failed"
    assert state["rows_done"] == ROWS
    lab.clients.bigquery.delete_table(params["output_table"], timeout=30)
    assert lab.http(params).done()["job_id"].endswith("_1")
    assert_each_row_is_there_once(lab, params)


# Sessions


@pytest.mark.slow
def test_an_expired_session_is_replaced_and_its_parts_are_ignored(
    lab: Lab, params: dict[str, str]
) -> None:
    prepared, _ = interrupted_run(lab, params)
    opened = prepared.store.read("session-0.json")
    assert opened is not None
    past = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=1)
    gone = [name + "-gone" for name in opened["streams"]]
    prepared.store.note(
        "session-0.json", opened | {"expires_at": past.isoformat(), "streams": gone}
    )
    result = lab.here(params).done()
    assert result["run_id"] == prepared.plan.run_id
    assert len(generations(prepared.store, 0)) == 1
    assert len(generations(prepared.store, 1)) == result["shards"]
    assert prepared.store.read("session-2.json") is None
    assert_each_row_is_there_once(lab, params)


@pytest.mark.slow
def test_a_session_that_expires_within_minutes_is_not_used(
    lab: Lab, params: dict[str, str]
) -> None:
    prepared = planned(lab, params)
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=5)
    value = {"number": 0, "streams": ["gone"], "expires_at": soon.isoformat(), "rows": 1}
    assert prepared.store.create("session-0.json", value)
    assert current_session(lab.clients, prepared.store, prepared.plan).number == 1
    lab.here(params).done()
    assert generations(prepared.store, 0) == {}
    assert_each_row_is_there_once(lab, params)


def test_progress_counts_only_the_last_session(lab: Lab, params: dict[str, str]) -> None:
    prepared, _ = interrupted_run(lab, params)
    value = {"number": 1, "streams": ["a", "b"], "expires_at": None, "rows": ROWS}
    prepared.store.note("session-1.json", value)
    state = lab.here({"env": "dev"}, f"/runs/{prepared.plan.run_id}").json
    assert (state["rows_done"], state["shards_done"], state["shards_total"]) == (0, 0, None)


# Parts


@pytest.fixture(scope="module")
def long_table(lab: Lab) -> str:
    """Return a table of three batches, whose part is more than one request to Cloud Storage."""
    return lab.put(LONG)


def one_long_shard(lab: Lab, table: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return a request whose only part is uploaded in several chunks."""
    monkeypatch.setattr(part, "CHUNK_BYTES", 256 * 1024)
    monkeypatch.setattr(read_session, "streams_to_request", lambda _: (1, 1))
    return lab.params(table, lab.upload(SLOPE, LONG[FEATURES]))


@pytest.mark.slow
@pytest.mark.parametrize("chunk", [1, 3])
def test_a_part_that_a_concurrent_caller_has_written_is_kept(
    lab: Lab, long_table: str, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    """fake-gcs-server accepts a resumable upload whatever its precondition; GCS refuses it.

    https://cloud.google.com/storage/docs/request-preconditions
    """
    prepared = planned(lab, one_long_shard(lab, long_table, monkeypatch))
    store, plan = prepared.store, prepared.plan
    opened = current_session(lab.clients, store, plan)
    scorer = Scorer(plan, lambda: load_pinned(lab.clients, plan.model), prepared.model)
    counts = score_shard(lab.clients, store, opened, Chain(0), scorer, MaxRejects())
    first = generations(store)
    blob = store.parts(0)[store.part_name(0, 0, 0)]
    assert blob.size > 4 * part.CHUNK_BYTES
    [footer] = read_footers([blob])
    assert dataclasses.replace(footer, profile="", contract=None) == Footer(
        counts, None, scorer.predictor.path, opened.streams[0]
    )
    assert (counts.read, counts.scored, counts.rejected) == (len(LONG), len(LONG), 0)
    calls = break_off(monkeypatch, refusal(412), chunk)
    score_shard(lab.clients, store, opened, Chain(0), scorer, MaxRejects())
    assert len(calls) == chunk
    assert generations(store) == first


def refusal(status: int) -> InvalidResponse:
    """Return the client library's error for an answer with that status during an upload."""
    response = requests.Response()
    response.status_code = status
    response.request = requests.Request("PUT", "https://storage.googleapis.com/upload").prepare()
    return InvalidResponse(response, "Request failed with status code", status)


def break_off(monkeypatch: pytest.MonkeyPatch, exc: Exception, chunk: int) -> list[int]:
    """Make uploads fail from their `chunk`-th request on; return a list with one item a request."""
    upload = BlobWriter._upload_chunks_from_buffer
    calls: list[int] = []

    def broken(self: BlobWriter, chunks: int) -> None:
        calls.append(chunks)
        if len(calls) >= chunk:
            raise exc
        upload(self, chunks)

    monkeypatch.setattr(BlobWriter, "_upload_chunks_from_buffer", broken)
    return calls


@pytest.mark.slow
@pytest.mark.parametrize(
    ("exc", "chunk"),
    [(ConnectionError("the line is dead"), 1), (ConnectionError("it is"), 3), (refusal(503), 2)],
)
def test_an_interrupted_upload_leaves_no_part(
    lab: Lab, long_table: str, monkeypatch: pytest.MonkeyPatch, exc: Exception, chunk: int
) -> None:
    params = one_long_shard(lab, long_table, monkeypatch)
    prepared = planned(lab, params)
    with monkeypatch.context() as patched:
        break_off(patched, exc, chunk)
        lab.here(params).problem(503, "503")
        assert generations(prepared.store) == {}
    assert not lab.exists(params["output_table"])
    assert lab.here(params).done()["rows"] == len(LONG)
    assert lab.rows(params["output_table"])["id"].tolist() == LONG["id"].tolist()


@pytest.mark.slow
def test_a_model_that_raises_in_the_middle_of_a_shard_leaves_no_part(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    holes = LONG.copy()
    holes.loc[holes.index[-1], "c"] = np.nan
    params = one_long_shard(lab, lab.put(holes), monkeypatch)
    prepared = planned(lab, params)
    heard: list[int] = []
    write = part.PartWriter.write

    def seen(self: part.PartWriter, rows: Any) -> None:
        heard.append(rows.num_rows)
        write(self, rows)

    monkeypatch.setattr(part.PartWriter, "write", seen)
    with pytest.raises(PredictionFailed, match="Columns with NULLs: c"):
        execute(lab.clients, prepared)
    assert 0 < sum(heard) < len(LONG)
    assert generations(prepared.store) == {}
    assert not lab.exists(params["output_table"])


def test_parts_hold_the_planned_columns_and_the_number_of_rows_read(
    lab: Lab, params: dict[str, str]
) -> None:
    lab.here(params).done()
    store = planned(lab, params).store
    rows = 0
    for blob in store.parts(0).values():
        counts = read_footers([blob])[0].counts
        assert counts.read == counts.scored
        assert counts.bytes >= 8 * 4 * counts.read
        rows += counts.scored
        with blob.open("rb") as file:
            names = pq.read_schema(file).names
        assert names == [c.name for c in planned(lab, params).plan.output.columns]
    assert rows == ROWS


def test_a_part_has_large_row_groups_and_a_dictionary_of_texts(
    lab: Lab, long_table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = planned(lab, one_long_shard(lab, long_table, monkeypatch))
    execute(lab.clients, prepared)
    [blob] = prepared.store.parts(0).values()
    with blob.open("rb") as file:
        found = pq.ParquetFile(file)
        groups = [found.metadata.row_group(i) for i in range(found.num_row_groups)]
        assert [group.num_rows for group in groups] == [
            part.GROUP_ROWS,
            len(LONG) - part.GROUP_ROWS,
        ]
        columns = [groups[0].column(i) for i in range(groups[0].num_columns)]
        dictionaries = {c.path_in_schema for c in columns if c.has_dictionary_page}
        assert dictionaries == {"model_name", "model_version", "run_id"}
        assert found.schema_arrow.field("run_id").type == pa.string()


def packed(batch: pa.RecordBatch) -> bytes:
    """Return the batch as BigQuery sends it when LZ4 was requested."""
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.ipc.new_stream(sink, batch.schema, options=options) as writer:
        writer.write_batch(batch)
    messages = pa.ipc.MessageReader.open_stream(sink.getvalue())
    assert messages.read_next_message().type == "schema"
    return messages.read_next_message().serialize().to_pybytes()


def test_compressed_messages_are_decompressed(
    lab: Lab, params: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """BigQuery may compress less well than is possible: the messages are compressed again here."""
    client = lab.clients.bigquery_read
    create, read = client.create_read_session, client.read_rows
    asked: list[Any] = []
    sizes: list[tuple[int, int]] = []

    def creating(request: Any, **given: Any) -> Any:
        options = request.read_session.read_options.arrow_serialization_options
        asked.append(options.buffer_compression.name)
        return create(request, **given)

    def packing(stream: str, offset: int) -> Any:
        schema = None
        for message in read(stream, offset):
            if schema is None:
                schema = pa.ipc.read_schema(pa.py_buffer(message.arrow_schema.serialized_schema))
            content = message.arrow_record_batch.serialized_record_batch
            less = packed(pa.ipc.read_record_batch(pa.py_buffer(content), schema))
            sizes.append((len(content), len(less)))
            message.arrow_record_batch.serialized_record_batch = less
            yield message

    with monkeypatch.context() as patched:
        patched.setattr(client, "create_read_session", creating)
        patched.setattr(client, "read_rows", packing)
        lab.here(params).done()
    assert asked == ["LZ4_FRAME"]
    assert sizes and all(after <= before for before, after in sizes)
    assert "lz4" in {each.codec for each in lab.stack.rules.read_api.sessions.values()}
    assert_each_row_is_there_once(lab, params)


# The status of a run


def test_an_unknown_run_is_not_found(lab: Lab) -> None:
    run_id = unique("nobody")
    lab.http({"env": "dev"}, f"/runs/{run_id}").problem(404, "run-not-found", run_id)


@pytest.mark.parametrize(
    ("path", "query", "named"),
    [
        ("/runs/UPPER", {"env": "dev"}, "run_id"),
        ("/runs/some-run", {}, "env"),
        ("/runs/some-run", {"env": "prod"}, "env"),
        ("/runs/some-run", {"env": "dev", "x": "1"}, "x"),
        ("/runs", {"env": "dev", "state": "running", "sort": "rows"}, "sort"),
        ("/runs", {"env": "dev", "state": "running", "after": "1.a-run"}, "after"),
        ("/runs", {"env": "dev", "months": "3"}, "months"),
    ],
)
def test_a_malformed_query_of_a_run_is_refused(
    lab: Lab, path: str, query: dict[str, str], named: str
) -> None:
    body = lab.here(query, path).problem(400, "invalid-request")
    assert [p["name"] for p in body["parameters"]] == [named]


def test_a_run_tells_all_of_its_request_and_how_many_rows_it_may_set_aside_in_the_end(
    lab: Lab,
) -> None:
    table = lab.put(DATA.head(3).assign(a=[0.5, np.nan, 0.5]))
    model = LinearRegression().fit(DATA[FEATURES], DATA["a"])
    params = lab.params(table, lab.upload(model, DATA[FEATURES]))
    beside = {"contract": "warn", "engine": "service", "max_bytes": "5000000", "max_cost": "0.50"}
    beside |= {"profile": "false", "allow_rejected": "true"}
    run_id = unique("run")
    lab.here(params | beside | {"run_id": run_id}).problem(422, "prediction-failed")

    def told() -> dict[str, str]:
        request: dict[str, str] = lab.here({"env": "dev"}, f"/runs/{run_id}").json["request"]
        return request

    assert told() == params | beside
    lab.here(params | {"run_id": run_id, "max_rejects": "50%"}).done()
    del beside["contract"]  # the last request enforced it
    assert told() == params | beside | {"max_rejects": "50%"}
    again = lab.here(told() | {"run_id": run_id}).done()
    assert (again["reused"], again["rows_rejected"]) == (True, 1)
    page = lab.here({}, f"/ui/runs/{run_id}.json").json
    assert page["repeat"] | {"env": "dev"} == told()
    assert "profile=False" in page["calls"]["Notebook"]


def test_a_run_without_a_session_reports_no_progress(lab: Lab, params: dict[str, str]) -> None:
    prepared = planned(lab, params)
    state = lab.here({"env": "dev"}, f"/runs/{prepared.plan.run_id}").json
    assert state["state"] == "running"
    assert (state["rows_done"], state["rows_total"]) == (0, ROWS)
    assert (state["shards_done"], state.get("shards_total")) == (0, None)


def test_a_plan_survives_the_round_trip_through_its_file(lab: Lab, params: dict[str, str]) -> None:
    prepared = planned(lab, params)
    assert Plan.from_dict(json.loads(json.dumps(prepared.plan.to_dict()))) == prepared.plan
    assert planned(lab, params).plan == prepared.plan


def test_a_run_keeps_the_model_it_was_planned_with(lab: Lab, params: dict[str, str]) -> None:
    run_id = unique("pinned")
    prepared = planned(lab, params, run_id)
    lab.upload(
        LinearRegression().fit(DATA[FEATURES], DATA["a"]), DATA[FEATURES], params["model_name"]
    )
    body = lab.here(params | {"run_id": run_id}).problem(404, "model-not-found", "was replaced")
    assert str(prepared.plan.model.generation) in body["detail"]
    assert not lab.exists(params["output_table"])


# Ownership


@pytest.mark.slow
def test_a_run_of_the_same_name_in_another_environment_is_another_run(
    lab: Lab, params: dict[str, str]
) -> None:
    """Environments can share a project, and job ids are unique in a project."""
    other = dataclasses.replace(
        lab.settings,
        envs=("dev", "staging"),
        models_buckets=(("staging", lab.settings.models_bucket("dev")),),
        runs_buckets=(("staging", unique("runs")),),
    )
    create_buckets(
        urlsplit(lab.settings.emulators.storage).port, lab.project, [other.runs_bucket("staging")]
    )
    clients = Clients(other)
    create_tables(clients, ["staging"])
    run_id = unique("same")
    first = execute(lab.clients, planned(lab, params, run_id))
    request = dataclasses.replace(
        lab.request(params),
        env="staging",
        output_table=TableRef.parse(
            lab.put(
                DATA[:0].assign(
                    prediction=0.0,
                    predicted_at=pd.Timestamp.now("UTC"),
                    model_name="",
                    model_version="",
                    run_id="",
                )
            )
        ),
    )
    second = execute(clients, prepare(clients, request, run_id))
    clients.bigquery.delete_dataset(other.dataset("staging"), delete_contents=True)
    assert first.job_id != second.job_id
    assert lab.count(str(request.output_table)) == ROWS


@pytest.mark.slow
def test_a_run_whose_objects_were_deleted_is_not_reported_as_done(
    lab: Lab, params: dict[str, str]
) -> None:
    params |= {"run_id": unique("deleted")}
    first = lab.here(params).done()
    bucket = lab.clients.storage.bucket(lab.settings.runs_bucket("dev"))
    for name in lab.objects(f"{params['run_id']}/"):
        bucket.blob(name).delete(timeout=30)
    again = lab.here(params).done()
    assert again["job_id"] != first["job_id"]
    assert lab.count(params["output_table"]) == 2 * ROWS


@pytest.mark.slow
def test_a_run_that_has_begun_to_publish_needs_neither_input_nor_model_nor_session(
    lab: Lab, params: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    params |= {"input_table": lab.put(DATA)}
    prepared = planned(lab, params, unique("decided"))
    create = RunStore.create

    def dying(self: RunStore, name: str, value: Any) -> bool:
        if name == "result.json":
            raise KeyboardInterrupt
        return create(self, name, value)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(RunStore, "create", dying)
        execute(lab.clients, prepared)
    lab.clients.bigquery.delete_table(params["input_table"], timeout=30)
    prepared.store.forget("session-0.json")
    models = lab.clients.storage.bucket(lab.settings.models_bucket("dev"))
    models.blob(f"{params['model_name']}/v1/model.pkl").delete(timeout=30)
    result = lab.here(params | {"run_id": prepared.plan.run_id}).done()
    assert result["rows"] == ROWS
    assert_each_row_is_there_once(lab, params)


def test_a_transient_error_does_not_fail_the_run(
    lab: Lab, params: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = planned(lab, params)
    with monkeypatch.context() as patch, pytest.raises(ServiceUnavailable):
        patch.setattr(
            lab.clients.bigquery_read,
            "create_read_session",
            lambda *_, **__: (_ for _ in ()).throw(ServiceUnavailable("not now")),
        )
        execute(lab.clients, prepared)
    assert prepared.store.read("failure.json") is None
    assert status(lab.clients, "dev", prepared.plan.run_id)["state"] == "running"


@pytest.mark.slow
def test_a_foreign_run_with_the_suffixed_name_is_skipped(lab: Lab, params: dict[str, str]) -> None:
    run_id = unique("mine")
    lab.here(params | {"run_id": f"{run_id}-2", "output_table": lab.name()}).done()
    lab.here(params | {"run_id": run_id}).done()
    lab.clients.bigquery.delete_table(params["output_table"], timeout=30)
    assert lab.here(params | {"run_id": run_id}).done()["run_id"] == f"{run_id}-3"


@pytest.mark.slow
def test_a_run_id_too_long_for_a_suffix_is_refused(lab: Lab, params: dict[str, str]) -> None:
    run_id = "x" * 128
    lab.here(params | {"run_id": run_id}).done()
    lab.clients.bigquery.delete_table(params["output_table"], timeout=30)
    lab.here(params | {"run_id": run_id}).problem(409, "conflict", "no suffix left")


def test_an_output_of_many_columns_is_scored_in_smaller_batches(
    lab: Lab, params: dict[str, str]
) -> None:
    plan = planned(lab, params).plan
    assert read_rows.batch_rows(plan) == read_rows.BATCH_ROWS
    wide = dataclasses.replace(plan.output, columns=plan.output.columns * 1000)
    rows = read_rows.batch_rows(dataclasses.replace(plan, output=wide))
    assert rows * 8 * len(wide.columns) <= read_rows.BATCH_BYTES
    assert 1000 < rows < 2000
