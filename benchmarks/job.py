"""`make bench ARGS=job`: a table scored by the service, and by the tasks of the local job.

Each task has one core, in turn. The outputs are compared bit by bit, and the run's measured parts
give the times with more tasks (`job_model`), which are computed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
from sklearn.neighbors import KNeighborsRegressor

from benchmarks import job_model
from benchmarks.workloads import (
    FLOATS,
    Workload,
    bench_stack,
    fit,
    make_table,
    slices,
    upload,
    workloads,
    write_parts,
)
from mlsys.cloud.clients import clients_for
from mlsys.cloud.tables import TableRef
from mlsys.columns.frames import from_frame
from mlsys.local.stack import LocalStack
from workers.scoring.engines.perform import perform
from workers.scoring.journal.outcomes import Result
from workers.scoring.journal.store import RunStore
from workers.scoring.planning.find_run import prepare
from workers.scoring.request.parsed import ScoringRequest

NEIGHBOURS = Workload("n", "nearest neighbours", KNeighborsRegressor(), tuple(FLOATS[:5]))
# A task of one core: the process that Cloud Run would give one CPU.
TASK = """
import os, runpy
cores = sorted(os.sched_getaffinity(0))
os.sched_setaffinity(0, {cores[int(os.environ["CLOUD_RUN_TASK_INDEX"]) % len(cores)]})
runpy.run_module("workers.scoring.engines.task", run_name="__main__", alter_sys=True)
"""


def main() -> int:
    """Print the table; the exit code is 1 if an output differs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks job", description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000, help="default: %(default)s")
    parser.add_argument("--tasks", type=int, nargs="+", default=[4], help="default: %(default)s")
    parser.add_argument("--workload", default="d", help="a to e, or n: nearest neighbours")
    parser.add_argument("--computed-rows", type=int, help="of the computed runs; default: --rows")
    parser.add_argument("--load", type=float, help="seconds for a million rows, of a larger run")
    parser.add_argument("--no-service", action="store_true", help="skip the service's run")
    options = parser.parse_args()
    workload = {**workloads(), "n": NEIGHBOURS}[options.workload]
    outputs: list[str] = []
    with bench_stack(progress=print) as stack:
        upload(workload, *fit(workload))
        with tempfile.TemporaryDirectory() as folder:
            files = write_parts(
                Path(folder) / "input", map(from_frame, slices(workload.features, options.rows))
            )
            table = make_table(stack, "input", files)
        name = stack.settings.job
        _, *rest = stack.jobs._jobs[name]
        stack.jobs._jobs[name] = ([sys.executable, "-c", TASK], *rest)  # type: ignore[assignment]
        runs = [] if options.no_service else [("service", 1)]
        for engine, tasks in [*runs, *(("job", tasks) for tasks in options.tasks)]:
            result, store = score(stack, workload, table, engine, tasks)
            print(f"\n{engine}, {tasks} tasks: {result.rows:,} rows in {result.seconds:.1f} s")
            outputs.append(result.output_table)
            if engine == "job":
                parts = job_model.measured(store, tasks)
                if options.load:
                    parts = replace(parts, load=options.load * options.rows / 1e6)
                rows = options.computed_rows or options.rows
                print(job_model.table(parts, rows, [1, 2, 10, 100, 1000]))
        equal = [same_bits(stack, outputs[0], other) for other in outputs[1:]]
    print(f"\nOutputs compared with the first one, bit by bit: {equal}")
    return 0 if all(equal) else 1


def score(
    stack: LocalStack, workload: Workload, table: str, engine: str, tasks: int
) -> tuple[Result, RunStore]:
    """Score the table into an output of its own."""
    clients = clients_for(replace(stack.settings, job_tasks=tasks, job_cpus=1))
    output = TableRef.parse(f"{stack.settings.project}.bench.{engine}_{tasks}")
    request = ScoringRequest(
        "dev", TableRef.parse(table), output, workload.name, "v1", engine=engine
    )
    prepared = prepare(clients, request)
    result = perform(clients, prepared)
    assert result is not None
    return result, prepared.store


def same_bits(stack: LocalStack, one: str, other: str) -> bool:
    """Tell whether two outputs hold the same rows, by the bits of every id and prediction."""
    first, second = (rows_of(stack, table) for table in (one, other))
    return first.equals(second)


def rows_of(stack: LocalStack, table: str) -> pa.Table:
    """Return the ids and predictions of an output as they are stored, in the order of the ids."""
    from google.cloud.bigquery_storage_v1 import types

    client = stack.clients.bigquery_read
    session = client.create_read_session(
        parent=f"projects/{stack.settings.project}",
        read_session=types.ReadSession(
            table=TableRef.parse(table).path,
            data_format=types.DataFormat.ARROW,
            read_options=types.ReadSession.TableReadOptions(selected_fields=["id", "prediction"]),
        ),
        max_stream_count=1,
    )
    rows = client.read_rows(session.streams[0].name).to_arrow(session)
    bits = rows.column("prediction").combine_chunks()
    if pa.types.is_floating(bits.type):
        bits = bits.view(pa.int64())  # -0.0 and 0.0 differ, NaN equals itself
    return pa.table({"id": rows.column("id"), "bits": bits}).sort_by("id").combine_chunks()


if __name__ == "__main__":
    sys.exit(main())
