"""`make bench`: score tables by the service and by other ways, in turn, in one run.

The whole-table way is what a notebook does: the table into a DataFrame, predict, load the
DataFrame. MLflow, Dask, Ray Data and Apache Beam are measured too where `make bench-peers` has
installed them, and the service on one core. All use the same local BigQuery and Cloud Storage, by
the protocols of the cloud; for each round these servers start anew, and the service scores 250,000
rows before it is measured. Times on a shared machine mean little; the ratios of one run are what to
read.
"""

from __future__ import annotations

import argparse
import sys

import pandas as pd

from benchmarks import registry, start
from benchmarks.report import Report, machine
from benchmarks.ways import ONE_CORE, PEERS, SERVICE, WHOLE, Measured, WayFailed, measure, ways
from benchmarks.workloads import Case, bench_stack, fit, make_table, slices, upload, workloads
from mlsys.frames import from_frame
from mlsys.local.stack import LocalStack

ROWS_LONG = 20_000_000
WARM_UP = 250_000  # rows, for which the service starts its processes


def main() -> int:
    """Print the tables; the exit code is 1 if a way failed."""
    options = arguments()
    state = machine(ways(options.peers))  # before there is any load of ours
    failed: list[str] = []
    rounds: list[Measured] = []
    done: list[Case] = []
    sections = {} if options.scoring_alone else others(options)
    for case in cases(options):
        rounds += take_turns(case, options, failed)
        done = sorted([*done, case], key=lambda case: (case.workload.key, case.rows))
        report = Report(done, rounds, sections, state, failed)
        if options.write:  # each time: a run that is broken off has measured something too
            report.write()
    print(f"\n{report.text()}")
    return 1 if failed else 0


def cases(options: argparse.Namespace) -> list[Case]:
    """The tables to score, the small ones of all models first."""
    long = [ROWS_LONG] if options.long else []
    found = [
        Case(workload, rows)
        for key, workload in workloads().items()
        if key in options.only
        for rows in (options.slow_rows if workload.slow else [*options.rows, *long])
    ]
    return sorted(found, key=lambda case: case.rows)


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--rows", type=counts, default="1000000,5000000", help="by commas; default: %(default)s"
    )
    parser.add_argument(
        "--slow-rows", type=counts, default="1000000", help="of b, c and e; default: %(default)s"
    )
    parser.add_argument("--repeat", type=int, default=5, help="rounds; default: %(default)s")
    parser.add_argument("--only", default="abcde", help="workloads; default: %(default)s")
    parser.add_argument(
        "--peers", help=f"of {','.join(PEERS)}, by commas; default: all that are installed"
    )
    parser.add_argument(
        "--scoring-alone", action="store_true", help="leave out the registry and the start"
    )
    parser.add_argument(
        "--long",
        action="store_true",
        help=f"{ROWS_LONG:,} rows, too, of a and d",
    )
    parser.add_argument(
        "--write", action="store_true", help="benchmarks/RESULTS.md and results.png"
    )
    return parser.parse_args()


def counts(text: str) -> list[int]:
    """Numbers of rows, each once.

    >>> counts("1000000,5_000_000")
    [1000000, 5000000]
    """
    return list(dict.fromkeys(int(count) for count in text.split(",")))


def take_turns(case: Case, options: argparse.Namespace, failed: list[str]) -> list[Measured]:
    """Measure every way in every round; a peer that fails is left out, and named in `failed`."""
    print(case, flush=True)
    sample = fit(case.workload)
    todo = ways(options.peers)
    found: list[Measured] = []
    for i in range(options.repeat):
        with bench_stack() as stack:  # the local BigQuery keeps what each read session read
            table = prepare(stack, case, sample)
            # Each way has its turn early in some rounds and late in others.
            first = i * len(todo) // options.repeat
            for way in [*todo[first:], *todo[:first]]:
                try:
                    found.append(measure(stack, way, case, table))
                except WayFailed as exc:
                    if way in (SERVICE, WHOLE):
                        raise
                    failed.append(f"{case}, {way}: {exc}")
                    print(f"  {failed[-1]}", file=sys.stderr)
                    todo = [other for other in todo if other != way]
                    found = [m for m in found if m.way != way]
        seconds = {m.way: m.seconds for m in found[-len(todo) :]}
        said = ", ".join(f"{way} {s:.1f} s" for way, s in seconds.items())
        print(f"  round {i + 1}: {said}", flush=True)
    return found


def prepare(stack: LocalStack, case: Case, sample: tuple[pd.DataFrame, pd.Series]) -> str:
    """Upload the model, let the service score some rows, and return the case's table."""
    workload = case.workload
    upload(workload, *sample)

    def table(name: str, rows: int) -> str:
        return make_table(stack, name, map(from_frame, slices(workload.features, rows)))

    warm_up = table("warm_up", WARM_UP)
    for way in ways(""):
        if way in (SERVICE, ONE_CORE):
            measure(stack, way, Case(workload, WARM_UP), warm_up)
    return table("input", case.rows)


def others(options: argparse.Namespace) -> dict[str, str]:
    """Measure the registry and the start."""
    found = {}
    for title, measured in (("Registry", registry.measured), ("Start", start.measured)):
        print(title, flush=True)
        with bench_stack() as stack:
            found[title] = measured(stack, options.repeat)
    return found


if __name__ == "__main__":
    sys.exit(main())
