"""Helpers for the scoring tests: tables, models, unique names, and ways to send a request."""

from __future__ import annotations

import dataclasses
import io
import json
import uuid
from collections.abc import Mapping
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import requests
from google.cloud import bigquery
from google.cloud.bigquery_storage_v1 import types

from app import create_app
from app.api.predict_queries import PredictQuery
from mlsys.cloud.clients import bigquery_retry, clients_for
from mlsys.cloud.tables import TableRef
from mlsys.columns.arrow_types import arrow_type, sql_name
from mlsys.columns.frames import from_frame, to_frame
from mlsys.gcs import gcs_put, gcs_put_pickle
from mlsys.local.stack import LocalStack
from mlsys.models import upload_model
from strict_stack import UNREGISTERED
from workers.scoring.journal.store import RunStore
from workers.scoring.request.parsed import ScoringRequest

DATASET = "scoring"
TIMEOUT = 60.0


def unique(word: str) -> str:
    """Return the word with a unique suffix."""
    return f"{word}-{uuid.uuid4().hex[:8]}"


class Answer:
    """A status, headers and body, whichever way the request was sent."""

    def __init__(self, status: int, headers: Mapping[str, str], text: str) -> None:
        self.status = status
        self.headers = headers
        self.text = text

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    def done(self) -> dict[str, Any]:
        """Return the body of a run that succeeded."""
        assert self.status == 200, self.text
        assert self.json["state"] == "succeeded"
        return self.json

    def problem(self, status: int, slug: str, *words: str, quotes: bool = False) -> dict[str, Any]:
        """Return the body of a refusal of this status and type, which contains all of `words`.

        It has no words of the tools below, but where it `quotes` the local BigQuery.
        """
        assert self.status == status, self.text
        assert self.headers["Content-Type"] == "application/problem+json"
        body = self.json
        assert body["type"] == f"urn:mlsys:problem:{slug}"
        assert body["status"] == status
        for word in words:
            assert word in body["detail"], body["detail"]
        of_bigquery = () if quotes else ("duckdb", "Binder Error", "sqlglot")
        for foreign in ("Traceback", "127.0.0.1", "Errno", *of_bigquery):
            assert foreign not in self.text
        return body


# The tests' own functions and classes in models; the service that answers over HTTP trusts none.
OWN = (
    "team_models.TooFew",
    "team_models.WrongShape",
    "team_models.Picky",
    "team_models.Doubling",
    "team_models.Ending",
    "team_models.EndingAtLoad",
    "test_scoring_types.Counting",
    "test_scoring_types.look",
)


