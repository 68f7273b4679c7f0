"""What a run tolerates, by its objects: a repeated request may tolerate more than the first one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlsys.errors import Conflict
from workers.scoring.journal.attempts import LOOK, latest
from workers.scoring.journal.decisions import Decision, read_decision
from workers.scoring.journal.execution import latest_execution
from workers.scoring.journal.outcomes import Result, read_failure, read_result
from workers.scoring.journal.store import RunStore


def tolerated(store: RunStore) -> Mapping[str, Any]:
    """Return the members of `Tolerance` that the run was decided by, or that it goes on with.

    An older release wrote `max_rejects` alone; without any object that says more it is {}.
    """
    decision = _decided(store)
    if decision is not None:
        return decision.tolerance or {"max_rejects": decision.max_rejects}
    tries = [(each.at, each.tolerance) for each in latest(store, LOOK) if each.tolerance]
    try:
        execution = latest_execution(store)
    except Conflict:  # damaged: it tells nothing
        execution = None
    if execution is not None and execution.tolerance:
        tries.append((execution.at, execution.tolerance))
    if tries:
        return max(tries, key=lambda each: each[0])[1]
    end = _result(store) or read_failure(store)
    return {"max_rejects": end.max_rejects} if end and end.max_rejects else {}


def _result(store: RunStore) -> Result | None:
    try:
        return read_result(store)
    except Conflict:
        return None


def _decided(store: RunStore) -> Decision | None:
    try:
        decision = read_decision(store)
    except Conflict:
        return None
    return decision if isinstance(decision, Decision) else None
