"""`make bench ARGS=memory`: the service's peak memory for tables of several sizes.

A freshly started service scores each table, which has an id, ten floats and two strings. Two modes
are measured, each compared only with itself: one process (the service gets one core), and one
process per core, the service's own choice from 100,000 rows on.

Memory is the sampled sum over the service's processes: see `Watch`. The local BigQuery holds its
tables in memory, which is reported separately.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import requests

from benchmarks.limits import MemoryGroup, one_core
from benchmarks.processes import Watch, cpu_seconds, emulator_processes, service_processes
from benchmarks.workloads import bench_stack, make_table, write_parts
from mlsys.local.stack import LocalStack
from mlsys.models import upload_model

FLOATS = [f"x{i}" for i in range(10)]
STRINGS = ["colour", "city"]
SLICE = 500_000  # rows per file: this process never holds more of the table
MIB = 2**20
INTERVAL = 0.02  # seconds between two samples: the smallest run takes about one second
ALLOWED = 1.1  # times the memory of the smallest table
ONE, ALL = "one process", "a process a core"


@dataclass(frozen=True, slots=True)
class Measured:
    """One `GET /predict`."""

    mode: str
    rows: int
    seconds: float
    idle: int  # bytes before the request
    together: int  # bytes, at the peak, as the next ones
    largest: int  # bytes, of one process
    processes: int
    group: int | None  # the control group's own figure, page cache included
    emulators: int
    problem: str | None = None


def main() -> int:
    """Print a table; the exit code is 1 if the memory grew or a run failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    sizes = [1_000_000, 5_000_000, 20_000_000]
    parser.add_argument("--rows", type=int, nargs="+", default=sizes, help="default: %(default)s")
    parser.add_argument("--limit-mib", type=int, help="the service may use this much in all")
    options = parser.parse_args()
    with contextlib.ExitStack() as exits:
        groups = exits.enter_context(_groups(options.limit_mib))
        stack = exits.enter_context(bench_stack(progress=print))
        upload(stack)
        done = []
        for rows in sorted(options.rows):
            with tempfile.TemporaryDirectory() as folder:
                files = write_parts(Path(folder), slices(rows))
                table = make_table(stack, f"rows_{rows}", files)
            done += [measure(stack, mode, table, rows, groups) for mode in (ONE, ALL)]
            stack.clients.bigquery.delete_table(table)
    return report(done, options.limit_mib)


def slices(rows: int) -> Iterator[pa.Table]:
    """Yield the table's rows in slices; they are always the same."""
    for start in range(0, rows, SLICE):
        count = min(SLICE, rows - start)
        random = np.random.default_rng(start)
        columns = {"id": pa.array(np.arange(start, start + count))}
        columns |= {name: pa.array(random.normal(size=count)) for name in FLOATS}
        for name in STRINGS:
            words = pa.array([f"{name}-{k}" for k in range(12)])
            columns[name] = words.take(pa.array(random.integers(0, 12, count)))
        yield pa.table(columns)


def upload(stack: LocalStack) -> None:
    """Fit a Pipeline on a few rows and upload it."""
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    rows = next(slices(20_000))
    sample = pd.DataFrame(rows.to_pydict())
    columns = ColumnTransformer(
        [
            ("floats", StandardScaler(), FLOATS),
            ("strings", OneHotEncoder(handle_unknown="ignore"), STRINGS),
        ]
    )
    model = Pipeline([("columns", columns), ("model", LogisticRegression(max_iter=200))])
    X, y = sample[FLOATS + STRINGS], sample["x0"] + sample["x1"] > 0
    model.fit(X, y)
    upload_model(model, "bench-memory", "v1", X=X, y=y, target="positive", id_columns=["id"])


