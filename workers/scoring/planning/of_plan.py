"""Objects of a run that belong to its plan, or to an earlier plan of it, which was deleted."""

from __future__ import annotations

from mlsys.errors import Conflict
from workers.scoring.journal.decisions import Cancellation, read_cancellation
from workers.scoring.journal.outcomes import Result
from workers.scoring.journal.store import RunStore
from workers.scoring.journal.undone import Undo, read_undo
from workers.scoring.planning.plan import Plan


def cancellation_of(store: RunStore, plan: Plan) -> Cancellation | None:
    """Return the cancellation of the run, or None.

    Raises:
        Conflict: it belongs to an earlier plan of the same run, which was deleted.
    """
    return _checked(store, plan, read_cancellation(store))


def undo_of(store: RunStore, plan: Plan) -> Undo | None:
    """Return the decision to undo the run, or None.

    Raises:
        Conflict: it belongs to an earlier plan of the same run, which was deleted.
    """
    return _checked(store, plan, read_undo(store))


def _checked[T: (Cancellation, Undo)](store: RunStore, plan: Plan, record: T | None) -> T | None:
    if record is not None and record.token != plan.token:
        raise another_plan(store, record.NAME)
    return record


def check_result(store: RunStore, plan: Plan, result: Result) -> None:
    """Check that the result belongs to this plan.

    Raises:
        Conflict: it belongs to an earlier plan of the same run, which was deleted.
    """
    model, into = plan.model, str(plan.output.table)
    of_plan = (model.name, model.version, model.generation, str(plan.input_table), into)
    if of_plan != (
        *(result.model_name, result.model_version, result.model_generation),
        *(result.input_table, result.output_table),
    ):
        raise another_plan(store, Result.NAME)


def another_plan(store: RunStore, name: str) -> Conflict:
    """Return the error for an object of a plan that was deleted since."""
    return Conflict(
        f"{store.uri(name)} belongs to an earlier plan of {store.run_id}, which was deleted: its "
        "rows may be in the output table already. Pass a run_id of your own."
    )