class Lab:
    """The local stack with a dataset to work in."""

    def __init__(self, stack: LocalStack) -> None:
        self.stack = stack
        self.settings = dataclasses.replace(stack.settings, trusted_globals=OWN)
        self.clients = clients_for(self.settings)
        self.project = stack.settings.project
        self.session = requests.Session()
        self.session.trust_env = False
        self.app = create_app(self.settings, self.clients)
        self.client = self.app.test_client()
        dataset = f"{self.project}.{DATASET}"
        self.clients.bigquery.create_dataset(dataset, exists_ok=True, timeout=TIMEOUT)

    # Tables

    def name(self, word: str = "table") -> str:
        """Return the id of a table that does not exist yet."""
        return f"{self.project}.{DATASET}.{unique(word).replace('-', '_')}"

    def put(
        self,
        rows: pd.DataFrame | pa.Table,
        table: str | None = None,
        disposition: str = "WRITE_APPEND",
        types: Mapping[str, str] | None = None,
    ) -> str:
        """Load rows into a table (a new one, by default) and return its id."""
        table = table or self.name("input")
        data = from_frame(rows) if isinstance(rows, pd.DataFrame) else rows
        named = {field.name: sql_name(field.type) for field in data.schema} | dict(types or {})
        buffer = io.BytesIO()
        pq.write_table(data, buffer, coerce_timestamps="us")
        buffer.seek(0)
        config = bigquery.LoadJobConfig(
            source_format=bigquery.SourceFormat.PARQUET,
            write_disposition=disposition,
            schema=[bigquery.SchemaField(name, kind) for name, kind in named.items()],
        )
        job = self.clients.bigquery.load_table_from_file(buffer, table, job_config=config)
        job.result(timeout=TIMEOUT, retry=bigquery_retry())
        return table

    def view(self, query: str) -> str:
        """Create a view and return its id."""
        view = bigquery.Table(self.name("view"))
        view.view_query = query
        self.clients.bigquery.create_table(view, timeout=TIMEOUT)
        return f"{view.project}.{view.dataset_id}.{view.table_id}"

    def create(self, schema: Mapping[str, str], table: str | None = None, **about: Any) -> str:
        """Create a table without rows, with more attributes if they are given; return its id."""
        table = table or self.name()
        fields = [bigquery.SchemaField(name, kind) for name, kind in schema.items()]
        made = bigquery.Table(table, fields)
        for name, value in about.items():
            setattr(made, name, value)
        self.clients.bigquery.create_table(made, timeout=TIMEOUT)
        return table

    def arrow(self, table: str) -> pa.Table:
        """Return all rows of a table, as Arrow."""
        session = self.clients.bigquery_read.create_read_session(
            parent=f"projects/{self.project}",
            read_session=types.ReadSession(
                table=TableRef.parse(table).path, data_format=types.DataFormat.ARROW
            ),
            max_stream_count=1,
            timeout=TIMEOUT,
        )
        schema = pa.ipc.read_schema(pa.py_buffer(session.arrow_schema.serialized_schema))
        batches = [
            pa.ipc.read_record_batch(
                pa.py_buffer(message.arrow_record_batch.serialized_record_batch), schema
            )
            for stream in session.streams
            for message in self.clients.bigquery_read.read_rows(stream.name, timeout=TIMEOUT)
        ]
        return pa.Table.from_batches(batches, schema)

    def rows(self, table: str, by: str | None = "id") -> pd.DataFrame:
        """Return all rows of a table, sorted."""
        frame = to_frame(self.arrow(table))
        return frame.sort_values(by, ignore_index=True) if by else frame

    def count(self, table: str) -> int:
        """Return the number of rows of a table."""
        return self.arrow(table).num_rows

    def exists(self, table: str) -> bool:
        """Return whether the table exists."""
        ref = TableRef.parse(table)
        listed = self.clients.bigquery.list_tables(f"{ref.project}.{ref.dataset}", timeout=TIMEOUT)
        return ref.table in {item.table_id for item in listed}

    def schema(self, table: str) -> dict[str, str]:
        """Return the columns of a table with their types."""
        fields = self.clients.bigquery.get_table(table, timeout=TIMEOUT).schema
        return {field.name: field.field_type for field in fields}

    # Models

    def upload(
        self, model: Any, X: Any, name: str | None = None, version: str = "v1", **options: Any
    ) -> str:
        """Upload a model with its metadata and return its name.

        Without a name of the caller's, it does not get into the registry, unless `wait` is true.
        """
        name = name or unique("model" if options.get("wait") else UNREGISTERED)
        options = {"id_columns": ["id"], "wait": False, "overwrite": True} | options
        upload_model(model, name, version, X=X, **options)
        return name

    def put_pickle(self, model: Any, name: str | None = None, version: str = "v1") -> str:
        """Upload the pickle alone and return the model's name, as `upload` does."""
        name = name or unique(UNREGISTERED)
        gcs_put_pickle(model, self.settings.models_bucket("dev"), f"{name}/{version}/model.pkl")
        return name

    def put_alias(self, model: str, alias: str, content: object) -> None:
        """Write the object of an alias, past the service."""
        bucket = self.settings.models_bucket("dev")
        gcs_put(json.dumps(content), bucket, f"{model}/aliases/{alias}.json")

    # Questions

    def params(self, table: str, model: str, **more: Any) -> dict[str, str]:
        """Return the parameters of a request, with an output table of its own."""
        known = {
            "env": "dev",
            "input_table": table,
            "output_table": more.pop("output_table", None) or self.name("output"),
            "model_name": model,
            "model_version": "v1",
        }
        return known | {k: str(v) for k, v in more.items()}

    def http(self, params: Mapping[str, str], path: str = "/predict") -> Answer:
        """Send the request to the service over HTTP."""
        found = self.session.get(
            f"{self.stack.url}{path}", params=params, timeout=120, allow_redirects=False
        )
        return Answer(found.status_code, found.headers, found.text)

    def here(self, params: Mapping[str, str], path: str = "/predict") -> Answer:
        """Send the request to the app in this process."""
        found = self.client.get(path, query_string=params)
        return Answer(found.status_code, found.headers, found.text)

    def push(self, body: bytes, path: str = "/events/predictions") -> Answer:
        """Push a message to the app in this process."""
        found = self.client.post(path, data=body, content_type="application/json")
        return Answer(found.status_code, found.headers, found.text)

    def score(self, table: str, model: str, **more: Any) -> tuple[dict[str, Any], pd.DataFrame]:
        """Score a table in this process; return the result, and the output table's rows."""
        by = more.pop("by", "id")
        params = self.params(table, model, **more)
        result = self.here(params).done()
        return result, self.rows(params["output_table"], by)

    def profile(self, output: str) -> list[str]:
        """Return the rows of `prediction_profiles` of the run that wrote a table, as sorted JSON.

        Without what differs between runs: its id and times.
        """
        sql = (
            "SELECT * EXCEPT (run_id, predicted_at, snapshot_at, bins), "
            "TO_JSON_STRING(bins) AS bins FROM mlsys_dev.prediction_profiles "
            f"WHERE run_id IN (SELECT run_id FROM `{output}`)"
        )
        rows = self.clients.bigquery.query(sql).result(timeout=TIMEOUT)
        return sorted(json.dumps(dict(row.items()), sort_keys=True) for row in rows)

    def request(self, params: Mapping[str, str]) -> ScoringRequest:
        """Return the request as the workers take it."""
        return PredictQuery.model_validate(dict(params)).to_request(self.settings)

    # Runs

    def store(self, run_id: str) -> RunStore:
        """Return the store of the run's objects."""
        return RunStore(self.clients, "dev", run_id)

    def objects(self, prefix: str) -> dict[str, int]:
        """Return the objects of the runs bucket under a prefix, with their generations."""
        bucket = self.settings.runs_bucket("dev")
        blobs = self.clients.storage.list_blobs(bucket, prefix=prefix, timeout=TIMEOUT)
        return {blob.name: int(blob.generation) for blob in blobs}


def rejects_of(lab: Lab, table: str) -> pd.DataFrame:
    """Return the rows of a table of rejects, with their ids and rows parsed, sorted by id."""
    found = lab.rows(table, by=None)
    found = found.assign(ids=found["ids"].map(json.loads), row=found["row"].map(json.loads))
    return found.sort_values("ids", key=lambda ids: ids.map(str), ignore_index=True)


def rejected_ids(lab: Lab, table: str) -> list[int]:
    """Return the column `id` of the rows in a table of rejects, sorted."""
    return sorted(ids["id"] for ids in rejects_of(lab, table)["ids"])


def column(kind: str, values: list[Any]) -> pa.Array:
    """Return values as an Arrow array of BigQuery's type of that name."""
    return pa.array(values, arrow_type(kind))
