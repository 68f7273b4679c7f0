"""List, show and cancel the runs of `/predict`."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, RootModel

from app import auth, logs, service
from app.api.predictions import MARGIN, RunResult
from app.api.problems import documented
from app.api.queries import CancelQuery, EnvQuery, RunPath, RunsQuery, UndoQuery

api = APIBlueprint("runs", __name__, abp_tags=[Tag(name="predictions")])


class RunStatus(BaseModel):
    """A run's state (`running`, `failed`, `cancelled`, `succeeded`, `undone`), and its result."""

    run_id: str
    env: str
    state: str
    request: dict[str, Any]
    rows_done: int
    rows_total: int | None
    rows_rejected: int
    shards_done: int
    shards_total: int | None
    attempts: int
    seconds: float
    result: RunResult | None = None
    failure: dict[str, Any] | None = None
    cancellation: dict[str, Any] | None = None
    undo: dict[str, Any] | None = None


class Undone(BaseModel):
    """The run is undone: its rows were removed, and those that they replaced are back.

    `tables` says for each table how many rows went and came. `already` says that the run was
    undone before this request; who did it, when and why is as it was then. With `dry_run` nothing
    was changed.
    """

    run_id: str
    env: str
    state: str
    by: str | None
    why: str
    undone_at: str | None
    already: bool
    dry_run: bool
    tables: list[dict[str, Any]]


class Cancelled(BaseModel):
    """The run is cancelled: nothing of it is published, now or later.

    `by` is the caller's e-mail where Cloud Run has verified it. `already` says that the run was
    cancelled before this request; who did it, when and why is as it was then.
    """

    run_id: str
    env: str
    state: str
    by: str | None
    why: str | None
    cancelled_at: str
    already: bool


class RunList(BaseModel):
    """The ledger's rows; runs that still work are listed by `state=running`, at most 100.

    `more` says that rows are missing, for `limit` or because the answer would be too large: pass
    `next` as `after`. A row's `left_out` names columns whose value is too large. A running run's
    row has those columns that are known, and `stage`: planned, reading or loading.
    """

    env: str
    runs: list[dict[str, Any]]
    more: bool
    next: str | None


class RunCosts(BaseModel):
    """What runs cost, a member for each month and model, the latest month first.

    `bytes_billed` and `estimated_cost` (US dollars) are what BigQuery charges for reading the
    inputs, `vcpu_seconds` what Cloud Run does for scoring them. Failed and cancelled runs count.
    """

    env: str
    costs: list[dict[str, Any]]
    price_basis: str


class Runs(RootModel[RunList | RunCosts]):
    """The ledger's rows, or with `sum=month` their costs."""


@api.get(
    "/runs",
    summary="List the runs that finished, well or not, or those that work; or sum what they cost",
    responses={200: Runs, **documented(400, 403, 503)},
)
def runs(query: RunsQuery) -> dict[str, Any]:
    if query.sum is not None:
        return _costs(query)
    return RunList(**list_of(query)).model_dump()


def _costs(query: RunsQuery) -> dict[str, Any]:
    """Return what the runs cost."""
    from workers.scoring.planning.price import PRICE_BASIS
    from workers.scoring.publishing.costs_table import costs_by_month

    clients, env = service().clients, service().settings.require_env(query.env)
    costs = costs_by_month(clients, env, model_name=query.model_name, months=query.months)
    return RunCosts(env=env, costs=costs, price_basis=PRICE_BASIS).model_dump()


def list_of(query: RunsQuery) -> dict[str, Any]:
    """Return the runs that a query asks for, as `RunList`."""
    from workers.scoring.journal.at_work import runs_at_work
    from workers.scoring.publishing.ledger import list_runs, place_of

    clients, env = service().clients, service().settings.require_env(query.env)
    if query.state == "running":
        rows, more = runs_at_work(clients, env, model_name=query.model_name, limit=query.limit)
        return {"env": env, "runs": rows, "more": more, "next": None}
    rows, more = list_runs(
        clients,
        env,
        model_name=query.model_name,
        state=query.state,
        limit=query.limit,
        sort=query.sort,
        after=query.after,
    )
    following = f"{place_of(rows[-1], query.sort)}.{rows[-1]['run_id']}" if more else None
    return {"env": env, "runs": rows, "more": more, "next": following}


@api.get(
    "/runs/<run_id>",
    summary="Get a run's state and progress",
    responses={200: RunStatus, **documented(400, 403, 404, 503)},
)
def run(path: RunPath, query: EnvQuery) -> dict[str, Any]:
    from workers.scoring.answers.status import status

    env = service().settings.require_env(query.env)
    logs.note(run_id=path.run_id)
    return RunStatus(**status(service().clients, env, path.run_id)).model_dump(exclude_unset=True)


@api.delete(
    "/runs/<run_id>",
    summary="Cancel a run, unless it has decided what it publishes",
    description="Nothing that still works on it publishes then. A repeat changes nothing.",
    responses={200: Cancelled, **documented(400, 403, 404, 409, 503)},
)
def cancel_run(path: RunPath, query: CancelQuery) -> dict[str, Any]:
    from workers.scoring.publishing.cancellation import cancel

    env = service().settings.require_env(query.env)
    logs.note(run_id=path.run_id)
    cancellation, is_new = cancel(
        service().clients, env, path.run_id, by=auth.caller(), why=query.why
    )
    logs.note(outcome="cancelled" if is_new else "was cancelled already")
    return Cancelled(
        run_id=path.run_id,
        env=env,
        state=cancellation.state,
        by=cancellation.by,
        why=cancellation.why,
        cancelled_at=cancellation.finished_at,
        already=not is_new,
    ).model_dump()


@api.post(
    "/runs/<run_id>/undo",
    summary="Undo a run that has published its rows",
    description="Removes its rows, puts back those that they replaced, and lets no request reuse "
    "it. Refused if others have written to the table since. A repeat takes it to its end.",
    responses={200: Undone, **documented(400, 403, 404, 409, 503)},
)
def undo_run(path: RunPath, query: UndoQuery) -> dict[str, Any]:
    from workers.scoring.publishing.undo import preview_undo, undo

    clients, env = service().clients, service().settings.require_env(query.env)
    logs.note(run_id=path.run_id)
    about: dict[str, Any] = {"run_id": path.run_id, "env": env, "dry_run": query.dry_run}
    if query.dry_run:
        decision, tables = preview_undo(clients, env, path.run_id)
        logs.note(outcome="dry run")
        about |= {"state": "undone" if decision else "succeeded", "already": decision is not None}
        about |= {"tables": [asdict(table) for table in tables]}
        known = decision.to_dict() if decision else {"by": auth.caller(), "why": query.why}
    else:
        until = time.monotonic() + max(service().settings.request_timeout - MARGIN, 1.0)
        decision, undone, is_new = undo(
            *(clients, env, path.run_id),
            by=auth.caller(),
            why=query.why,
            stop=lambda: service().stopping.is_set() or time.monotonic() > until,
        )
        logs.note(outcome="undone" if is_new else "was undone already")
        about |= {"state": "undone", "already": not is_new}
        about |= {"tables": [asdict(table) for table in undone.tables]}
        known = decision.to_dict()
    said = {name: known.get(name) for name in ("by", "why", "undone_at")}
    return Undone(**about | said).model_dump()
