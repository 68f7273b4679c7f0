"""Weaker designs of undoing a run."""

from __future__ import annotations

from typing import Any

from google.cloud.bigquery import ArrayQueryParameter

from simulator.mutant import Mutant, Patch
from workers.scoring.planning import find_run
from workers.scoring.publishing import removable, removal, undo


def _always_deleted(patch: Patch) -> None:
    """Delete the run's rows, and leave out those that they replaced."""
    patch.setattr(removable, "_truncation", lambda *_: None)


def _as_of_the_end(patch: Patch) -> None:
    """Read the replaced rows as they were when the load job ended."""
    patch.setattr(removable, "replaced_at", lambda clients, plan, job, *_: job.ended)


def _as_of_the_start(patch: Patch) -> None:
    """Read the replaced rows as they were when the load job began."""
    patch.setattr(removable, "replaced_at", lambda clients, plan, job, *_: job.started)


def _with_the_undone(patch: Patch) -> None:
    """Put the rows of runs back that were undone before."""
    for module in (removable, removal):
        patch.setattr(module, "void_runs", lambda *_: _NOBODY)


_NOBODY = ArrayQueryParameter("void", "STRING", [])


def _every_partition(patch: Patch) -> None:
    """Look at all rows of the table where the run has written one partition."""
    real = removable.names_in

    def names_in(*arguments: Any) -> dict[str, str]:
        return real(*arguments) | {"inside": "TRUE"}

    for module in (removable, removal):
        patch.setattr(module, "names_in", names_in)


def _without_repeating(patch: Patch) -> None:
    """Report a conflict with another statement instead of repeating the statement."""
    patch.setattr(removal, "is_dml_conflict", lambda _: False)


def _still_reused(patch: Patch) -> None:
    """Answer a repeated request with a run that was undone."""
    patch.setattr(find_run, "undo_of", lambda *_: None)


def _without_the_ledger(patch: Patch) -> None:
    """Leave the ledger's row as the run has written it."""
    patch.setattr(undo, "record", lambda *_: None)


UNDOING = (
    Mutant("replaced rows left out", "tables", _always_deleted),
    Mutant("replaced rows as of the load's end", "tables", _as_of_the_end),
    Mutant("replaced rows as of the load's start", "tables", _as_of_the_start),
    Mutant("rows of undone runs put back", "tables", _with_the_undone),
    Mutant("a partition's run looked for in the table", "tables", _every_partition),
    Mutant("a conflict of an undo reported", "tables", _without_repeating),
    Mutant("an undone run reused", "tables", _still_reused),
    Mutant("an undo without the ledger", "tables", _without_the_ledger),
)
