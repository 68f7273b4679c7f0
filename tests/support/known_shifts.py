"""Data sets whose shift is known, and what our measure and BigQuery's default say of them.

python tests/support/known_shifts.py    prints the table of docs/models.md
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mlsys.artifact.profiling import describe
from mlsys.columns.bins import count
from mlsys.columns.stored import stored
from workers.monitoring.drift import DRIFT, OK, TOO_FEW, WARN, Verdict, judge
from workers.monitoring.reference import FEATURE, TRAINING, Watched

BIGQUERY_BINS, BIGQUERY_DRIFT = 10, 0.3  # ML.VALIDATE_DATA_DRIFT's defaults, divergence


@dataclass(frozen=True)
class Shift:
    """Training values and a table's values of one column, and the level that is right."""

    about: str
    level: str
    train: Callable[[np.random.Generator], Any]
    score: Callable[[np.random.Generator], Any]
    columns: int = 14  # that the run compares


def verdict(train: Any, score: Any, columns: int = 14) -> Verdict:
    """Return what a run over a table with the values `score` says."""
    profile = describe(stored(pd.Series(train), "train"))
    about = {"source": TRAINING, "identifier": profile.distinct is not None}
    watched = Watched(FEATURE, "x", profile.bins, profile.counts, **about)
    counts = count(profile.bins, stored(pd.Series(score), "score"))
    return judge(watched, counts, columns)


def bigquery(train: Any, score: Any) -> float:
    """Return the divergence by BigQuery's defaults: ten bins of equal width for numbers, no NULLs.

    https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-validate-data-drift
    """
    from scipy.spatial.distance import jensenshannon

    a, b = pd.Series(train).dropna(), pd.Series(score).dropna()
    if pd.api.types.is_numeric_dtype(a.dtype) and a.dtype != bool:
        edges = np.linspace(min(a.min(), b.min()), max(a.max(), b.max()), BIGQUERY_BINS + 1)
        p, q = np.histogram(a, edges)[0], np.histogram(b, edges)[0]
    else:
        values = sorted({*a, *b})
        p, q = (np.array([(side == value).sum() for value in values]) for side in (a, b))
    return float(jensenshannon(p, q, base=2) ** 2)


def normal(rows: int, shift: float = 0.0, scale: float = 1.0) -> Callable[..., Any]:
    return lambda random: random.normal(shift, scale, rows)


def words(
    rows: int, of: Sequence[str], shares: Sequence[float] | None = None
) -> Callable[..., Any]:
    return lambda random: random.choice(list(of), rows, p=shares)


def with_nulls(rows: int, share: float) -> Callable[..., Any]:
    return lambda random: np.where(random.random(rows) < share, np.nan, random.normal(size=rows))


def one_outlier(rows: int) -> Callable[..., Any]:
    return lambda random: np.append(random.normal(size=rows - 1), 1e6)


def days(rows: int, first: dt.date, length: int) -> Callable[..., Any]:
    return lambda random: [first + dt.timedelta(int(d)) for d in random.integers(0, length, rows)]


def season(rows: int, first: int, last: int) -> Callable[..., Any]:
    """Return temperatures of the months from `first` to `last`."""

    def values(random: np.random.Generator) -> Any:
        month = random.uniform(first, last, rows)
        return 10 - 10 * np.cos(month / 12 * 2 * np.pi) + random.normal(0, 3, rows)

    return values


def as_float32(values: Any) -> Callable[..., Any]:
    """Return values that a table holds in single precision: none of them has moved."""
    return lambda random: random.choice(values, N).astype(np.float32).astype(np.float64)


ABC, RENAMED = ["a", "b", "c"], ["a", "b", "C"]
N, M = 10_000, 20_000
TENTHS = np.arange(1, 40) / 10
PRICES = np.append(np.full(16, 0.7), 0.95 + 1.1 * np.arange(24))

