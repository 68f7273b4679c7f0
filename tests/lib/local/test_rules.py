"""The layer over the local servers refuses what Google Cloud refuses, and nothing else."""

import http.client
import io
import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.api_core import exceptions
from google.cloud import bigquery, storage
from google.cloud.storage.exceptions import InvalidResponse

from mlsys.local.stack import LocalStack
from proxy import name_call
from rules import Rules
from scoring_cases import Lab, unique
from strict_stack import Bare, StrictStack

ROWS = 3
CHUNK = 256 * 1024


@pytest.fixture(scope="module")
def rules(stack: LocalStack) -> Iterator[Rules]:
    with Rules(stack) as made:
        yield made


@pytest.fixture
def lab(stack: LocalStack) -> Lab:
    return Lab(stack)


@pytest.fixture
def blob(rules: Rules) -> storage.Blob:
    """Return an object that does not exist yet."""
    return rules.clients.storage.bucket("mlsys-runs-dev").blob(f"{unique('rules')}/part")


@pytest.fixture
def part(lab: Lab) -> str:
    """Return the address of a Parquet file of three rows."""
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pandas(pd.DataFrame({"id": range(ROWS)})), buffer)
    made = lab.clients.storage.bucket("mlsys-runs-dev").blob(f"{unique('rules')}/part")
    made.upload_from_string(buffer.getvalue())
    return f"gs://mlsys-runs-dev/{made.name}"


def load(rules: Rules | Bare, part: str, table: str, job_id: str) -> bigquery.LoadJob:
    config = bigquery.LoadJobConfig(
        source_format="PARQUET", schema=[bigquery.SchemaField("id", "INT64")]
    )
    return rules.clients.bigquery.load_table_from_uri(
        part, table, job_id=job_id, job_config=config, timeout=60
    )


def test_an_insert_whose_answer_was_lost_loads_no_row_twice(
    lab: Lab, stack: LocalStack, rules: Rules, part: str
) -> None:
    """The local BigQuery runs it all the same, and the client inserts it again."""
    assert isinstance(stack, StrictStack)
    table, job_id = lab.name(), unique("job")
    load(stack.bare, part, table, job_id).result(timeout=60)
    for clients in (stack.bare, rules):
        with pytest.raises(exceptions.Conflict) as refused:
            load(clients, part, table, job_id)
        assert refused.value.errors[0]["reason"] == "duplicate"
    assert lab.count(table) == ROWS
    found = rules.clients.bigquery.get_job(job_id, timeout=60)
    assert (found.state, found.error_result, found.output_rows) == ("DONE", None, ROWS)


@pytest.mark.parametrize("job_seconds", [0.0, 0.3])
def test_a_job_id_can_be_used_once(lab: Lab, rules: Rules, part: str, job_seconds: float) -> None:
    rules.job_seconds = job_seconds
    table, job_id = lab.name(), unique("job")
    first = load(rules, part, table, job_id)
    for _ in range(2):
        with pytest.raises(exceptions.Conflict) as refused:
            load(rules, part, table, job_id)
        assert refused.value.errors[0]["reason"] == "duplicate"
        first.result(timeout=60)
    assert lab.count(table) == ROWS
    record = rules.loads[job_id]
    assert (record.table, record.inserted, record.ran, record.succeeded) == (table, 3, 1, 1)
    load(rules, part, table, unique("job")).result(timeout=60)
    assert (lab.count(table), rules.succeeded(table)) == (2 * ROWS, 2)


def test_of_concurrent_inserts_of_one_job_id_one_runs(lab: Lab, rules: Rules, part: str) -> None:
    rules.job_seconds = 0.0
    table, job_id = lab.name(), unique("job")

    def insert(_: int) -> bool:
        try:
            return bool(load(rules, part, table, job_id).result(timeout=60))
        except exceptions.Conflict:
            return False

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(insert, range(8))) == 1
    assert lab.count(table) == ROWS


def test_a_slow_job_is_running_and_its_rows_appear_at_its_end(
    lab: Lab, rules: Rules, part: str
) -> None:
    rules.job_seconds = 1.0
    table, job_id = lab.name(), unique("job")
    assert load(rules, part, table, job_id).state == "RUNNING"
    assert rules.clients.bigquery.get_job(job_id, timeout=60).state == "RUNNING"
    assert not lab.exists(table)
    job = rules.clients.bigquery.get_job(job_id, timeout=60)
    assert job.result(timeout=60).output_rows == ROWS
    assert lab.count(table) == ROWS


def test_a_slow_job_can_fail(lab: Lab, rules: Rules) -> None:
    rules.job_seconds = 0.1
    job_id = unique("job")
    job = load(rules, f"gs://mlsys-runs-dev/{unique('nowhere')}", lab.name(), job_id)
    with pytest.raises(exceptions.GoogleAPICallError):
        job.result(timeout=60)
    assert rules.loads[job_id].succeeded == 0
    assert rules.clients.bigquery.get_job(job_id, timeout=60).error_result


