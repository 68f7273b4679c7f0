"""Undo a run: what would be removed, and why; the service then does what was decided.

The console's account decides, and writes no table: the decision has the person and the reason, and
a message has the service carry it out (docs/decisions/0150).
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pydantic import ValidationError
from werkzeug.wrappers import Response

from app import continuations, logs, service
from app.api.problems import invalid
from app.api.queries import UndoQuery
from app.console import forms
from app.console.pages import Page, blueprint, env, page, see
from mlsys.errors import MlsysError, RunNotFound, TryAgain


@page("/runs/<run_id>/undo")
def undo(run_id: str) -> Page:
    """Show which run would be undone; what that removes is loaded later."""
    from workers.scoring.answers.status import planned

    _, plan = planned(service().clients, env(), run_id)
    view = {"run_id": run_id, "output_table": str(plan.output.table)}
    return Page(f"Undo run {run_id}", "undo.html", view)


@page("/runs/<run_id>/removals")
def removals(run_id: str) -> Page:
    """Show what would be removed, and ask why, a part of the page.

    BigQuery counts the rows of each table now and, if the run has replaced some, as they were
    before: a query cannot read a table at two times
    (https://cloud.google.com/bigquery/docs/reference/standard-sql/query-syntax#for_system_time_as_of).
    """
    return form(run_id, {})


@blueprint.post("/runs/<run_id>/undo", endpoint="undo_run")
def confirmed(run_id: str) -> Response:
    """Decide that the run is undone, and request it."""
    passed = forms.fields()
    return forms.answer(
        lambda: _undo(run_id, passed), lambda problem: form(run_id, passed, problem)
    )


def _undo(run_id: str, passed: dict[str, str]) -> Response:
    from workers.scoring.publishing.undo import decide_undo

    try:
        query = UndoQuery.model_validate(passed | {"env": env()})
    except ValidationError as exc:
        raise invalid(exc) from exc
    logs.note(run_id=run_id, who=forms.who())
    by = {"by": forms.who(), "why": query.why}
    _, is_new = decide_undo(service().clients, query.env, run_id, **by, notes=False)
    continuations.publish_undo(query.env, run_id)  # again if it is decided: a message may be lost
    logs.note(outcome="to be undone" if is_new else "to be undone, as decided before")
    return see("console.run", run_id=run_id)


def form(run_id: str, values: dict[str, str], problem: forms.Problem | None = None) -> Page:
    """Return the form with what would be removed, or with why nothing can be."""
    from workers.scoring.publishing.undo import preview_undo

    view: dict[str, Any] = {
        "run_id": run_id,
        "tables": None,
        "decided": None,
        "why": values.get("why", ""),
        "problem": problem,
        "who": forms.who(),
    }
    code = 200
    try:
        decision, tables = preview_undo(service().clients, env(), run_id)
    except (RunNotFound, TryAgain):
        raise
    except MlsysError as exc:
        refusal, code = forms.refused(exc)
        view["problem"] = problem or refusal
    else:
        view["tables"] = [asdict(table) for table in tables]
        view["decided"] = None if decision is None else {"by": decision.by, "why": decision.why}
    return Page(f"What undoing {run_id} removes", "removals.html", view, code)
