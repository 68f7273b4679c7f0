"""The counts of a run: added up over its parts, judged, and written to `prediction_profiles`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlsys.cloud.clients import Clients
from mlsys.columns.bins import Counts
from mlsys.errors import InputDrifted
from mlsys.plural import part, plural
from workers.monitoring.counting import added, read_text
from workers.monitoring.drift import DRIFT, OK, TOO_FEW, UNKNOWN, WARN, Verdict, judge
from workers.monitoring.reference import Watched
from workers.monitoring.table import insert_rows, row_of
from workers.scoring.journal.decisions import Decision
from workers.scoring.planning.plan import Plan
from workers.scoring.shards.part import Footer, PartDamaged

SHOWN = 10  # columns of an answer

type Judged = tuple[Watched, Counts, Verdict]


def add_up(plan: Plan, footers: Sequence[Footer]) -> list[Counts]:
    """Return the counts of the plan's watched columns over all parts.

    Raises:
        PartDamaged: a part lacks the counts, or has those of other columns.
    """
    if plan.reference is None:
        return []
    try:
        return added(plan.reference, (read_text(footer.profile) for footer in footers))
    except (ValueError, TypeError, AttributeError) as exc:
        raise PartDamaged(
            f"A part of {plan.run_id} lacks the counts of its columns. Repeat the request."
        ) from exc


def judge_all(plan: Plan, counts: Sequence[Counts]) -> list[Judged]:
    """Return each watched column with its counts and the verdict on them."""
    if plan.reference is None:
        return []
    compared = plan.reference.compared
    return [
        (watched, counted, judge(watched, counted, compared))
        for watched, counted in zip(plan.reference.columns, counts, strict=True)
    ]


def rows_of(plan: Plan, judged: Sequence[Judged]) -> tuple[dict[str, Any], ...]:
    """Return the run's rows of `prediction_profiles`, as JSON values."""
    if not judged:
        return ()
    about = {
        "snapshot_at": plan.snapshot_at,
        "model_name": plan.model.name,
        "model_version": plan.model.version,
        "model_generation": plan.model.generation,
        "input_table": str(plan.input_table),
    }
    rows, places = [], dict[str, int]()
    for watched, counts, verdict in judged:
        places[watched.role] = place = places.get(watched.role, -1) + 1
        rows.append(about | {"position": place} | row_of(watched, counts, verdict))
    return tuple(rows)


def summary(judged: Sequence[Judged]) -> dict[str, Any] | None:
    """Return what an answer says of the columns, the most important first; None without columns."""
    if not judged:
        return None
    levels = {verdict.level for _, _, verdict in judged}
    over = sorted((j for j in judged if j[2].level in (DRIFT, WARN)), key=_rank)
    return {
        "level": next(level for level in (DRIFT, WARN, OK, TOO_FEW, UNKNOWN) if level in levels),
        "columns": sum(verdict.level != UNKNOWN for _, _, verdict in judged),
        "over": [
            {
                "role": watched.role,
                "column": watched.name,
                "level": verdict.level,
                "distance": _rounded(verdict.distance),
                "why": list(verdict.why),
            }
            for watched, _, verdict in over[:SHOWN]
        ],
        "text": _text(judged, over),
    }


def check_drift(plan: Plan, judged: Sequence[Judged], most: float | None) -> None:
    """Refuse a run with a column that is further from its reference than `most`.

    Raises:
        InputDrifted: it names the columns with their distances.
    """
    if most is None:
        return
    over = sorted(
        (j for j in judged if j[2].beyond_chance and (j[2].distance or 0) > most), key=_far
    )
    if not over:
        return
    first = ", ".join(f"{w.name} {v.distance:.2f}" for w, _, v in over[:SHOWN])
    more = f" and {len(over) - SHOWN:,} more" if len(over) > SHOWN else ""
    raise InputDrifted(
        f"{part(len(over), len(judged), 'column', 'is')} further than max_drift={most:g} from "
        f"{_reference(over)}: {first}{more}. Nothing was published. Check these columns of "
        f"{plan.input_table}, or repeat the request with a larger max_drift, or without it: no row "
        "is scored again."
    )


def unchecked(judged: Sequence[Judged], most: float | None) -> list[str]:
    """Return a warning if `max_drift` was passed and no column could be compared."""
    if most is None or any(verdict.level in (OK, WARN, DRIFT) for _, _, verdict in judged):
        return []
    why = _text(judged, ()) if judged else "the run counts no columns"
    return [f"max_drift={most:g} checked nothing: {why}"]


def record_profile(clients: Clients, env: str, plan: Plan, decision: Decision) -> None:
    """Insert the run's rows of `prediction_profiles`, once, as its other rows are published.

    Called before the result is written, so that the rows are there once the result is.

    Raises:
        TryAgain: BigQuery is busy, or the table does not exist.
    """
    key = plan.run_id, plan.created_at
    insert_rows(clients, env, f"{plan.job_stem}_P", *key, decision.profile)


def _text(judged: Sequence[Judged], over: Sequence[Judged]) -> str:
    """Return the columns that drifted in a line: `2 of 14 columns (fare 0.31, age 0.22)`."""
    levels = [verdict.level for _, _, verdict in judged if verdict.level != UNKNOWN]
    if not levels:
        return "nothing to compare with yet"
    if set(levels) == {TOO_FEW}:
        return "too few rows to compare"
    drifted = [j for j in over if j[2].level == DRIFT]
    warned = [j for j in over if j[2].level == WARN]
    out = f"{len(drifted) or 'none'} of {plural(len(levels), 'column')}"
    if drifted:
        out += f" ({_listed([f'{w.name} {v.distance:.2f}' for w, _, v in drifted])})"
    if warned:
        texts = [f"{w.name}: {v.why[0]}" for w, _, v in warned]
        out += f"; {len(warned)} to look at ({_listed(texts)})"
    return out


def _listed(texts: list[str], most: int = 5) -> str:
    more = f", and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more


def _rank(judged: Judged) -> tuple[bool, float]:
    """Return the order: drifted columns first, each by distance times importance."""
    watched, _, verdict = judged
    weight = 1.0 if watched.importance is None else watched.importance
    return verdict.level != DRIFT, -(verdict.distance or 0.0) * weight


def _far(judged: Judged) -> float:
    return -(judged[2].distance or 0.0)


def _reference(judged: Sequence[Judged]) -> str:
    sources: Mapping[str | None, None] = dict.fromkeys(w.source for w, _, _ in judged)
    return " and ".join("the training data" if s == "training" else f"the run {s}" for s in sources)


def _rounded(distance: float | None) -> float | None:
    return None if distance is None else round(distance, 4)
