"""`make bench ARGS=counting`: the CPU seconds that the counts and the contract cost a run.

Each workload's table is scored in turn with both on, as the model's upload left them, and with
`profile=false&contract=off`, by one service.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
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

WAYS = {
    "on": {"profile": "true", "contract": "enforce"},
    "off": {"profile": "false", "contract": "off"},
}


def main() -> None:
    """Print a table with the medians of the CPU seconds, and of the pairs' ratios."""
    options, chosen = arguments("counting", __doc__, repeat=5, only="abcde")
    print("| workload | off, CPU s | on, CPU s | pairs | median on/off (range) | load |")
    print("|---|---|---|---|---|---|", flush=True)
    for workload in chosen:
        print(measured(workload, options.rows, options.repeat), flush=True)


def arguments(
    name: str, description: str | None, *, repeat: int, only: str
) -> tuple[argparse.Namespace, list[Workload]]:
    """Parse the command line of a benchmark that compares runs; return the workloads too."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description)
    parser.add_argument("--rows", type=int, default=1_000_000, help="default: %(default)s")
    parser.add_argument("--repeat", type=int, default=repeat, help="rounds; default: %(default)s")
    parser.add_argument("--only", default=only, help="workloads; default: %(default)s")
    options = parser.parse_args()
    return options, [w for key, w in workloads().items() if key in options.only]


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
        score(stack, workload, table, **WAYS["on"])  # starts the processes
        for turn in range(repeat):
            for way in WAYS if turn % 2 else reversed(WAYS):
                seconds[way].append(score(stack, workload, table, **WAYS[way]))
    on, off = seconds["on"], seconds["off"]
    ratios = [a / b for a, b in zip(on, off, strict=True)]
    shown = [median_and_range(values) for values in (off, on)]
    cells = [*shown, str(repeat), median_and_range(ratios), f"{os.getloadavg()[0]:.0f}"]
    return f"| ({workload.key}) | {' | '.join(cells)} |"


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


def median_and_range(values: Sequence[float], digits: int = 3) -> str:
    """Return the median with the least and the largest value, as a cell of a table."""
    shown = [
        f"{value:.{digits}f}" for value in (statistics.median(values), min(values), max(values))
    ]
    return "{} ({} to {})".format(*shown)


if __name__ == "__main__":
    main()
