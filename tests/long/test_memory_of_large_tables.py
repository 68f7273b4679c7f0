"""A run's memory does not grow with its table: 20 million rows take what 2 million take."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.linear_model import LinearRegression

from benchmarks.memory import ALLOWED, wait_until_idle
from benchmarks.processes import Watch, cpu_seconds, service_processes
from benchmarks.workloads import bench_stack, make_table, write_parts
from mlsys.local.stack import LocalStack
from scoring_cases import Lab

pytestmark = [pytest.mark.long, pytest.mark.process, pytest.mark.timeout(3000)]

FEW, MANY = 2_000_000, 20_000_000
SLICE = 1_000_000  # rows per file
MIB = 2**20
FEATURES = ["a", "b"]
X = pd.DataFrame(np.random.default_rng(0).random((1000, 2)), columns=FEATURES)


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalStack]:
    with bench_stack() as stack:
        for name, value in stack.environment.items():
            monkeypatch.setenv(name, value)
        yield stack


@dataclass(frozen=True)
class Measured:
    """One run: the peak of the service, its scoring processes and their sandboxes, in bytes."""

    together: int
    largest: int
    processes: int
    seconds: float
    cpu: float


def slices(rows: int) -> Iterator[pa.Table]:
    for start in range(0, rows, SLICE):
        count = min(SLICE, rows - start)
        random = np.random.default_rng(start)
        columns = {"id": pa.array(np.arange(start, start + count))}
        yield pa.table(columns | {name: pa.array(random.random(count)) for name in FEATURES})


def score(stack: LocalStack, lab: Lab, model: str, rows: int, folder: Path) -> Measured:
    """Score a table of `rows` rows by a service that has just started."""
    table = make_table(stack, f"rows_{rows}", write_parts(folder / str(rows), slices(rows)))
    params = lab.params(table, model, id_columns="id")
    stack.restart_service()
    wait_until_idle(stack)
    before, began = cpu_seconds(service_processes(stack)), time.monotonic()
    with Watch(lambda: service_processes(stack), 0.1) as watch:
        for _ in range(5):  # the local BigQuery may be too slow for a call's timeout
            answer = lab.session.get(f"{stack.url}/predict", params=params, timeout=2400)
            if answer.status_code != 503:
                break
            print(answer.text)
    measured = Measured(
        watch.together,
        watch.largest,
        watch.most_at_once,
        time.monotonic() - began,
        cpu_seconds(service_processes(stack)) - before,
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["rows"] == rows
    output = params["output_table"]
    [counted] = lab.clients.bigquery.query(
        f"SELECT COUNT(*) AS n, MIN(id) AS low, MAX(id) AS high, COUNT(DISTINCT id) AS ids "
        f"FROM `{output}`"
    ).result(timeout=300)
    assert tuple(counted.values()) == (rows, 0, rows - 1, rows)
    for name in (output, table):  # the local BigQuery holds its tables in memory
        lab.clients.bigquery.delete_table(name, timeout=60)
    return measured


def test_memory_stays_flat_at_20_million_rows(stack: LocalStack, tmp_path: Path) -> None:
    lab = Lab(stack)
    model = lab.upload(LinearRegression().fit(X, X["a"] - X["b"]), X)
    few, many = (score(stack, lab, model, rows, tmp_path) for rows in (FEW, MANY))
    for rows, measured in ((FEW, few), (MANY, many)):
        print(
            f"\n{rows:,} rows: {measured.together / MIB:.0f} MiB together, the largest "
            f"{measured.largest / MIB:.0f}, {measured.processes} processes, "
            f"{measured.seconds:.0f} s, {measured.cpu:.1f} CPU s"
        )
    assert few.processes > 3, "the sandboxes were not measured"
    assert many.together < ALLOWED * few.together
    assert many.largest < ALLOWED * few.largest
