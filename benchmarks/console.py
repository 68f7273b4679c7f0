"""`make bench ARGS=console`: what the console's pages cost apart from BigQuery's answers.

One model is uploaded and one run scored; queries then multiply their rows in the registry, the
ledger and the profiles. Each page is asked for in this process, so its CPU time is the console's
own: the local BigQuery and Cloud Storage work in other processes. The seconds to the whole answer
depend on the local BigQuery.
"""

from __future__ import annotations

import argparse
import gzip
import statistics
import time

import pandas as pd
from flask.testing import FlaskClient
from google.cloud import bigquery
from sklearn.linear_model import LogisticRegression

from app import create_app
from benchmarks.counting import median_and_range
from benchmarks.workloads import bench_stack
from mlsys.bq import bq_put
from mlsys.local.stack import LocalStack
from mlsys.models import upload_model
from mlsys.runs import predict

MODEL, OUTPUT = "bench-console", "mlsys-local.bench.console_out"
MODELS, RUNS = 1_000, 10_000
PAGES = (
    *("/", "/numbers", "/checks"),
    *("/models", f"/models/{MODEL}", f"/models/{MODEL}/v1", f"/models/{MODEL}/v1/contents"),
    *("/runs", "/runs/{run}", "/runs/{run}/drift", "/runs/{run}/rows", "/costs"),
    *(f"/tables/{OUTPUT}", "/new-run", "/health", "/quarantine"),
)


def main() -> None:
    """Print a table with each page's CPU seconds, and the 95th percentile over all pages."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.console", description=__doc__)
    parser.add_argument("--models", type=int, default=MODELS, help="default: %(default)s")
    parser.add_argument("--runs", type=int, default=RUNS, help="default: %(default)s")
    parser.add_argument("--repeat", type=int, default=20, help="default: %(default)s")
    options = parser.parse_args()
    with bench_stack(progress=print) as stack:
        run = fill(stack, options.models, options.runs)
        print(measured(create_app().test_client(), run, options.repeat))


def fill(stack: LocalStack, models: int, runs: int) -> str:
    """Fill the tables with copies of one model and one run; return the run's id."""
    frame = pd.DataFrame({"id": range(1_000), "x": [n % 97 for n in range(1_000)]})
    model = LogisticRegression().fit(frame[["x"]], frame["x"] > 40)
    upload_model(model, MODEL, "v1", X=frame[["x"]], y=frame["x"] > 40, id_columns=["id"])
    table = "mlsys-local.bench.console_in"
    bq_put(frame, table)
    run: str = predict(table, OUTPUT, MODEL, "v1").run_id
    _multiply(stack, "model_registry", "model_name", MODEL, models)
    _multiply(stack, "prediction_runs", "run_id", run, runs)
    _multiply(stack, "prediction_profiles", "run_id", run, runs)
    return run


def _multiply(stack: LocalStack, table: str, column: str, value: str, times: int) -> None:
    """Write the rows with the value again, each time with another value, `times` times in all."""
    name = f"{stack.settings.dataset('dev')}.{table}"
    config = bigquery.QueryJobConfig(
        query_parameters=[
            bigquery.ScalarQueryParameter("value", "STRING", value),
            bigquery.ScalarQueryParameter("times", "INT64", times - 1),
        ]
    )
    columns = ", ".join(
        f"CONCAT(t.{c}, '-', CAST(n AS STRING))" if c == column else f"t.{c}"
        for c in (field.name for field in stack.clients.bigquery.get_table(name).schema)
    )
    sql = (
        f"INSERT INTO `{name}` SELECT {columns} FROM `{name}` AS t, "
        f"UNNEST(GENERATE_ARRAY(1, @times)) AS n WHERE t.{column} = @value"
    )
    stack.clients.bigquery.query(sql, job_config=config).result()


def measured(client: FlaskClient, run: str, repeat: int) -> str:
    """Return a table of the pages, and a sentence about all of them."""
    lines = [
        "| page | own CPU, ms: median (range) | whole answer, ms | KB, gzipped |",
        "|---|---|---|---|",
    ]
    every: list[float] = []
    for page in PAGES:
        address = f"/ui{page.format(run=run)}"
        own, whole, size = _ask(client, address, repeat)
        every += own
        cells = f"{median_and_range(own, 0)} | {statistics.median(whole):.0f} | {size / 1000:.1f}"
        lines.append(f"| `{page.format(run='RUN')}` | {cells} |")
    late = statistics.quantiles(every, n=20)[-1]
    return "\n".join(
        [*lines, f"\n95 of 100 answers take at most {late:.0f} ms of CPU apart from the queries."]
    )


def _ask(client: FlaskClient, address: str, repeat: int) -> tuple[list[float], list[float], int]:
    """Return the CPU and the whole milliseconds of each answer, and the bytes of the last."""
    own, whole = [], []
    for _ in range(repeat + 1):
        began, before = time.perf_counter(), time.process_time()
        answer = client.get(address, headers={"Accept-Encoding": "gzip"})
        own.append(1000 * (time.process_time() - before))
        whole.append(1000 * (time.perf_counter() - began))
        if answer.status_code != 200:
            raise RuntimeError(f"{address}: {answer.status}: {_text(answer.data)[:500]}")
    return own[1:], whole[1:], len(answer.data)  # the first one imports and compiles templates


def _text(data: bytes) -> str:
    return (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode()


if __name__ == "__main__":
    main()
