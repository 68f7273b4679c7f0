"""Weaker designs of a backfill."""

from __future__ import annotations

from typing import Any

from simulator.mutant import Mutant, Patch
from workers.scoring.backfill import board
from workers.scoring.backfill.states import Wanted
from workers.scoring.planning import still_counts
from workers.scoring.planning.lookup import Resolved


def _by_the_ledger(patch: Patch) -> None:
    """Take the run of the ledger that ended last for the one whose rows a partition has."""
    patch.setattr(board, "_reusable", lambda *_: None)


def _another_id(patch: Patch) -> None:
    """Give each repeat of a request a run of its own."""
    real = Resolved.run_id.fget
    assert real is not None
    patch.setattr(Resolved, "run_id", property(lambda self: f"{real(self)[:-8]}{self.token[:8]}"))


def _as_the_input_was(patch: Patch) -> None:
    """Take a partition for done although the input was written since."""
    real = Wanted.why_stale

    def why_stale(self: Any, good: Any, identity: Any, state: Any) -> str | None:
        return real(self, good, identity, None)

    patch.setattr(Wanted, "why_stale", why_stale)


def _reused_always(patch: Patch) -> None:
    """Reuse a run although another one has replaced its rows."""
    patch.setattr(still_counts, "_output_exists", lambda *_: True)


BACKFILLS = (
    Mutant("the ledger's last run taken for the rows", "backfills", _by_the_ledger),
    Mutant("another run for each repeat", "backfills", _another_id),
    Mutant("an input that was written since done", "backfills", _as_the_input_was),
    Mutant("a run whose rows are gone reused", "backfills", _reused_always),
)
