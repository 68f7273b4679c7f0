"""Start a run: a form, its check, which is `/predict`'s dry run, and the message that starts it.

The console scores nothing and plans nothing: the service plans the run when it gets the message,
so a page waits for the plan.
"""

from __future__ import annotations

import time
from typing import Annotated, Any

from flask import request
from pydantic import Field, ValidationError
from werkzeug.wrappers import Response

from app import logs, service
from app.api.predict_queries import PredictQuery
from app.api.problems import invalid
from app.api.queries import EnvQuery
from app.console import forms
from app.console.formats import moment
from app.console.pages import Page, blueprint, env, page, query, render, see
from app.console.rendering import link
from app.continuations import publish_request
from workers.scoring.journal.store import check_run_id

FIELDS = tuple(
    name
    for name in PredictQuery.model_fields
    if name not in ("env", "dry_run", "check_ids", "wait")
)
# That the form has a field for; it keeps the others as they are in the address.
SHOWN = (
    *("input_table", "output_table", "model_name", "model_version", "write_disposition"),
    *(
        "id_columns",
        "where",
        "incremental",
        "max_rejects",
        "outputs",
        "prediction_column",
        "class_columns",
    ),
    *("shadow", "engine", "max_drift", "contract", "max_bytes", "max_cost", "run_id"),
    *("allow_rejected", "allow_version_mismatch"),
)
MAX_MODELS = 200  # versions that are offered
LONG = 60.0  # seconds without a plan, after which something may be wrong


@page("/new-run")
def new_run() -> Page:
    """Show the form of a run; the URL may fill it in."""
    return form({name: request.args[name] for name in FIELDS if request.args.get(name)})


@blueprint.post("/new-run", endpoint="start_run")
def start() -> Response:
    """Check the request; if it is told to, and nothing is wrong, request the run."""
    passed = forms.fields()
    runs = passed.pop("do", "check") == "run"
    return forms.answer(lambda: _start(passed, runs), lambda problem: form(passed, problem=problem))


def _start(passed: dict[str, str], runs: bool) -> Response:
    from workers.admission import admitted
    from workers.scoring.answers.dry_run import preflight

    try:
        query = PredictQuery.model_validate(passed | {"env": env()})
    except ValidationError as exc:
        raise invalid(exc) from exc
    clients, wanted = service().clients, query.to_request(service().settings)
    logs.note(model=f"{query.model_name}/{query.model_version}", who=forms.who())
    with admitted(service().settings.max_runs):
        verdict = preflight(clients, wanted, query.run_id)
    run_id = verdict["run_id"]
    logs.note(run_id=run_id)
    if not runs or not verdict["ok"]:
        shown = form(passed, verdict=verdict)
        return render(
            shown if verdict["ok"] else Page(shown.title, shown.template, shown.view, 422)
        )
    if verdict["run_is_done"]:
        return see("console.run", run_id=run_id)
    publish_request(wanted.for_version(verdict["model_version"]), run_id)  # that was checked
    logs.note(outcome="requested")
    return see("console.requested", run_id=run_id, since=int(time.time()))


class Since(EnvQuery):
    """When a run was requested, in seconds since 1970."""

    since: Annotated[int, Field(ge=0, le=10**11)] = 0


@page("/requested/<run_id>")
def requested(run_id: str) -> Page:
    """Wait until the service has taken a run that was requested, then lead to its page."""
    passed = query(Since)
    taken = is_taken(passed.env, check_run_id(run_id), passed.since)
    waited = max(0.0, time.time() - passed.since) if passed.since else 0.0
    view = {
        "run_id": run_id,
        "taken": taken,
        "waited": round(waited, 1),
        "long": waited > LONG,
        "address": link("console.run", run_id=run_id),
    }
    return Page(f"Run {run_id} is requested", "requested.html", view)


def is_taken(env: str, run_id: str, since: float) -> bool:
    """Tell whether the service has planned the run, and forgotten a failure from before."""
    from workers.scoring.journal.outcomes import read_failure
    from workers.scoring.journal.store import RunStore
    from workers.scoring.planning.plan import read_plan

    store = RunStore(service().clients, env, run_id)
    if read_plan(store) is None:
        return False
    failure = read_failure(store)
    failed_at = moment(failure.finished_at) if failure is not None else None
    return failed_at is None or failed_at.timestamp() >= since


def form(
    values: dict[str, str],
    *,
    verdict: dict[str, Any] | None = None,
    problem: forms.Problem | None = None,
) -> Page:
    """Return the form with these values, the verdict of its check, or what is wrong with it."""
    from workers.registry.table import list_models
    from workers.scoring.planning.offered import offered_tables

    rows, _ = list_models(service().clients, env(), status="ready", limit=MAX_MODELS)
    view = {
        "values": {name: values.get(name, "") for name in FIELDS},
        "hidden": {name: value for name, value in values.items() if value and name not in SHOWN},
        "tables": offered_tables(service().clients),
        "models": sorted({row["model_name"] for row in rows}),
        "versions": sorted({row["model_version"] for row in rows}),
        "verdict": verdict,
        "problem": problem,
        "who": forms.who(),
        "project": service().settings.project,
    }
    return Page("New run", "new_run.html", view)
