"""Weaker designs of incremental runs."""

from __future__ import annotations

from typing import Any

from simulator.kernel import Actor
from simulator.mutant import Mutant, Patch, running
from workers.scoring.engines import run, turns, unrecorded
from workers.scoring.planning import claims, increments


def _output_first(patch: Patch) -> None:
    """Look the output up before the runs that may have written it."""
    real, find_table = increments.plan_incremental, claims.find_table
    looked_up: dict[Actor, Any] = {}  # the table, by who plans a run

    def plan(clients: Any, resolved: Any, ids: Any, existing: Any, location: str) -> Any:
        actor = running()
        looked_up[actor] = existing
        try:
            return real(clients, resolved, ids, existing, location)
        finally:
            del looked_up[actor]

    def find(clients: Any, table: Any) -> Any:
        actor = running()
        return looked_up[actor] if actor in looked_up else find_table(clients, table)

    from workers.scoring.planning import make_plan

    patch.setattr(make_plan, "plan_incremental", plan)
    patch.setattr(claims, "find_table", find)


def _without_turns(patch: Patch) -> None:
    """Publish without a claim."""
    patch.setattr(run, "claim_turn", lambda *_: None)


def _without_waiting(patch: Patch) -> None:
    """Read the rows without the runs before being done."""
    patch.setattr(run, "wait_for_others", lambda *_: None)


def _abandoned_at_once(patch: Patch) -> None:
    """Pass a claim whose run has not decided, without cancelling the run."""
    patch.setattr(turns._Turn, "_settle", lambda *_: None)
    real = claims.Claims.status

    def status(self: Any, claim: Any) -> Any:
        known = real(self, claim)
        return claims.Status.VOID if known is claims.Status.OPEN else known

    patch.setattr(claims.Claims, "status", status)


def _never_recorded(patch: Patch) -> None:
    """Leave the runs whose processes died before the ledger."""
    patch.setattr(unrecorded, "_record", lambda *_: False)
    patch.setattr(turns._Turn, "_is_unrecorded", lambda *_: False)


INCREMENTS = (
    Mutant("the output looked up before its runs", "increments", _output_first),
    Mutant("published without a turn", "increments", _without_turns),
    Mutant("the runs before not waited for", "increments", _without_waiting),
    Mutant("an open claim passed", "increments", _abandoned_at_once),
    Mutant("a run without its row left", "increments", _never_recorded),
)
