"""`make bench ARGS=preprocessing`: from Arrow to predictions, by scikit-learn and compiled.

Five workloads, each on one batch of 65,536 rows. The ways run in turn in one process: compare the
ratios of the rounds, not the rows per second of a busy machine.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

from benchmarks.workloads import Workload, fit, slices, workloads
from mlsys.artifact.estimators.inputs import model_input
from mlsys.artifact.signatures import Signature
from mlsys.columns.frames import from_frame, to_model_frame
from workers.inference.fast_path.compiler import compile_model
from workers.inference.fast_path.model import Compiled
from workers.inference.fast_path.same_bits import same_bits

BOTH = ["predict", "predict_proba"]
CASES = [(key, BOTH[:1]) for key in "abcde"] + [("a", BOTH), ("e", BOTH)]


def main() -> None:
    """Print a line for each workload."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.preprocessing", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--rows", type=int, default=65_536, help="a batch; default: %(default)s")
    parser.add_argument("--repeat", type=int, default=7, help="default: %(default)s")
    parser.add_argument("--only", default="abcde", help="workloads; default: %(default)s")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print(f"{'':50}{'thousand rows/s':>24}{'compiled':>10}{'CPU over the estimator':>26}")
    print(f"{'':50}{'plain':>12}{'compiled':>12}{'/ plain':>10}{'plain':>13}{'compiled':>13}")
    models = workloads()
    for key, methods in CASES:
        if key in options.only:
            workload = models[key]
            title = workload.title + (", probabilities too" if methods == BOTH else "")
            print(f"{key} {title:48}", line(workload, methods, options.rows, options.repeat))


def line(workload: Workload, methods: list[str], rows: int, repeat: int) -> str:
    """Time both ways, and the estimator alone on a finished matrix."""
    model, df = workload.model, next(slices(workload.features, rows))[list(workload.features)]
    fit(workload)
    table, features = from_frame(df), Signature.from_data(df).features
    compiled = compile_model(model, features)
    assert isinstance(compiled, Compiled), compiled

    def plain() -> dict[str, Any]:
        X = model_input(model, to_model_frame(table, features))
        return {method: getattr(model, method)(X) for method in methods}

    matrix = compiled.matrix(table)
    ways: list[Callable[[], Any]] = [
        plain,
        lambda: compiled.answers(table, methods),
        lambda: [getattr(compiled.estimator, method)(matrix) for method in methods],
    ]
    assert all(same_bits(ways[0]()[m], ways[1]()[m]) for m in methods)
    seconds: list[list[float]] = []
    cpu: list[list[float]] = []
    for _ in range(repeat):
        wall, used = zip(*(clock(way) for way in ways), strict=True)
        seconds.append(list(wall))
        cpu.append(list(used))
    rates = [len(df) / statistics.median(s[i] for s in seconds) / 1e3 for i in (0, 1)]
    ratio = statistics.median(s[0] / s[1] for s in seconds)
    over = [statistics.median(c[i] / c[2] for c in cpu) for i in (0, 1)]
    return f"{rates[0]:11,.0f}{rates[1]:12,.0f}{ratio:10.2f}{over[0]:13.2f}{over[1]:13.2f}"


def clock(way: Callable[[], Any]) -> tuple[float, float]:
    """Return the seconds and the CPU seconds that a call takes."""
    began, used = time.perf_counter(), time.process_time()
    way()
    return time.perf_counter() - began, time.process_time() - used


if __name__ == "__main__":
    main()
