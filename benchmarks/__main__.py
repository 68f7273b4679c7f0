"""`make bench`: score one table by the service and by the whole-table way, in turn, in one run.

The whole-table way is what a notebook does: query into a DataFrame, predict, load the DataFrame.
Both use the same local BigQuery and Cloud Storage, whose own work is in both figures. Times on a
shared machine mean little; the ratios of one run are what to read.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pandas as pd
import requests

from benchmarks.processes import PeakMemory, service_processes
from mlsys.bq import bq_put
from mlsys.clients import default_clients
from mlsys.frames import to_frame
from mlsys.gcs import gcs_get_pickle
from mlsys.local.stack import LocalStack, local_stack
from mlsys.models import upload_model

NUMBERS = [f"x{i}" for i in range(5)]
STRINGS = ["colour", "city", "device"]
FEATURES = NUMBERS + STRINGS
BUCKET, MODEL = "mlsys-models-dev", "bench-logistic/v1/model.pkl"


def main() -> None:
    """Print a table of both ways, and their ratios."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="default: %(default)s")
    parser.add_argument("--repeat", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--whole-table", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.whole_table:
        print(json.dumps(whole_table(options.whole_table)))
        return
    with local_stack(progress=print) as stack:
        os.environ.update(stack.environment)
        prepare(stack, options.rows)
        service, notebook = [], []
        for i in range(options.repeat):
            print(f"  round {i + 1} of {options.repeat}", flush=True)
            service.append(score_by_service(stack, i))
            notebook.append(score_by_notebook(i))
    report(options.rows, service, notebook)


def prepare(stack: LocalStack, rows: int) -> None:
    """Make the input table and a logistic regression behind a ColumnTransformer."""
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    print(f"  {rows:,} rows of {len(NUMBERS)} numbers and {len(STRINGS)} strings", flush=True)
    random = np.random.default_rng(0)
    df = pd.DataFrame({"id": np.arange(rows)})
    for name in NUMBERS:
        df[name] = random.normal(size=rows)
    for name in STRINGS:
        df[name] = random.choice([f"{name}-{k}" for k in range(12)], size=rows)
    stack.clients.bigquery.create_dataset("bench", exists_ok=True)
    bq_put(df, f"{stack.settings.project}.bench.input", "WRITE_TRUNCATE")
    sample = df.head(20_000)
    model = make_pipeline(
        make_column_transformer(
            (OneHotEncoder(handle_unknown="ignore"), STRINGS),
            (make_pipeline(SimpleImputer(), StandardScaler()), NUMBERS),
        ),
        LogisticRegression(max_iter=200),
    )
    X, y = sample[FEATURES], sample["x0"] + sample["x1"] > 0
    model.fit(X, y)
    upload_model(model, "bench-logistic", "v1", X=X, y=y, target="positive", id_columns=["id"])


def score_by_service(stack: LocalStack, i: int) -> dict[str, float]:
    """One `GET /predict`; the memory is that of the service's processes together."""
    project = stack.settings.project
    parameters = {
        "env": "dev",
        "input_table": f"{project}.bench.input",
        "output_table": f"{project}.bench.by_service_{i}",
        "model_name": "bench-logistic",
        "model_version": "v1",
    }
    session = requests.Session()
    session.trust_env = False
    with PeakMemory(lambda: service_processes(stack)) as peak:
        began = time.monotonic()
        answer = session.get(f"{stack.url}/predict", params=parameters, timeout=3600)
        seconds = time.monotonic() - began
    answer.raise_for_status()
    return {"seconds": seconds, "rows": answer.json()["rows"], "peak": peak.together}


def score_by_notebook(i: int) -> dict[str, float]:
    """The whole-table way, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks", "--whole-table", f"by_notebook_{i}"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def whole_table(output: str) -> dict[str, float]:
    """Read, predict, load; its imports and its model are there before the clock starts.

    It reads by the Storage Read API, as pandas users on the cloud do: the local BigQuery would
    send a query's result by the much slower REST API.
    """
    model = gcs_get_pickle(BUCKET, MODEL)
    clients = default_clients()
    table = clients.bigquery.get_table("bench.input")
    began = time.monotonic()
    df = to_frame(
        clients.bigquery.list_rows(table).to_arrow(bqstorage_client=clients.bigquery_read)
    )
    df["positive"] = model.predict(df[FEATURES])
    bq_put(df[["id", "positive"]], f"{os.environ['GCP_PROJECT_ID']}.bench.{output}")
    seconds = time.monotonic() - began
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return {"seconds": seconds, "rows": len(df), "peak": peak}


def report(rows: int, service: list[dict[str, Any]], notebook: list[dict[str, Any]]) -> None:
    """Print the medians and the ratios."""

    def median(runs: list[dict[str, Any]], key: str) -> float:
        return statistics.median(run[key] for run in runs)

    print(f"\n{rows:,} rows, medians of {len(service)} rounds")
    print(f"{'':24}{'seconds':>10}{'rows/s':>12}{'peak MiB':>10}")
    for name, runs in (("GET /predict", service), ("whole table in pandas", notebook)):
        assert all(run["rows"] == rows for run in runs), f"{name} lost rows"
        seconds = median(runs, "seconds")
        print(
            f"{name:24}{seconds:10.1f}{rows / seconds:12,.0f}{median(runs, 'peak') / 2**20:10.0f}"
        )
    speed = statistics.median(
        n["seconds"] / s["seconds"] for s, n in zip(service, notebook, strict=True)
    )
    memory = statistics.median(
        s["peak"] / n["peak"] for s, n in zip(service, notebook, strict=True)
    )
    print(f"GET /predict is {speed:.2f} times as fast, with {memory:.2f} times the memory")


if __name__ == "__main__":
    main()
