"""Cancel a run."""

from __future__ import annotations

from pydantic import ValidationError
from werkzeug.wrappers import Response

from app import logs, service
from app.api.problems import invalid
from app.api.queries import CancelQuery
from app.console import forms
from app.console.pages import Page, blueprint, env, page, see


@page("/runs/<run_id>/cancel")
def cancel(run_id: str) -> Page:
    """Show what would be cancelled, and ask why."""
    return form(run_id, {})


@blueprint.post("/runs/<run_id>/cancel", endpoint="cancel_run")
def confirmed(run_id: str) -> Response:
    """Cancel the run."""
    passed = forms.fields()
    return forms.answer(
        lambda: _cancel(run_id, passed), lambda problem: form(run_id, passed, problem)
    )


def _cancel(run_id: str, passed: dict[str, str]) -> Response:
    from workers.scoring.publishing.cancellation import cancel

    try:
        query = CancelQuery.model_validate(passed | {"env": env()})
    except ValidationError as exc:
        raise invalid(exc) from exc
    logs.note(run_id=run_id, who=forms.who())
    _, is_new = cancel(service().clients, query.env, run_id, by=forms.who(), why=query.why)
    logs.note(outcome="cancelled" if is_new else "was cancelled already")
    return see("console.run", run_id=run_id)


def form(run_id: str, values: dict[str, str], problem: forms.Problem | None = None) -> Page:
    """Return the form with these values, and what is wrong with them."""
    from workers.scoring.answers.status import status

    state = status(service().clients, env(), run_id)
    view = {
        "run_id": run_id,
        "state": state,
        "why": values.get("why", ""),
        "problem": problem,
        "who": forms.who(),
    }
    return Page(f"Cancel run {run_id}", "cancel.html", view)
