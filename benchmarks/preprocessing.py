"""`python -m benchmarks.preprocessing`: from Arrow to predictions, by scikit-learn and compiled.

Five workloads, each on one batch of 65,536 rows. The ways are taken in turn in one process, so the
ratios of the rounds are what to read, and not the rows a second of a busy machine.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from mlsys.frames import from_frame, to_model_frame
from mlsys.loading import model_input
from mlsys.signatures import Signature
from workers.scoring.arrow_plan import Compiled, compile_model
from workers.scoring.one_pass import same_bits

NUMBERS = [f"x{i}" for i in range(5)]
STRINGS = ["colour", "city", "device"]
FLOATS = [f"f{i}" for i in range(20)]


def main() -> None:
    """Print a line for each workload."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.preprocessing", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--rows", type=int, default=65_536, help="a batch; default: %(default)s")
    parser.add_argument("--repeat", type=int, default=7, help="default: %(default)s")
    parser.add_argument("--only", default="aAbcdeE", help="workloads; default: %(default)s")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print(f"{'':38}{'thousand rows/s':>24}{'compiled':>10}{'CPU over the estimator':>26}")
    print(f"{'':38}{'plain':>12}{'compiled':>12}{'/ plain':>10}{'plain':>13}{'compiled':>13}")
    data = frame(options.rows)
    for name, (title, model, columns, methods) in workloads().items():
        if name in options.only:
            model.fit(data[columns].head(8_000), label(data).head(8_000))
            print(f"{name} {title:36}", line(model, data[columns], methods, options.repeat))


def frame(rows: int) -> pd.DataFrame:
    """A batch with a NULL in every tenth number of one column and string of another."""
    random = np.random.default_rng(0)
    df = pd.DataFrame({name: random.normal(size=rows) for name in [*NUMBERS, *FLOATS]})
    df.loc[::10, "x1"] = np.nan
    for name in STRINGS:
        df[name] = random.choice([f"{name}-{k}" for k in range(12)], size=rows)
    df.loc[::10, "city"] = None
    return df


def label(df: pd.DataFrame) -> pd.Series:
    """What the models are to find."""
    return (df["x0"] + df["f0"] > 0).astype(int)


def workloads() -> dict[str, tuple[str, Any, list[str], list[str]]]:
    """Title, model, features and the outputs that are asked for."""
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), STRINGS),
        (make_pipeline(SimpleImputer(), StandardScaler()), NUMBERS),
    )
    codes = make_column_transformer(
        (OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), STRINGS),
        ("passthrough", NUMBERS),
    )
    logistic = LogisticRegression(max_iter=200)
    forest = RandomForestClassifier(100, n_jobs=1, random_state=0)
    boosted = HistGradientBoostingClassifier(random_state=0, categorical_features=[0, 1, 2])
    both = ["predict", "predict_proba"]
    mixed = [*STRINGS, *NUMBERS]
    return {
        "a": ("LogisticRegression, one-hot", make_pipeline(columns, logistic), mixed, both[:1]),
        "A": ("the same, labels and probabilities", make_pipeline(columns, logistic), mixed, both),
        "b": ("RandomForest, one-hot", make_pipeline(columns, forest), mixed, both[:1]),
        "c": ("HistGradientBoosting, ordinal", make_pipeline(codes, boosted), mixed, both[:1]),
        "d": ("LinearRegression, 20 floats", LinearRegression(), FLOATS, both[:1]),
        "e": ("RandomForest, 20 floats", forest, FLOATS, both[:1]),
        "E": ("the same, labels and probabilities", forest, FLOATS, both),
    }


def line(model: Any, df: pd.DataFrame, methods: list[str], repeat: int) -> str:
    """Time both ways, and the estimator alone on a matrix that is there already."""
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
    """The seconds and the CPU seconds that a call takes."""
    began, used = time.perf_counter(), time.process_time()
    way()
    return time.perf_counter() - began, time.process_time() - used


if __name__ == "__main__":
    main()