def test_a_create_only_upload_is_refused_at_its_end_if_the_object_exists(
    blob: storage.Blob,
) -> None:
    first = blob.open("wb", chunk_size=CHUNK, if_generation_match=0)
    second = blob.open("wb", chunk_size=CHUNK, if_generation_match=0)
    for number, upload in enumerate((first, second), 1):
        upload.write(bytes([number]) * (CHUNK + 1))
    second.close()
    with pytest.raises(InvalidResponse) as refused:
        first.close()
    assert refused.value.response.status_code == 412
    assert blob.download_as_bytes() == b"\2" * (CHUNK + 1)
    assert "127.0.0.1" in blob.client._connection.API_BASE_URL


@pytest.mark.parametrize("resumable", [True, False])
def test_of_concurrent_create_only_uploads_one_succeeds(
    rules: Rules, blob: storage.Blob, resumable: bool
) -> None:
    def target() -> storage.Blob:
        return rules.clients.storage.bucket(blob.bucket.name).blob(blob.name)

    def upload(number: int) -> int:
        content = io.BytesIO(b"%d" % number)
        try:
            target().upload_from_file(content, size=None if resumable else 1, if_generation_match=0)
        except exceptions.PreconditionFailed:
            return -1
        return number

    for _ in range(5):
        with ThreadPoolExecutor(8) as pool:
            won = [n for n in pool.map(upload, range(8)) if n >= 0]
        assert [b"%d" % n for n in won] == [target().download_as_bytes()]
        target().delete()


def test_an_upload_without_a_precondition_overwrites(blob: storage.Blob) -> None:
    for content in (b"one", b"two"):
        with blob.open("wb") as upload:
            upload.write(content)
    assert blob.download_as_bytes() == b"two"


def test_the_last_request_of_an_upload_may_be_repeated(rules: Rules, blob: storage.Blob) -> None:
    """The first answer was lost: the upload answers as before, and does not run twice."""
    url = blob.create_resumable_upload_session(if_generation_match=0)
    address = urlsplit(url)
    assert f"http://{address.netloc}" == rules.settings.emulators.storage
    answers = []
    for _ in range(2):
        connection = http.client.HTTPConnection(address.netloc, timeout=60)
        connection.request(
            "PUT", f"{address.path}?{address.query}", b"one", {"Content-Range": "bytes 0-2/3"}
        )
        answer = connection.getresponse()
        answers.append((answer.status, json.loads(answer.read())["generation"]))
        connection.close()
    assert answers[0] == answers[1]
    assert answers[0][0] == 200


def test_an_interrupted_upload_leaves_no_object(rules: Rules, blob: storage.Blob) -> None:
    address = urlsplit(blob.create_resumable_upload_session(if_generation_match=0))
    connection = http.client.HTTPConnection(address.netloc, timeout=60)
    connection.putrequest("PUT", f"{address.path}?{address.query}")
    connection.putheader("Content-Range", "bytes 0-2999999/3000000")
    connection.putheader("Content-Length", "3000000")
    connection.endheaders(b"x" * 2_000_000)
    connection.close()
    time.sleep(0.2)
    assert not blob.exists()


def test_large_objects_pass_the_proxy_unchanged(blob: storage.Blob) -> None:
    content = os.urandom(20_000_000)
    with blob.open("wb", chunk_size=8 << 20, if_generation_match=0) as upload:
        upload.write(content)
    assert blob.download_as_bytes(checksum="crc32c") == content
    with blob.open("rb", chunk_size=CHUNK) as file:
        file.seek(-10, os.SEEK_END)
        assert file.read() == content[-10:]


def test_a_held_call_waits_until_it_is_released(rules: Rules, blob: storage.Blob) -> None:
    with ThreadPoolExecutor(1) as pool, rules.holding("PUT object") as held:
        uploading = pool.submit(blob.upload_from_file, io.BytesIO(b"x"))
        assert held.reached.wait(30)
        time.sleep(0.1)
        assert not uploading.done()
        held.release.set()
        uploading.result(30)


def test_a_load_from_a_bucket_that_lies_elsewhere_fails(lab: Lab, rules: Rules, part: str) -> None:
    rules.job_seconds = 0.0
    dataset = bigquery.Dataset(f"{lab.project}.{unique('eu').replace('-', '_')}")
    dataset.location = "EU"
    rules.clients.bigquery.create_dataset(dataset, timeout=60)
    table = f"{dataset.project}.{dataset.dataset_id}.t"
    bucket = rules.clients.storage.get_bucket("mlsys-runs-dev", timeout=60)
    assert bucket.location == "US"
    job_id = unique("job")
    with pytest.raises(exceptions.BadRequest, match="source: US, destination: EU"):
        load(rules, part, table, job_id).result(timeout=60)
    assert rules.loads[job_id].ran == 0
    assert rules.clients.bigquery.get_job(job_id, timeout=60).error_result["reason"] == "invalid"
    rules.bucket_locations["mlsys-runs-dev"] = "EUROPE-WEST1"
    try:
        bucket.reload(timeout=60)
        assert bucket.location == "EUROPE-WEST1"
        load(rules, part, table, unique("job")).result(timeout=60)
    finally:
        del rules.bucket_locations["mlsys-runs-dev"]


