"""`make bench`: score tables by the service and by other ways, in turn, in one run.

The whole-table way does what a notebook does: read the table into a DataFrame, predict, load the
DataFrame. The service on one core is measured too, and MLflow, Dask, Ray Data and Apache Beam if
`make bench-peers` has installed them. All use the same local BigQuery and Cloud Storage, by the
protocols of the cloud. These servers restart for each round (for large tables, after every few
ways of a round), and the service scores 250,000 rows before it is measured. Times on a shared
machine mean little: compare the ratios of one run.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd

from benchmarks import registry, start
from benchmarks.report import Report, machine
from benchmarks.ways import ONE_CORE, PEERS, SERVICE, WHOLE, Measured, WayFailed, measure, ways
from benchmarks.workloads import (
    Case,
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

ROWS, SLOW_ROWS = "1000000,5000000", "1000000"
LONG_ROWS, LONG_SLOW_ROWS = "20000000", "5000000"
WARM_UP = 250_000  # rows: enough for the service to start its processes
# The local BigQuery keeps in memory what each session reads, so one stack serves at most this much.
VALUES_OF_A_STACK = 400_000_000


# The other measurements, which `make bench ARGS=...` runs in place of the comparison
OTHERS = (
    *("console", "counting", "image", "job", "memory", "neighbours", "preprocessing"),
    *("shadow", "start", "trees"),
)


def main() -> int:
    """Print the tables; the exit code is 1 if a way failed."""
    if sys.argv[1:2] and sys.argv[1] in OTHERS:
        return importlib.import_module(f"benchmarks.{sys.argv.pop(1)}").main() or 0
    options = arguments()
    state = machine(ways(options.peers))  # before the run adds load
    failed: list[str] = []
    rounds: list[Measured] = []
    done: list[Case] = []
    sections = {} if options.scoring_alone or options.long else others(options)
    for case in cases(options):
        done = sorted([*done, case], key=lambda case: (case.workload.key, case.rows))
        before = rounds
        for measured in take_turns(case, options, failed):
            rounds = [*before, *measured]
            report = Report(done, rounds, sections, state, failed)
            if options.write:  # each time: an interrupted run keeps what it measured
                report.write(options.long)
    print(f"\n{report.text()}")
    return 1 if failed else 0


def cases(options: argparse.Namespace) -> list[Case]:
    """Return the tables to score, the smallest of all models first."""
    selected = [
        Case(workload, rows)
        for key, workload in workloads().items()
        if key in options.only
        for rows in (options.slow_rows if workload.slow else options.rows)
    ]
    return sorted(selected, key=lambda case: case.rows)


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rows", type=counts, help=f"comma-separated; default: {ROWS}")
    parser.add_argument("--slow-rows", type=counts, help=f"for b, c and e; default: {SLOW_ROWS}")
    parser.add_argument("--repeat", type=int, default=5, help="rounds; default: %(default)s")
    parser.add_argument("--only", default="abcde", help="workloads; default: %(default)s")
    parser.add_argument(
        "--peers", help=f"any of {','.join(PEERS)}; default: those that are installed"
    )
    parser.add_argument(
        "--scoring-alone", action="store_true", help="skip the registry and the start"
    )
    parser.add_argument(
        "--long",
        action="store_true",
        help=f"{LONG_ROWS} rows ({LONG_SLOW_ROWS} for b, c and e), scoring only",
    )
    parser.add_argument(
        "--write",
        action="store_true",
        help="write RESULTS.md and results.png, or RESULTS-long.md and results-long.png",
    )
    options = parser.parse_args()
    options.rows = options.rows or counts(LONG_ROWS if options.long else ROWS)
    options.slow_rows = options.slow_rows or counts(LONG_SLOW_ROWS if options.long else SLOW_ROWS)
    return options


def counts(text: str) -> list[int]:
    """Parse comma-separated numbers of rows, without duplicates.

    >>> counts("1000000,5_000_000")
    [1000000, 5000000]
    """
    return list(dict.fromkeys(int(count) for count in text.split(",")))


def take_turns(
    case: Case, options: argparse.Namespace, failed: list[str]
) -> Iterator[list[Measured]]:
    """Measure every way in every round; yield all rounds so far after each.

    A peer that fails is left out and named in `failed`.
    """
    print(case, flush=True)
    workload = case.workload
    sample = fit(workload)
    at_once = max(1, VALUES_OF_A_STACK // (case.rows * len(workload.features)))
    todo = ways(options.peers)
    measured: list[Measured] = []
    with tempfile.TemporaryDirectory() as folder:
        sizes = {"input": case.rows, "warm_up": WARM_UP}
        files = {
            name: write_parts(Path(folder) / name, map(from_frame, slices(workload.features, rows)))
            for name, rows in sizes.items()
        }
        for i in range(options.repeat):
            # Each way runs early in some rounds and late in others.
            first = i * len(todo) // options.repeat
            for some in itertools.batched([*todo[first:], *todo[:first]], at_once):
                for way, outcome in in_one_stack(case, sample, files, some):
                    if isinstance(outcome, Measured):
                        measured.append(outcome)
                        continue
                    failed.append(f"{case}, {way}: {outcome}")
                    print(f"  {failed[-1]}", file=sys.stderr)
                    todo = [other for other in todo if other != way]
                    measured = [m for m in measured if m.way != way]
            seconds = {m.way: m.seconds for m in measured[-len(todo) :]}
            times = ", ".join(f"{way} {s:.1f} s" for way, s in seconds.items())
            print(f"  round {i + 1}: {times}", flush=True)
            yield measured


def in_one_stack(
    case: Case,
    sample: tuple[pd.DataFrame, pd.Series],
    files: Mapping[str, Sequence[Path]],
    some: Sequence[str],
) -> Iterator[tuple[str, Measured | WayFailed]]:
    """Score the table by some ways; yield each way's measurement, or why a peer failed."""
    with bench_stack() as stack:
        upload(case.workload, *sample)
        if {SERVICE, ONE_CORE}.intersection(some):
            warm_up(stack, case.workload, files["warm_up"])
        table = make_table(stack, "input", files["input"])
        for way in some:
            try:
                measured = measure(stack, way, case, table)
            except WayFailed as exc:
                if way in (SERVICE, WHOLE):
                    raise
                yield way, exc
            else:
                yield way, measured


def warm_up(stack: LocalStack, workload: Workload, files: Sequence[Path]) -> None:
    """Score some rows by the service, on all cores and on one, so that its processes start."""
    table = make_table(stack, "warm_up", files)
    for way in (SERVICE, ONE_CORE):
        measure(stack, way, Case(workload, WARM_UP), table)


def others(options: argparse.Namespace) -> dict[str, str]:
    """Measure the registry and the start."""
    sections = {}
    for title, measured in (("Registry", registry.measured), ("Start", start.measured)):
        print(title, flush=True)
        with bench_stack() as stack:
            sections[title] = measured(stack, options.repeat)
    return sections


if __name__ == "__main__":
    sys.exit(main())
