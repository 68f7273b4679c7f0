"""`make bench ARGS=trees`: tree ensembles, given rows as they come and sorted by leaf.

Batches of 65,536 rows of 20 floats, one thread. Both ways run in turn in one process: compare the
ratios of the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import warnings
from collections.abc import Callable
from typing import Any

import threadpoolctl
from sklearn.ensemble import RandomForestClassifier

from benchmarks.preprocessing import clock
from benchmarks.workloads import FLOATS, slices
from workers.inference.fast_path.leaf_order import leaf_order, put_back, reorder
from workers.inference.fast_path.same_bits import same_bits
from workers.inference.fast_path.scikit import known

TRAINING = 20_000  # rows
FOREST = {"n_jobs": 1, "random_state": 0}


def models() -> list[Any]:
    """Return one model of each class whose rows are sorted, and a shallow forest."""
    forests = [kind(100, **FOREST) for kind in known()["forests"]]
    boosted = [kind(random_state=0) for kind in known()["boosted"]]
    return [*forests, RandomForestClassifier(100, max_depth=6, **FOREST), *boosted]


def main() -> None:
    """Print a line for each ensemble."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.trees", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--rows", type=int, default=65_536, help="a batch; default: %(default)s")
    parser.add_argument("--repeat", type=int, default=7, help="default: %(default)s")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    threadpoolctl.threadpool_limits(1)
    X = next(slices(tuple(FLOATS), TRAINING + options.rows))[list(FLOATS)].to_numpy()
    print(f"{'seconds by':48}{'their order':>12}{'the leaves':>12}{'ratio':>8}")
    for model in models():
        classifies = "Classifier" in type(model).__name__
        y = X[:, 0] + X[:, 1] + 0.1 * X[:, 2]
        model.fit(X[:TRAINING], y[:TRAINING] > 0 if classifies else y[:TRAINING])
        title = f"{type(model).__name__}, max_depth={model.max_depth}"
        print(f"{title:48}", line(model, X[TRAINING:], options.repeat))


def line(model: Any, X: Any, repeat: int) -> str:
    """Time both ways of one ensemble, in turn."""

    def by_leaves() -> Any:
        order = leaf_order(model, X)
        assert order is not None
        return put_back(model.predict(reorder(X, order)), order)

    ways: list[Callable[[], Any]] = [lambda: model.predict(X), by_leaves]
    assert same_bits(ways[0](), ways[1]())
    rounds = [[clock(way)[0] for way in ways] for _ in range(repeat)]
    direct, ordered = (statistics.median(seconds) for seconds in zip(*rounds, strict=True))
    ratio = statistics.median(b / a for a, b in rounds)
    return f"{direct:11.3f}{ordered:12.3f}{ratio:8.2f}"


if __name__ == "__main__":
    main()
