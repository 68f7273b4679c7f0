"""Decide whether a column of a run differs from its reference, by counts alone.

The Jensen-Shannon distance (the square root of the divergence, base 2, from 0 to 1) decides, and
only beyond sampling noise: two samples of one distribution differ too. NULL is a bin of its own.
Drift does not say that the predictions have become worse; only labels do.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from mlsys.columns.bins import CATEGORY, NUMBER, Bins, Counts
from workers.monitoring.reference import Watched

OK, WARN, DRIFT, TOO_FEW, UNKNOWN = "ok", "warn", "drift", "too few rows", "unknown"

WARN_AT, DRIFT_AT = 0.10, 0.20  # distance
MORE_NULLS = 0.05  # share of the rows beyond the reference's
STRANGE = 0.01  # share of the rows that are unseen or out of range
MIN_ROWS = 30
# Of a difference by chance in any column of a run, so that a thousand runs have no false alarm.
CHANCE = 1e-5
RARE = 5  # rows of a category
EXPECTED = 2  # rows of a bin, for a test of chance
SMALLEST = 1e-4  # share of an empty bin, for PSI
IDENTIFIER = "looks like an identifier: only its NULLs are compared"


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a column of a run differs from its reference; shares are None where they are unknown."""

    level: str
    distance: float | None = None
    beyond_chance: bool = False  # the distance is more than sampling noise
    psi: float | None = None
    null_share: float | None = None
    null_share_before: float | None = None
    unseen_share: float | None = None
    out_of_range_share: float | None = None
    mean_shift: float | None = None  # in standard deviations of the reference, from the bins
    why: tuple[str, ...] = ()


def judge(watched: Watched, counts: Counts, columns: int) -> Verdict:
    """Return the verdict on a column's counts; `columns` is how many columns the run compares."""
    before, rows = watched.counts, counts.rows
    shares: dict[str, Any] = {}
    if rows:
        shares = {"null_share": counts.missing / rows} | _strange(watched.bins, before, counts)
    if before is None or not before.rows:
        return Verdict(UNKNOWN, **shares)
    shares["null_share_before"] = before.missing / before.rows
    if not rows:
        return Verdict(TOO_FEW, **shares)
    few = min(rows, before.rows) < MIN_ROWS
    now, then = pooled(watched.bins, counts, before), pooled(watched.bins, before, before)
    distance = js_distance(now, then)
    beyond = not few and _beyond_chance(now, then, columns)
    shares |= {
        "distance": distance,
        "beyond_chance": beyond,
        "psi": psi(now, then),
        "mean_shift": _mean_shift(watched.bins, counts, before),
    }
    if few:
        return Verdict(TOO_FEW, **shares)
    why = [f"distance {distance:.2f}"] if beyond and distance >= WARN_AT else []
    if shares["null_share"] - shares["null_share_before"] > MORE_NULLS and _beyond_chance(
        _missing(counts), _missing(before), columns
    ):
        why.append(
            f"NULL in {shares['null_share']:.1%} of the rows, before in "
            f"{shares['null_share_before']:.1%}"
        )
    outside = 0 if before.below or before.above else counts.below + counts.above  # infinities
    strange = counts.other, outside
    for share, text, number in zip(_STRANGE, ("unseen", "out of range"), strange, strict=True):
        is_much = number and shares.get(share, 0.0) > STRANGE
        if is_much and _is_strange(number, rows, before, columns):
            why.append(f"{shares[share]:.1%} of the rows are {text}")
    drifted = beyond and distance >= DRIFT_AT
    level = DRIFT if drifted else WARN if why else OK
    why += [IDENTIFIER] if watched.identifier else []
    return Verdict(level, why=tuple(why), **shares)


def vector(bins: Bins, counts: Counts) -> list[int]:
    """Return the rows of each bin: missing, below, the inner ones, above, other."""
    inner = counts.bins or (0,) * bins.count
    return [counts.missing, counts.below, *inner, counts.above, counts.other]


def pooled(bins: Bins, counts: Counts, before: Counts) -> list[int]:
    """Return `vector`, with the categories that are rare in `before` added to the others.

    Which of many rare values a sample has is chance.
    """
    rows = vector(bins, counts)
    if bins.kind != CATEGORY:
        return rows
    for place, number in enumerate(before.bins, start=2):
        if number < RARE:
            rows[-1] += rows[place]
            rows[place] = 0
    return rows


def bin_names(bins: Bins) -> list[str]:
    """Return the names of the bins of `vector`."""
    return ["missing", "below", *bins.labels, "above", "other"]


def js_distance(first: Sequence[int], second: Sequence[int]) -> float:
    """Return the Jensen-Shannon distance of two distributions, given as counts: base 2, 0 to 1."""
    n, m = sum(first), sum(second)
    divergence = 0.0
    for a, b in zip(first, second, strict=True):
        p, q = a / n, b / m
        middle = (p + q) / 2
        divergence += sum(x * math.log2(x / middle) for x in (p, q) if x) / 2
    return math.sqrt(min(1.0, max(0.0, divergence)))


def psi(first: Sequence[int], second: Sequence[int]) -> float:
    """Return the population stability index; an empty bin counts as a share of 0.0001."""
    n, m = sum(first), sum(second)
    pairs = [(a / n, b / m) for a, b in zip(first, second, strict=True) if a or b]
    pairs = [(max(p, SMALLEST), max(q, SMALLEST)) for p, q in pairs]
    return sum((p - q) * math.log(p / q) for p, q in pairs)