def measure(stack: LocalStack, mode: str, table: str, rows: int, groups: Groups) -> Measured:
    """Score a table of `rows` rows by a service that has just started."""
    print(f"  {rows:,} rows, {mode}", flush=True)
    output = f"{stack.settings.project}.bench.scored"
    with contextlib.ExitStack() as limits:
        group = groups.enter(limits)
        if mode == ONE:
            limits.enter_context(one_core())
        stack.restart_service()
    groups.limit_processes(service_processes(stack))
    parameters = {
        "env": "dev",
        "input_table": table,
        "output_table": output,
        "model_name": "bench-memory",
        "model_version": "v1",
    }
    session = requests.Session()
    session.trust_env = False
    wait_until_idle(stack)
    with Watch(lambda: service_processes(stack)) as idle:
        time.sleep(1.0)
    with (
        Watch(lambda: service_processes(stack), INTERVAL) as peak,
        Watch(emulator_processes) as emulators,
    ):
        began = time.monotonic()
        problem = None
        try:
            answer = session.get(f"{stack.url}/predict", params=parameters, timeout=3600)
            if not answer.ok or answer.json()["rows"] != rows:
                problem = answer.text
        except requests.RequestException as exc:
            problem = str(exc)
        seconds = time.monotonic() - began
    if group is not None and group.killed:
        problem = f"The kernel killed {group.killed} process(es) for memory. {problem or ''}"
    stack.clients.bigquery.delete_table(output, not_found_ok=True)
    return Measured(
        mode=mode,
        rows=rows,
        seconds=seconds,
        idle=idle.together,
        together=peak.together,
        largest=peak.largest,
        processes=peak.most_at_once,
        group=group.peak if group is not None else None,
        emulators=emulators.together,
        problem=problem,
    )


def wait_until_idle(stack: LocalStack) -> None:
    """Wait until the service has warmed up: its imports are part of every run's memory."""
    before = -1.0
    while (now := cpu_seconds(service_processes(stack))) - before > 0.05:
        before = now
        time.sleep(1.0)


class Groups:
    """The limit on the service's memory, if any: a control group, else a limit per process."""

    def __init__(self, limit_mib: int | None, exits: contextlib.ExitStack) -> None:
        self._limit = limit_mib * MIB if limit_mib else None
        self._exits = exits
        self._by_group = True

    def enter(self, block: contextlib.ExitStack) -> MemoryGroup | None:
        """Start what the block starts within a new group; return the group."""
        if self._limit is None or not self._by_group:
            return None
        try:
            group = MemoryGroup(self._limit)
        except OSError as exc:
            self._by_group = False
            print(
                f"  control groups are not available ({exc}): the limit applies to each process, "
                "and to the memory that it reserves, which is more than it uses"
            )
            return None
        self._exits.callback(group.remove)
        block.enter_context(group.inside())
        return group

    def limit_processes(self, processes: Sequence[psutil.Process]) -> None:
        """Without groups, limit the data of each process and of what it starts."""
        if self._limit is None or self._by_group:
            return
        import resource

        for process in processes:
            process.rlimit(resource.RLIMIT_DATA, (self._limit, self._limit))


@contextlib.contextmanager
def _groups(limit_mib: int | None) -> Iterator[Groups]:
    """Yield the groups; they are removed after the stack, whose processes are in them."""
    with contextlib.ExitStack() as exits:
        yield Groups(limit_mib, exits)


def report(done: Sequence[Measured], limit_mib: int | None) -> int:
    """Print the measurements and whether the memory grew; return 1 if it did or a run failed."""
    print(
        "\nPeak MiB of the service: its processes together (anonymous memory by PSS, mapped files"
    )
    print("once), the largest of them (resident), and before the request.")
    if any(m.group for m in done):
        print(f"Within a control group of {limit_mib} MiB, whose own peak includes page cache.")
    head = ("rows", "seconds", "rows/s", "together", "ratio", "largest", "processes")
    more = ("idle", "group", "emulators")
    bad = 0
    for mode in dict.fromkeys(m.mode for m in done):
        print(f"\n{mode}\n" + "".join(f"{name:>12}" for name in head + more))
        mine = [m for m in done if m.mode == mode]
        for m in mine:
            ratio = m.together / mine[0].together
            group = "" if m.group is None else f"{m.group / MIB:.0f}"
            print(
                f"{m.rows:12,}{m.seconds:12.1f}{m.rows / m.seconds:12,.0f}"
                f"{m.together / MIB:12.0f}{ratio:12.2f}{m.largest / MIB:12.0f}{m.processes:12}"
                f"{m.idle / MIB:12.0f}{group:>12}{m.emulators / MIB:12.0f}"
            )
            if m.problem:
                print(f"  FAILED: {m.problem}")
        bad += any(m.problem for m in mine)
        if len(mine) > 1:
            ratio = mine[-1].together / mine[0].together
            bad += ratio > ALLOWED
            print(
                f"{mine[-1].rows:,} rows take {ratio:.2f} times the memory of {mine[0].rows:,}: "
                f"{'more than' if ratio > ALLOWED else 'at most'} {ALLOWED} times"
            )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
