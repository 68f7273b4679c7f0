"""`make bench ARGS=shadow`: the CPU seconds of a run with a challenger, and of both runs alone.

The bound is the sum of both runs alone less one read of the table.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from google.cloud.bigquery_storage_v1 import types

from benchmarks.counting import arguments, score
from benchmarks.workloads import (
    Workload,
    bench_stack,
    fit,
    make_table,
    slices,
    upload,
    write_parts,
)
from mlsys.cloud.tables import TableRef
from mlsys.columns.frames import from_frame
from mlsys.local.stack import LocalStack
from workers.scoring.shards.read_rows import BATCH_ROWS, read_batches
from workers.scoring.shards.session import Session

RUNS = {
    "v1": {"model_version": "v1"},
    "v2": {"model_version": "v2"},
    "both": {"model_version": "v1", "shadow": "v2"},
}


def main() -> None:
    """Print a table with the medians of the CPU seconds."""
    options, chosen = arguments("shadow", __doc__, repeat=3, only="d")
    print("| workload | profile | v1 | v2 | one read | bound | with the challenger | ratio |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for workload in chosen:
        for profile in ("true", "false"):
            print(measured(workload, options.rows, options.repeat, profile), flush=True)


def measured(workload: Workload, rows: int, repeat: int, profile: str) -> str:
    """Return a workload's row of the table."""
    X, y = fit(workload)
    seconds: dict[str, list[float]] = {name: [] for name in (*RUNS, "read")}
    with tempfile.TemporaryDirectory() as folder, bench_stack() as stack:
        upload(workload, X, y)
        half = len(X) // 2
        workload.model.fit(X[:half], y[:half])
        upload(workload, X[:half], y[:half], "v2")
        parts = map(from_frame, slices(workload.features, rows))
        table = make_table(stack, "input", write_parts(Path(folder) / "input", parts))
        score(stack, workload, table, profile=profile)  # starts the processes
        for _ in range(repeat):
            for name, parameters in RUNS.items():
                cpu = score(stack, workload, table, profile=profile, **parameters)
                seconds[name].append(cpu)
            seconds["read"].append(read(stack, table))
    v1, v2, both, one = (statistics.median(seconds[name]) for name in (*RUNS, "read"))
    bound = v1 + v2 - one
    shown = " | ".join(f"{value:.2f}" for value in (v1, v2, one, bound, both, both / bound))
    return f"| ({workload.key}) | {profile} | {shown} |"


def read(stack: LocalStack, table: str) -> float:
    """Read the table as a run does, and return the CPU seconds of this process."""
    clients = stack.clients
    opened = clients.bigquery_read.create_read_session(
        parent=f"projects/{stack.settings.project}",
        read_session=types.ReadSession(
            table=TableRef.parse(table).path, data_format=types.DataFormat.ARROW
        ),
        max_stream_count=1,
    )
    session = Session(0, tuple(stream.name for stream in opened.streams), None, 0)
    before = time.process_time()
    for shard in range(len(session.streams)):
        for _ in read_batches(clients, session, shard, 0, BATCH_ROWS):
            pass
    return time.process_time() - before


if __name__ == "__main__":
    main()
