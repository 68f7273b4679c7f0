"""`make bench ARGS=start`: the time until the service's first answers.

The service and bare Flask under the same gunicorn start in turn: compare them within one run. The
first prediction is requested at once, and again from a service that has had time to warm up
(`app/gunicorn_conf.py`).
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import requests
from sklearn.linear_model import LinearRegression

from benchmarks.workloads import bench_stack
from mlsys.bq import bq_put
from mlsys.local.addresses import choose_port
from mlsys.local.service import start_service
from mlsys.local.stack import LocalStack
from mlsys.models import upload_model

BARE = """
from flask import Flask
app = Flask(__name__)
app.add_url_rule("/health", view_func=lambda: {"status": "healthy"})
"""
BARE_FLASK, OURS = "bare Flask, `/health`", "the service, `/health`"
POLL = 0.005  # seconds


def main() -> None:
    """Print a table of the medians."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.start", description=__doc__)
    parser.add_argument("--repeat", type=int, default=5, help="default: %(default)s")
    repeat = parser.parse_args().repeat
    with bench_stack(progress=print) as stack:
        print(measured(stack, repeat))


def measured(stack: LocalStack, repeat: int) -> str:
    """Return the medians as a table."""
    seconds: dict[str, list[float]] = {}
    frame = pd.DataFrame({"a": np.linspace(0, 1, 100)})
    upload_model(LinearRegression().fit(frame, frame["a"]), "start", "v1", X=frame)
    bq_put(frame.assign(id=range(100)), "mlsys-local.bench.start")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "bare.py").write_text(BARE)
        for round_ in range(repeat):
            print(f"  round {round_ + 1} of {repeat}", flush=True)
            seconds.setdefault(BARE_FLASK, []).append(_bare(Path(folder)))
            for warm in (False, True):
                health, prediction = _service(stack, Path(folder), f"{round_}_{warm}", warm)
                seconds.setdefault(OURS, []).append(health)
                name = "first prediction, warmed up" if warm else "first prediction, at once"
                seconds.setdefault(name, []).append(prediction)
    more = [a - b for a, b in zip(seconds[OURS][::2], seconds[BARE_FLASK], strict=True)]
    lines = [
        "| from the start, or the request, to the answer | median, s | rounds |",
        "|---|---|---|",
    ]
    lines += [
        f"| {name} | {statistics.median(rounds):.2f} | {len(rounds)} |"
        for name, rounds in (seconds | {"the service over bare Flask": more}).items()
    ]
    return "\n".join(lines)


def _bare(folder: Path) -> float:
    port = choose_port(None, "service")
    command = [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}", "bare:app"]
    began = time.monotonic()
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL)
    try:
        return _first_health(port) - began
    finally:
        process.terminate()
        process.wait(20)


def _service(stack: LocalStack, folder: Path, name: str, warm: bool) -> tuple[float, float]:
    """Return the seconds from the start to the first /health, and those of a prediction."""
    port = choose_port(None, "service")
    log = folder / f"{name}.log"
    began = time.monotonic()
    server = start_service(
        port=port, environment=stack.environment, log_file=log, pid_file=folder / "pid"
    )
    try:
        health = _first_health(port) - began
        while warm and "Warmed up" not in log.read_text():
            time.sleep(0.1)
        requested = time.monotonic()
        params = {
            "env": "dev",
            "input_table": "mlsys-local.bench.start",
            "output_table": f"mlsys-local.bench.start_{name}",
            "model_name": "start",
            "model_version": "v1",
        }
        requests.get(
            f"http://127.0.0.1:{port}/predict", params=params, timeout=120
        ).raise_for_status()
        return health, time.monotonic() - requested
    finally:
        server.stop()


def _first_health(port: int) -> float:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if requests.get(f"http://127.0.0.1:{port}/health", timeout=5).ok:
                return time.monotonic()
        except requests.ConnectionError:
            time.sleep(POLL)
    raise TimeoutError("/health did not answer within a minute")


if __name__ == "__main__":
    main()
