"""The ways to score a table, all measured alike: seconds, CPU seconds, memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import requests

from benchmarks.limits import cores, on_one_core
from benchmarks.peers.local import PREFIX
from benchmarks.processes import (
    Watch,
    all_seconds,
    busiest,
    cpu_seconds,
    emulator_processes,
    own_seconds,
    process_tree,
    service_processes,
)
from benchmarks.workloads import TARGET, Case, Workload
from mlsys.gcs import gcs_get
from mlsys.local.stack import LocalStack

ROOT = Path(__file__).parents[1]
SERVICE, WHOLE, LIMIT = "GET /predict", "whole table", "predict alone"
ONE_CORE = "GET /predict, 1 core"
PEERS = {"mlflow": "MLflow pyfunc", "dask": "Dask", "ray": "Ray Data", "beam": "Beam RunInference"}
PYTHONS = {
    title: ROOT / (".venv-beam" if name == "beam" else ".venv-peers") / "bin" / "python"
    for name, title in PEERS.items()
}


@dataclass(frozen=True, slots=True)
class Measured:
    """One round of one way over one workload."""

    workload: str
    way: str
    rows: int
    seconds: float
    cpu: float  # seconds, of the way's own processes
    own: float  # CPU seconds, of its busiest process and that process's ancestors
    emulators: float  # CPU seconds of the local BigQuery and Cloud Storage
    peak: int  # bytes, of the way's own processes together


class WayFailed(Exception):
    """A way did not score the table; the message has the end of its output."""


def ways(wanted: str | None) -> list[str]:
    """Return the ways that can be measured here, with all peers or those named in `wanted`.

    They always include the service, the whole-table way and the limit, and the service on one core
    if there are more.
    """
    peers = [title for title, python in PYTHONS.items() if python.exists()]
    if wanted is not None:
        names = {PEERS[name] for name in wanted.split(",") if name}
        peers = [title for title in peers if title in names]
    return [SERVICE, *([ONE_CORE] if cores() > 1 else ()), WHOLE, *peers, LIMIT]


def measure(stack: LocalStack, way: str, case: Case, table: str) -> Measured:
    """Score `table` once; check the output and delete it.

    Raises:
        WayFailed: the table could not be scored, or rows were lost.
    """
    workload, rows = case.workload, case.rows
    output = f"{stack.settings.project}.bench.scored_{time.time_ns()}"
    if way == SERVICE:
        measured = _by_service(stack, way, workload, table, output)
    elif way == ONE_CORE:
        with on_one_core(lambda: service_processes(stack)):
            measured = _by_service(stack, way, workload, table, output)
    else:
        measured = _by_script(stack, way, workload, table, output)
    if way != LIMIT:
        _check(stack, output, rows)
    if measured.rows != rows:
        raise WayFailed(f"{way} scored {measured.rows:,} of {rows:,} rows")
    return measured


def _check(stack: LocalStack, output: str, rows: int) -> None:
    """Raise WayFailed unless every id has its prediction, once."""
    sql = f"SELECT COUNT(*), COUNT(DISTINCT id), COUNT({TARGET}) FROM `{output}`"
    [counts] = stack.clients.bigquery.query(sql).result()
    if tuple(counts.values()) != (rows, rows, rows):
        raise WayFailed(f"Rows, ids, predictions: {counts.values()}, where each must be {rows}")
    stack.clients.bigquery.delete_table(output)


def _by_service(
    stack: LocalStack, way: str, workload: Workload, table: str, output: str
) -> Measured:
    parameters = {
        "env": "dev",
        "input_table": table,
        "output_table": output,
        "model_name": workload.name,
        "model_version": "v1",
    }
    session = requests.Session()
    session.trust_env = False

    def work() -> tuple[int, float]:
        began = time.monotonic()
        answer = session.get(f"{stack.url}/predict", params=parameters, timeout=3600)
        if not answer.ok:
            raise WayFailed(answer.text)
        return answer.json()["rows"], time.monotonic() - began

    return _watched(workload, way, lambda: service_processes(stack), work)


def _by_script(
    stack: LocalStack, way: str, workload: Workload, table: str, output: str
) -> Measured:
    """Start the way's script, wait until it is ready, and measure its turn."""
    scripts = {WHOLE: "whole_table", LIMIT: "predict_alone"}
    scripts |= {title: name for name, title in PEERS.items()}
    python = str(PYTHONS.get(way, sys.executable))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        model, log = Path(folder) / "model.pkl", Path(folder) / "log"
        model.write_bytes(
            gcs_get(stack.settings.models_bucket("dev"), f"{workload.name}/v1/model.pkl")
        )
        environment = {
            **os.environ,
            "BENCH_MODEL": str(model),
            "BENCH_INPUT": table,
            "BENCH_OUTPUT": output,
            "BENCH_FEATURES": ",".join(workload.features),
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "ignore",
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        with (
            log.open("wb") as errors,
            subprocess.Popen(
                [python, "-m", f"benchmarks.peers.{scripts[way]}"],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            ) as child,
        ):

            def work() -> tuple[int, float]:
                _go_on(child)
                done = json.loads(_next(child, way, log))
                return done["rows"], done["seconds"]

            _next(child, way, log)
            measured = _watched(workload, way, lambda: process_tree(child.pid), work)
            _go_on(child)
    return measured


def _watched(
    workload: Workload,
    way: str,
    processes: Callable[[], list[psutil.Process]],
    work: Callable[[], tuple[int, float]],
) -> Measured:
    """Do the work and measure what the processes take; some end before the work does."""
    before, emulators = own_seconds(processes()), cpu_seconds(emulator_processes())
    with Watch(processes) as seen:
        rows, seconds = work()
    now = seen.own | own_seconds(processes())
    return Measured(
        workload=workload.key,
        way=way,
        rows=rows,
        seconds=seconds,
        cpu=all_seconds(before, now),
        own=busiest(before, now),
        emulators=cpu_seconds(emulator_processes()) - emulators,
        peak=seen.together,
    )


def _go_on(child: subprocess.Popen[str]) -> None:
    assert child.stdin is not None
    child.stdin.write("\n")
    child.stdin.flush()


def _next(child: subprocess.Popen[str], way: str, log: Path) -> Any:
    """Return the script's next message."""
    assert child.stdout is not None
    for line in child.stdout:
        if line.startswith(PREFIX):
            return line.removeprefix(PREFIX)
    status = child.wait(20)
    raise WayFailed(f"{way} ended with {status}: {''.join(log.read_text().splitlines(True)[-8:])}")
