"""The clauses of an alias's guard: what each wants, what was seen, and why it does not hold.

Pure functions. `workers.registry.guard` looks the figures up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mlsys.plural import does, part, plural
from mlsys.settings.guards import HIGHER, AliasGuard, MetricBounds

MAX_NAMED = 20  # names that a message lists


@dataclass(frozen=True, slots=True)
class Clause:
    """One clause with its figures; it holds without a `problem`."""

    name: str
    wanted: Any
    seen: Any
    problem: str | None = None

    @property
    def ok(self) -> bool:
        """Whether it holds."""
        return self.problem is None

    def to_dict(self) -> dict[str, Any]:
        """Return the clause as JSON values."""
        return asdict(self) | {"ok": self.ok}


def movers(guard: AliasGuard, who: str) -> Clause:
    """Return whether the account is one of those that may move the alias."""
    allowed = guard.movers or ()
    names = ", ".join(allowed[:MAX_NAMED]) or "nobody"
    problem = f"{who} may not move it: ask {names}" if who not in allowed else None
    return Clause("movers", list(allowed), who, problem)


def reason(why: str | None) -> Clause:
    """Return whether a reason is given."""
    problem = None if (why or "").strip() else "the reason is missing: pass why"
    return Clause("why", "a reason", why, problem)


def ready(verdict: Mapping[str, Any]) -> Clause:
    """Return whether the registry shows the version as ready; `force` does not change that."""
    status, because = verdict["status"], verdict["reason"]
    problem = f"{verdict['version']} is {status}{f': {because}' if because else ''}"
    return Clause("ready", "ready", status, None if status == "ready" else problem)


def golden_rows(status: str, because: str | None, matched: int) -> Clause:
    """Return whether the model gives the stored predictions for its golden rows, now."""
    problem = None
    if status != "ready":
        problem = f"the model is rejected now: {because}"
    elif not matched:
        problem = "no golden rows could be replayed: upload the version by upload_model"
    return Clause("golden_rows", "at least 1 row, all equal", matched, problem)


def runs(guard: AliasGuard, version: str, counts: Mapping[str, int | None]) -> Clause:
    """Return whether the version has scored tables; `counts` is by ledger, None: unreadable."""
    known = sum(count or 0 for count in counts.values())
    problem = None
    if known < guard.runs:
        problem = f"{part(known, guard.runs, 'run')} of {version}: score tables with it first"
        if unreadable := [name for name, count in counts.items() if count is None]:
            problem += f". The ledger of {', '.join(unreadable)} cannot be read and counts as 0"
    return Clause("runs", guard.runs, known, problem)


def metric(
    bounds: MetricBounds,
    version: str,
    metrics: Mapping[str, float],
    champion: str | None,
    before: Mapping[str, float],
) -> Iterator[Clause]:
    """Yield whether a metric is within its bounds, and not much worse than `champion`'s."""
    value = metrics.get(bounds.name)
    name = f"metrics.{bounds.name}"
    for kind, bound in (("at_least", bounds.at_least), ("at_most", bounds.at_most)):
        if bound is None:
            continue
        holds = value is not None and (value >= bound if kind == "at_least" else value <= bound)
        words = kind.replace("_", " ")
        problem = None if holds else f"{_value(version, value)}, and {words} {bound} is needed"
        yield Clause(f"{name}.{kind}", bound, value, problem)
    if bounds.worse_by is not None:
        yield _no_worse(bounds, version, value, champion, before.get(bounds.name))


def _no_worse(
    bounds: MetricBounds,
    version: str,
    value: float | None,
    champion: str | None,
    other: float | None,
) -> Clause:
    name, most = f"metrics.{bounds.name}.worse_by", bounds.worse_by
    if champion is None:  # the first version has nothing to be compared with
        return Clause(name, most, None)
    if value is None or other is None:
        problem = f"{_value(version, value)}, and {_value(champion, other)}: it cannot be compared"
        return Clause(name, most, None, problem)
    worse = other - value if bounds.better == HIGHER else value - other
    problem = f"{version} has {value}, and {champion} has {other}: worse by {worse:g}"
    return Clause(name, most, worse, None if worse <= (most or 0) else problem)


def _value(version: str, value: float | None) -> str:
    return f"{version} has no such metric" if value is None else f"{version} has {value}"


def shadow(
    guard: AliasGuard, version: str, champion: str | None, runs: int, rows: int, equal: int
) -> Clause:
    """Return whether the version agrees with `champion`, whose challenger it was."""
    share = equal / rows if rows else None
    wanted = {"agreement": guard.agreement, "rows": guard.shadow_rows}
    seen = {"agreement": share, "rows": rows, "runs": runs}
    problem = None
    if champion is None:
        return Clause("shadow", wanted, None)  # the first version has nothing to agree with
    if rows < guard.shadow_rows:
        problem = (
            f"{plural(rows, 'row')} of {champion} {does(rows, 'was')} also scored by {version}: "
            f"score tables with model_version={champion} and shadow={version} first"
        )
    elif share is not None and share < (guard.agreement or 0):
        problem = f"{version} agrees with {champion} on {share:.6g} of {plural(rows, 'row')}"
    return Clause("shadow", wanted, seen, problem)