def test_a_load_into_columns_that_no_table_can_have_is_refused(
    lab: Lab, rules: Rules, part: str
) -> None:
    config = bigquery.LoadJobConfig(
        source_format="PARQUET", schema=[bigquery.SchemaField("a(b)", "INT64")]
    )
    with pytest.raises(exceptions.BadRequest, match="Invalid field name"):
        rules.clients.bigquery.load_table_from_uri(part, lab.name(), job_config=config, timeout=60)


def test_a_table_takes_so_many_loads_a_day(
    lab: Lab, rules: Rules, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules.job_seconds = 0.0
    monkeypatch.setattr(rules, "loads_a_day", 2)
    table = lab.name()
    for _ in range(2):
        load(rules, part, table, unique("job")).result(timeout=60)
    with pytest.raises(exceptions.Forbidden, match="exceeded quota for imports") as refused:
        load(rules, part, table, unique("job")).result(timeout=60)
    assert refused.value.errors[0]["reason"] == "quotaExceeded"
    load(rules, part, f"{table}_2", unique("job")).result(timeout=60)
    assert lab.count(table) == 2 * ROWS


def test_so_many_statements_change_a_table_at_once(
    lab: Lab, rules: Rules, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = lab.put(pd.DataFrame({"id": range(ROWS)}))
    sql = f"UPDATE `{table}` SET id = id + 1 WHERE TRUE"
    monkeypatch.setattr(rules, "statements_at_once", 0)
    with pytest.raises(exceptions.BadRequest, match="Too many DML statements outstanding"):
        rules.clients.bigquery.query(sql, timeout=60).result(timeout=60)
    monkeypatch.setattr(rules, "statements_at_once", 1)
    for _ in range(2):  # one after the other
        rules.clients.bigquery.query(sql, timeout=60).result(timeout=60)
    assert sorted(lab.rows(table)["id"]) == [2, 3, 4]


@pytest.mark.parametrize("by", ["request", "DDL"])
def test_a_query_filters_the_partitions_of_a_table_that_requires_it(
    lab: Lab, rules: Rules, by: str
) -> None:
    client, name = rules.clients.bigquery, lab.name()
    if by == "request":
        schema = [bigquery.SchemaField(column, "DATE") for column in ("day", "other")]
        made = bigquery.Table(name, schema)
        made.time_partitioning = bigquery.TimePartitioning(field="day")
        made.require_partition_filter = True
        client.create_table(made, timeout=60)
    else:
        client.query(
            f"CREATE TABLE `{name}` (day DATE, other DATE) PARTITION BY day "
            "OPTIONS (require_partition_filter = TRUE)"
        ).result(timeout=60)
    assert client.get_table(name, timeout=60).require_partition_filter
    client.query(f"INSERT `{name}` VALUES ('2026-02-01', NULL)").result(timeout=60)
    for sql in (f"SELECT * FROM `{name}`", f"DELETE FROM `{name}` WHERE other IS NULL"):
        with pytest.raises(exceptions.BadRequest, match="'day' that can be used for partition"):
            client.query(sql, timeout=60).result(timeout=60)
        with pytest.raises(exceptions.BadRequest, match="'day' that can be used for partition"):
            dry = bigquery.QueryJobConfig(dry_run=True)
            client.query(sql, job_config=dry, timeout=60)
    rows = client.query(f"SELECT * FROM `{name}` WHERE day > '2026-01-01'").result(timeout=60)
    assert rows.total_rows == 1


@pytest.mark.parametrize(
    ("method", "target", "body", "name"),
    [
        (
            "POST",
            "/bigquery/v2/projects/p/jobs?x=y",
            b'{"configuration": {"load": {}}}',
            "POST load",
        ),
        ("POST", "/bigquery/v2/projects/p/jobs", b'{"configuration": {"query": {}}}', "POST query"),
        ("GET", "/bigquery/v2/projects/p/jobs/mlsys_x_0?location=US", b"", "GET job"),
        ("GET", "/bigquery/v2/projects/p/datasets/d/tables/t", b"", "GET table"),
        ("GET", "/bigquery/v2/projects/p/datasets/d", b"", "GET dataset"),
        ("GET", "/download/storage/v1/b/b/o/r%2Fplan.json?alt=media", b"", "GET plan.json"),
        ("GET", "/download/storage/v1/b/b/o/r%2Fsession-3.json", b"", "GET session"),
        ("GET", "/storage/v1/b/b/o?prefix=r%2Fparts%2F0%2F", b"", "GET list"),
        ("GET", "/storage/v1/b/b?fields=name", b"", "GET bucket"),
        ("POST", "/upload/storage/v1/b/b/o", b'{"name": "r/result.json"}', "POST result.json"),
        (
            "POST",
            "/upload/storage/v1/b/b/o",
            b'{"name": "r/parts/0/00000-000000000000.parquet"}',
            "POST part",
        ),
    ],
)
def test_a_call_is_named_by_its_method_and_resource(
    method: str, target: str, body: bytes, name: str
) -> None:
    assert name_call(method, target, body) == name
