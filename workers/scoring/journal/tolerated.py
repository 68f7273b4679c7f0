"""What a run tolerates, by its objects: a repeated request may tolerate more than the first one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mlsys.errors import Conflict
from workers.scoring.journal.attempts import LOOK, latest
from workers.scoring.journal.decisions import Decision, read_decision
from workers.scoring.journal.execution import latest_execution
from workers.scoring.journal.outcomes import read_failure, read_result
from workers.scoring.journal.store import RunStore


def tolerated(store: RunStore) -> Mapping[str, Any]:
    """Return the members of `Tolerance` that the run was decided by, or that it goes on with.

    An older release wrote `max_rejects` alone; without any object that says more it is {}.
    """
    decision = _unless_damaged(read_decision, store)
    if isinstance(decision, Decision):
        return decision.tolerance or {"max_rejects": decision.max_rejects}
    tries = [(each.at, each.tolerance) for each in latest(store, LOOK) if each.tolerance]
    execution = _unless_damaged(latest_execution, store)
    if execution is not None and execution.tolerance:
        tries.append((execution.at, execution.tolerance))
    if tries:
        return max(tries, key=lambda each: each[0])[1]
    end = _unless_damaged(read_result, store) or read_failure(store)
    return {"max_rejects": end.max_rejects} if end and end.max_rejects else {}


def _unless_damaged[T](read: Callable[[RunStore], T], store: RunStore) -> T | None:
    """Return what `read` gives; a damaged object tells nothing."""
    try:
        return read(store)
    except Conflict:
        return None
