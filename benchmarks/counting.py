"""`make bench ARGS=counting`: the CPU seconds that counting the columns costs a run.

Each workload's table is scored in turn with `profile=true` and `profile=false`, by one service.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import requests

from benchmarks.processes import cpu_seconds, service_processes
from benchmarks.workloads import (
    Workload,
    bench_stack,
    fit,
    make_table,
    slices,
    upload,
    workloads,
    write_parts,
)
from mlsys.columns.frames import from_frame
from mlsys.local.stack import LocalStack

WAYS = ("true", "false")  # of `profile`


def main() -> None:
    """Print a table with the medians of the CPU seconds."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.counting", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="default: %(default)s")
    parser.add_argument("--repeat", type=int, default=5, help="rounds; default: %(default)s")
    parser.add_argument("--only", default="abcde", help="workloads; default: %(default)s")
    options = parser.parse_args()
    print("| workload | off, CPU s | on, CPU s | median of the differences | share |")
    print("|---|---|---|---|---|", flush=True)
    for key, workload in workloads().items():
        if key in options.only:
            print(measured(workload, options.rows, options.repeat), flush=True)


def measured(workload: Workload, rows: int, repeat: int) -> str:
    """Return a workload's row of the table."""
    sample = fit(workload)
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder, bench_stack() as stack:
        upload(workload, *sample)
        files = write_parts(
            Path(folder) / "input", map(from_frame, slices(workload.features, rows))
        )
        table = make_table(stack, "input", files)
        score(stack, workload, table, profile="true")  # starts the processes
        for turn in range(repeat):
            for way in WAYS if turn % 2 else WAYS[::-1]:
                seconds[way].append(score(stack, workload, table, profile=way))
    on, off = seconds["true"], seconds["false"]
    more = statistics.median(a - b for a, b in zip(on, off, strict=True))
    median = statistics.median(off)
    shown = [f"{statistics.median(s):.2f} ({min(s):.2f} to {max(s):.2f})" for s in (off, on)]
    return f"| ({workload.key}) | {shown[0]} | {shown[1]} | {more:.3f} | {more / median:.1%} |"


def score(stack: LocalStack, workload: Workload, table: str, **more: str) -> float:
    """Score the table, and return the CPU seconds of the service and its processes."""
    output = f"{stack.settings.project}.bench.out_{time.monotonic_ns()}"
    parameters = {
        "env": "dev",
        "input_table": table,
        "output_table": output,
        "model_name": workload.name,
        "model_version": "v1",
    } | more
    session = requests.Session()
    session.trust_env = False
    before = cpu_seconds(service_processes(stack))
    answer = session.get(f"{stack.url}/predict", params=parameters, timeout=3600)
    after = cpu_seconds(service_processes(stack))
    answer.raise_for_status()
    stack.clients.bigquery.delete_table(output)
    return after - before


if __name__ == "__main__":
    main()
