"""`make bench ARGS=neighbours`: how soon the service answers others while it works on runs.

Some runs of a slow model score at once, each into a table of its own, in a service with 2 GiB.
Meanwhile one caller sends `GET /health`, `GET /models` and a storage event, one after the other.
Emulators and service share the cores: compare the rows of one table, not their seconds.
"""

from __future__ import annotations

import argparse
import base64
import json
import statistics
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import requests
from sklearn.svm import SVC

from benchmarks.limits import MemoryGroup
from benchmarks.processes import cpu_seconds, service_processes
from benchmarks.workloads import bench_stack
from mlsys.bq import bq_put
from mlsys.local.stack import LocalStack
from mlsys.models import upload_model

FEATURES = [f"f{k}" for k in range(10)]
ROWS = 40_000
AT_ONCE = (0, 1, 4, 7)
MEMORY = 2 * 2**30
TABLE = "mlsys-local.bench.neighbours"


def main() -> None:
    """Print a table of the medians and of the slowest answers."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.neighbours", description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS, help="of a run; default: %(default)s")
    parser.add_argument("--seconds", type=float, default=10, help="without runs; %(default)s")
    options = parser.parse_args()
    group = MemoryGroup(MEMORY)
    try:
        with bench_stack(progress=print) as stack:
            with group.inside():
                stack.restart_service()
            print(measured(stack, options.rows, options.seconds))
            peak = (group.peak or 0) // 2**20
            print(f"\nPeak {peak} MiB of {MEMORY // 2**20}, {group.killed} processes killed")
    finally:
        group.remove()


def measured(stack: LocalStack, rows: int, seconds: float) -> str:
    """Return the answers' times by the number of runs at work, as a table."""
    random = np.random.default_rng(0)
    train = pd.DataFrame(random.normal(size=(4_000, len(FEATURES))), columns=FEATURES)
    target = (train.sum(axis=1) + random.normal(size=len(train)) > 0).astype(int)
    upload_model(SVC().fit(train, target), "slow", "v1", X=train, y=target)
    frame = pd.DataFrame(random.normal(size=(rows, len(FEATURES))), columns=FEATURES)
    bq_put(frame.assign(id=range(rows)), TABLE)
    run(stack, "warm-up")
    lines = [
        "| runs at work | seconds | CPU seconds | `/health`, ms | `/models`, ms | event, ms |",
        "|---|---|---|---|---|---|",
    ]
    for at_once in AT_ONCE:
        times: dict[str, list[float]] = {}
        done = threading.Event()
        before = cpu_seconds(service_processes(stack))
        with ThreadPoolExecutor(at_once + 1) as pool:
            began = time.monotonic()
            runs = [pool.submit(run, stack, f"r{at_once}-{k}") for k in range(at_once)]
            asking = pool.submit(ask, stack, times, done)
            for future in runs:
                future.result()
            if not runs:
                time.sleep(seconds)
            took = time.monotonic() - began
            done.set()
            asking.result()
        spent = cpu_seconds(service_processes(stack)) - before
        cells = [median_and_most(times[name]) for name in ("health", "models", "event")]
        lines.append(f"| {at_once} | {took:.1f} | {spent:.1f} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    return "\n".join(lines)


def run(stack: LocalStack, run_id: str) -> None:
    """Score the table by a run of its own."""
    parameters = {
        "env": "dev",
        "input_table": TABLE,
        "output_table": f"{TABLE}_{run_id.replace('-', '_')}",
        "model_name": "slow",
        "model_version": "v1",
        "id_columns": "id",
        "run_id": f"neighbours-{run_id}",
    }
    answer = requests.get(f"{stack.url}/predict", params=parameters, timeout=600)
    answer.raise_for_status()


def ask(stack: LocalStack, times: dict[str, list[float]], done: threading.Event) -> None:
    """Ask each route in turn until `done`, and keep the seconds of each answer."""
    attributes = {
        "eventType": "OBJECT_FINALIZE",
        "payloadFormat": "JSON_API_V1",
        "notificationConfig": "projects/_/buckets/b/notificationConfigs/1",
        "bucketId": stack.settings.models_bucket("dev"),
        "objectId": "slow/v1/model.pkl",
        "objectGeneration": "1",
        "eventTime": "2026-01-01T00:00:00Z",
    }
    message = {"attributes": attributes, "data": base64.b64encode(b"{}").decode()}
    push = json.dumps({"message": message, "subscription": "s"})
    with requests.Session() as session:
        asked: dict[str, Callable[[], requests.Response]] = {
            "health": lambda: session.get(f"{stack.url}/health", timeout=600),
            "models": lambda: session.get(f"{stack.url}/models?env=dev", timeout=600),
            "event": lambda: session.post(f"{stack.url}/events/storage", data=push, timeout=600),
        }
        while not done.is_set():
            for name, send in asked.items():
                began = time.monotonic()
                send().raise_for_status()
                times.setdefault(name, []).append(time.monotonic() - began)
            time.sleep(0.1)


def median_and_most(seconds: list[float]) -> str:
    """Return the median and the maximum, in milliseconds.

    >>> median_and_most([0.01, 0.02, 0.5])
    '20 (500)'
    """
    return f"{statistics.median(seconds) * 1000:.0f} ({max(seconds) * 1000:.0f})"


if __name__ == "__main__":
    main()