def chi2_quantile(probability: float, freedom: int) -> float:
    """Return about the value that a chi-square variable exceeds with this probability.

    By Wilson and Hilferty (1931): at most 2 % below it, up to 20 % above with one or two degrees.
    """
    z = -NormalDist().inv_cdf(probability)
    part = 2 / (9 * freedom)
    return freedom * (1 - part + z * math.sqrt(part)) ** 3


def _beyond_chance(first: Sequence[int], second: Sequence[int], columns: int) -> bool:
    """Return whether two samples of one distribution would hardly differ so much.

    By two tests of two samples, which have to agree. Pearson's statistic is about N*M/(N+M) times
    the PSI (Yurdakul 2018) and is defined for empty bins too. They hold only where the smaller
    sample is expected to have some rows: the rare ones are joined, and each is tested for itself.
    """
    small, large = sorted((first, second), key=sum)
    n, m = sum(small), sum(large)
    share, chance = n / (n + m), CHANCE / max(1, columns)
    pairs = [(a, b) for a, b in zip(small, large, strict=True) if a or b]
    common = [(a, b) for a, b in pairs if (a + b) * share >= EXPECTED]
    rare = [(a, b) for a, b in pairs if (a + b) * share < EXPECTED]
    if any(_surprise(a, a + b, share) > math.log(len(pairs) / chance) for a, b in rare):
        return True
    if rare:
        joined = sum(a for a, _ in rare), sum(b for _, b in rare)
        if sum(joined) * share < EXPECTED and common:
            least = min(common, key=sum)
            common.remove(least)
            joined = joined[0] + least[0], joined[1] + least[1]
        common.append(joined)
    if len(common) < 2:
        return False
    limit, ratio = chi2_quantile(chance, len(common) - 1), math.sqrt(m / n)
    pearson = sum((a * ratio - b / ratio) ** 2 / (a + b) for a, b in common)
    return pearson > limit and _likelihood_ratio(common, share) > limit


def _likelihood_ratio(pairs: Sequence[tuple[int, int]], share: float) -> float:
    """Return the statistic of the G-test of two samples, which is chi-square distributed too.

    Deciles of 30 training rows have three rows each. Bins that are too narrow by chance count more
    in Pearson's statistic than they should.
    """
    return 2 * sum(
        x * math.log(x / (a + b) / part)
        for a, b in pairs
        for x, part in ((a, share), (b, 1 - share))
        if x
    )


def _surprise(rows: int, of: int, share: float) -> float:
    """Return how improbable it is that `rows` or more of `of` rows fall into a share, as -log(p).

    At least: by Chernoff's bound.
    """
    part = rows / of
    if part <= share:
        return 0.0
    rest = (1 - part) * math.log((1 - part) / (1 - share)) if part < 1 else 0.0
    return of * (part * math.log(part / share) + rest)


_STRANGE = ("unseen_share", "out_of_range_share")


def _strange(bins: Bins, before: Counts | None, counts: Counts) -> dict[str, float]:
    """Return the share of values that the reference does not have, where that is known."""
    if bins.kind == NUMBER:
        return {"out_of_range_share": (counts.below + counts.above) / counts.rows}
    if bins.kind == CATEGORY and before is not None and not before.other:
        return {"unseen_share": counts.other / counts.rows}
    return {}


def _is_strange(number: int, rows: int, before: Counts, columns: int) -> bool:
    """Return whether the `number` of values that the reference lacks is more than chance."""
    share = rows / (rows + before.rows)
    if _surprise(number, number, share) <= math.log(max(1, columns) / CHANCE):
        return False
    # Values that occur once are as frequent as those that do not occur (Good and Turing 1953).
    once = sum(n == 1 for n in before.bins)
    more = number * before.rows > once * rows
    samples = [number, rows - number], [once, before.rows - once]
    return not once or (more and _beyond_chance(*samples, columns))


def _missing(counts: Counts) -> list[int]:
    return [counts.missing, counts.rows - counts.missing]


def _mean_shift(bins: Bins, counts: Counts, before: Counts) -> float | None:
    """Return the difference of the means in the reference's standard deviations, from the bins."""
    edges = bins.edges
    if bins.kind != NUMBER or isinstance(edges[0], str):
        return None

    def middles(of: Counts) -> list[float]:
        low = min(edges[0], edges[0] if of.minimum is None else of.minimum)
        high = max(edges[-1], edges[-1] if of.maximum is None else of.maximum)
        inner = [a / 2 + b / 2 for a, b in itertools.pairwise(edges)]
        return [low / 2 + edges[0] / 2, *inner, high / 2 + edges[-1] / 2]

    def mean(of: Counts, power: int = 1, about: float = 0.0) -> float:
        rows = [of.below, *of.bins, of.above]
        sums = [n * (x - about) ** power for n, x in zip(rows, middles(of), strict=True) if n]
        return sum(sums) / sum(rows)

    if not (counts.bins and before.bins and _held(counts) and _held(before)):
        return None
    try:
        center = mean(before)
        deviation = math.sqrt(mean(before, 2, center))
        shift = (mean(counts) - center) / deviation
    except (OverflowError, ZeroDivisionError):
        return None
    return shift if math.isfinite(shift) else None


def _held(counts: Counts) -> int:
    return counts.below + sum(counts.bins) + counts.above
