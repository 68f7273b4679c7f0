"""Helpers of the scripts: their arguments, the local BigQuery, and the clock of one turn."""

from __future__ import annotations

import io
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from google.cloud.bigquery_storage_v1 import BigQueryReadClient, types
from google.cloud.bigquery_storage_v1.services.big_query_read.transports import (
    BigQueryReadGrpcTransport,
)

PREFIX = "bench: "  # of the lines that the parent reads; libraries print other lines
# From the environment, which the processes that a way starts inherit.
MODEL, INPUT, OUTPUT, FEATURES = (
    os.environ.get(f"BENCH_{name}", "") for name in ("MODEL", "INPUT", "OUTPUT", "FEATURES")
)


def turn(work: Callable[[], int]) -> None:
    """Call `work` when the parent gives the signal, and report the rows and the seconds.

    The script has finished its set-up (imports, model, processes) by then.
    """
    print(f"{PREFIX}ready", flush=True)
    sys.stdin.readline()
    began = time.monotonic()
    rows = work()
    print(PREFIX + json.dumps({"rows": rows, "seconds": time.monotonic() - began}), flush=True)
    sys.stdin.readline()


def client() -> bigquery.Client:
    """Return a REST client of the local BigQuery."""
    project = os.environ["GCP_PROJECT_ID"]
    return bigquery.Client(
        project=project,
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": os.environ["BIGQUERY_EMULATOR_HOST"]},
    )


def read_client() -> BigQueryReadClient:
    """Return a client of the local Storage Read API."""
    options = [("grpc.max_receive_message_length", -1)]
    channel = grpc.insecure_channel(os.environ["BIGQUERY_STORAGE_EMULATOR_HOST"], options=options)
    return BigQueryReadClient(transport=BigQueryReadGrpcTransport(channel=channel))


def read_all() -> pa.Table:
    """Return the whole input table, read by `to_arrow` of Google's client."""
    bq = client()
    return bq.list_rows(bq.get_table(INPUT)).to_arrow(bqstorage_client=read_client())


def streams(most: int) -> list[str]:
    """Open a read session; return the names of its streams, at most `most`."""
    project, dataset, table = INPUT.split(".")
    session = read_client().create_read_session(
        parent=f"projects/{project}",
        read_session=types.ReadSession(
            table=f"projects/{project}/datasets/{dataset}/tables/{table}",
            data_format=types.DataFormat.ARROW,
        ),
        max_stream_count=most,
    )
    return [stream.name for stream in session.streams]


def read_stream(stream: str) -> Iterator[pa.Table]:
    """Yield the rows of a stream, message by message."""
    schema = None
    for message in read_client().read_rows(stream):
        if schema is None:
            schema = pa.ipc.read_schema(pa.py_buffer(message.arrow_schema.serialized_schema))
        content = pa.py_buffer(message.arrow_record_batch.serialized_record_batch)
        yield pa.Table.from_batches([pa.ipc.read_record_batch(content, schema)])


def predicted(model: Any, df: pd.DataFrame) -> pd.DataFrame:
    """Return the ids with their predictions."""
    return pd.DataFrame({"id": df["id"], "prediction": model.predict(df[FEATURES.split(",")])})


def load(df: pd.DataFrame) -> int:
    """Load the predictions by one job, as `load_table_from_dataframe` does; return their number."""
    content = io.BytesIO()
    pq.write_table(pa.Table.from_pandas(df, preserve_index=False), content)
    content.seek(0)
    config = bigquery.LoadJobConfig(
        source_format=bigquery.SourceFormat.PARQUET,
        schema=[
            bigquery.SchemaField(str(name), "INT64" if dtype.kind == "i" else "FLOAT64")
            for name, dtype in df.dtypes.items()
        ],
    )
    client().load_table_from_file(content, OUTPUT, job_config=config).result(timeout=1800)
    return len(df)