SHIFTS = [
    Shift("none, 10,000 rows", OK, normal(M), normal(N)),
    Shift("none, 100 rows against 891", OK, normal(891), normal(100)),
    Shift("none, 500 columns", OK, normal(891), normal(418), columns=500),
    Shift("none, 2,000,000 rows", OK, normal(M), normal(2_000_000)),
    Shift("none, log-normal", OK, lambda r: r.lognormal(size=M), lambda r: r.lognormal(size=N)),
    Shift("0.1 sd in 2,000,000 rows", OK, normal(M), normal(2_000_000, 0.1)),
    Shift("0.35 sd", WARN, normal(M), normal(N, 0.35)),
    Shift("0.35 sd, 60 rows against 891", OK, normal(891), normal(60, 0.35)),
    Shift("1 sd", DRIFT, normal(M), normal(N, 1)),
    Shift("1 sd, 100 rows against 891", DRIFT, normal(891), normal(100, 1)),
    Shift("1 sd, 20 rows", TOO_FEW, normal(891), normal(20, 1)),
    Shift("1 sd, 500 columns", DRIFT, normal(891), normal(418, 1), columns=500),
    Shift("twice as wide", DRIFT, normal(M), normal(N, 0, 2)),
    Shift("another unit (x 1,000)", DRIFT, normal(M, 50), lambda r: r.normal(50, 1, N) * 1000),
    Shift("NULL in 12 % of the rows", DRIFT, normal(M), with_nulls(N, 0.12)),
    Shift("NULL in 6 % of the rows", WARN, normal(M), with_nulls(N, 0.06)),
    Shift("NULL in 20 %, as in training", OK, with_nulls(M, 0.2), with_nulls(N, 0.2)),
    Shift("all NULL", DRIFT, normal(M), lambda r: np.full(N, np.nan)),
    Shift("one outlier", OK, normal(M), one_outlier(N)),
    Shift("one outlier, in training", OK, one_outlier(M), normal(N)),
    Shift("1 sd, one outlier in training", DRIFT, one_outlier(M), normal(N, 1)),
    Shift("categories as in training", OK, words(M, ABC), words(N, ABC)),
    Shift("a category renamed", DRIFT, words(M, ABC), words(N, RENAMED)),
    Shift(
        "a rare category renamed (2 %)", WARN,
        words(M, ABC, [0.6, 0.38, 0.02]), words(N, RENAMED, [0.6, 0.38, 0.02]),
    ),
    Shift("shares 60:30:10 for 34:33:33", DRIFT, words(M, ABC), words(N, ABC, [0.6, 0.3, 0.1])),
    Shift(
        "300 words, 100 of them in bins", OK,
        words(M, [f"w{i}" for i in range(300)]), words(N, [f"w{i}" for i in range(300)]),
    ),
    Shift(
        "many rare words, others each time", OK,
        lambda r: np.char.add("w", r.zipf(1.6, M).clip(1, 400).astype(str)),
        lambda r: np.char.add("w", r.zipf(1.6, 418).clip(1, 400).astype(str)),
    ),
    Shift("a flag, 6 % for 1 %", WARN, lambda r: r.random(M) < 0.01, lambda r: r.random(N) < 0.06),
    Shift("winter, trained on a year", DRIFT, season(M, 0, 12), season(N, -1, 2)),
    Shift("the same winter, trained on winters", OK, season(M, -1, 2), season(N, -1, 2)),
    Shift(
        "dates of the next month", DRIFT,
        days(M, dt.date(2026, 1, 1), 31), days(N, dt.date(2026, 2, 1), 28),
    ),
    Shift(
        "identifiers", OK,
        lambda r: [f"id{i}" for i in range(M)], lambda r: [f"k{i}" for i in range(N)],
    ),
    Shift(
        "row numbers, shuffled, the next ones", OK,
        lambda r: r.permutation(M), lambda r: r.permutation(np.arange(M, M + N)),
    ),
    Shift(
        "numbers that rise from row to row", OK,
        lambda r: r.integers(1, 10**9, M).cumsum(), lambda r: r.integers(2**62, 2**63 - 1, N),
    ),
    Shift("prices, as float32", OK, lambda r: r.choice(PRICES, M), as_float32(PRICES)),
    Shift("tenths, as float32", OK, lambda r: r.choice(TENTHS, M), as_float32(TENTHS)),
]  # fmt: skip


def main() -> None:
    """Print what was expected and what is said."""
    print("| shift | right | said | distance | PSI | BigQuery's divergence | it says |")
    print("|---|---|---|---|---|---|---|")
    for place, shift in enumerate(SHIFTS):
        random = np.random.default_rng(place)
        train, score = shift.train(random), shift.score(random)
        said = verdict(train, score, shift.columns)
        theirs = "-"
        if "identifiers" not in shift.about and "all NULL" not in shift.about:
            theirs = f"{(value := bigquery(train, score)):.3f}"
            theirs += f" | {'drift' if value > BIGQUERY_DRIFT else 'ok'}"
        else:
            theirs += " | -"
        distance = f"{said.distance:.3f} | {said.psi:.3f}"
        print(f"| {shift.about} | {shift.level} | {said.level} | {distance} | {theirs} |")


if __name__ == "__main__":
    main()
