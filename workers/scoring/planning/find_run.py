"""Which run a request means: one that is there, or a new one, planned."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace

from mlsys.bq import find_table
from mlsys.clients import Clients
from mlsys.errors import Conflict, TryAgain
from workers.query import select
from workers.scoring.planning.lookup import Resolved, resolve
from workers.scoring.planning.model_pin import load_pinned, read_metadata
from workers.scoring.planning.plan import Plan, PlannedModel, check_model, make_plan
from workers.scoring.records import Result, read_decision, read_result
from workers.scoring.request import MAX_RUN_ID, MaxRejects, ScoringRequest, check_run_id
from workers.scoring.store import RunStore

MAX_SUFFIX = 1000


@dataclass(frozen=True, slots=True)
class Prepared:
    """A run that is planned: ready to be worked on, or done already."""

    store: RunStore
    plan: Plan
    max_rejects: MaxRejects
    result: Result | None = None  # the run is done, and its rows are in the output table
    model: PlannedModel | None = None  # if planning has loaded it just now


@dataclass(frozen=True, slots=True)
class Found:
    """Where the run that a request means lies, and how far it is."""

    store: RunStore
    plan: Plan | None  # None: it is still to be planned
    result: Result | None
    resolved: Resolved | None  # None: the plan was there, and nothing had to be looked up


def find_run(clients: Clients, request: ScoringRequest, run_id: str | None = None) -> Found:
    """Find the run that `request` means, which may not be there yet; nothing is written.

    The run is the caller's `run_id`, or follows from the request, the model's generation and the
    input's state. A run that is done counts only while the output table that it wrote still
    exists; else it is the one with the next free suffix (`-2`, `-3`, ...).

    Raises:
        Conflict: `run_id` is taken by another request.
        TableNotFound, ModelNotFound, SchemaMismatch: see `resolve`.
    """
    resolved = None
    if run_id is None:
        resolved = resolve(clients, request)
        run_id = resolved.run_id
    check_run_id(run_id)
    for suffix in range(1, MAX_SUFFIX):
        name = run_id if suffix == 1 else f"{run_id}-{suffix}"
        if len(name) > MAX_RUN_ID:
            break
        store = RunStore(clients, request.env, name)
        found = store.read("plan.json")
        if found is None:
            return Found(store, None, None, resolved or resolve(clients, request))
        plan = store.parse("plan.json", found, Plan.from_dict)
        if differing := _differing(plan, request):
            if suffix > 1:  # somebody's own name for another request
                continue
            raise _taken(plan, differing)
        result = read_result(store)
        if result is not None:
            check_result(store, plan, result)
        if result is None or _output_is_there(clients, plan, result):
            return Found(store, plan, result, resolved)
    raise Conflict(f"{run_id} has no suffix left for another run: pass another run_id")


def prepare(clients: Clients, request: ScoringRequest, run_id: str | None = None) -> Prepared:
    """Find the run that `request` means, or plan it.

    Raises:
        Conflict: `run_id` is taken by another request.
        TableNotFound, ModelNotFound, SchemaMismatch, ModelUnusable, InvalidRequest: see
            `resolve`, `make_plan`.
    """
    found = find_run(clients, request, run_id)
    store, plan, model = found.store, found.plan, None
    if plan is None:
        assert found.resolved is not None
        plan, model = make_plan(clients, found.resolved, store.run_id)
        if not store.create("plan.json", plan.to_dict()):  # a twin was first: join it
            there = store.read("plan.json")
            if there is None:
                raise TryAgain(f"The plan of {store.run_id} was deleted just now")
            plan, model = store.parse("plan.json", there, Plan.from_dict), None
            if differing := _differing(plan, request):
                raise _taken(plan, differing)
    if found.result is not None:
        return Prepared(store, plan, request.max_rejects, replace(found.result, reused=True))
    if model is None and read_decision(store) is None:
        # Planned by somebody who may have put up with more, or on another release of the service.
        model = PlannedModel(load_pinned(clients, plan.model))
        check_model(model.loaded, read_metadata(clients, plan.model)[0], request)
    return Prepared(store, plan, request.max_rejects, None, model)


def check_result(store: RunStore, plan: Plan, result: Result) -> None:
    """Return if the result is of this plan.

    Raises:
        Conflict: it is of an earlier plan of the same run, which was deleted.
    """
    model, into = plan.model, str(plan.output.table)
    of_plan = (model.name, model.version, model.generation, str(plan.input_table), into)
    if of_plan != (
        *(result.model_name, result.model_version, result.model_generation),
        *(result.input_table, result.output_table),
    ):
        raise another_plan(store, Result.NAME)


def another_plan(store: RunStore, name: str) -> Conflict:
    """The error for an object of a plan that was deleted since."""
    return Conflict(
        f"{store.uri(name)} belongs to an earlier plan of {store.run_id}, which was deleted: its "
        "rows may be in the output table already. Pass a run_id of your own."
    )


def _differing(plan: Plan, request: ScoringRequest) -> list[str]:
    """Where the plan is another request's; `latest` may have meant the plan's version."""
    asked = request.identity()
    if asked["model_version"] == "latest":
        asked["model_version"] = plan.request["model_version"]
    keys = asked.keys() | plan.request.keys()
    return sorted(k for k in keys if asked.get(k) != plan.request.get(k))


def _taken(plan: Plan, differing: list[str]) -> Conflict:
    return Conflict(
        f"{plan.run_id} is the run of another request, which differs in "
        f"{', '.join(differing)}: pass another run_id, or none"
    )


def _output_is_there(clients: Clients, plan: Plan, result: Result) -> bool:
    """Tell whether the run's rows are in the output table still, as far as it shows.

    The table must not be gone or made anew since; where the run replaced its rows (or those of a
    partition), it must not hold another run's.
    """
    from google.cloud import bigquery

    into = plan.output
    table = find_table(clients, into.table)
    created = table.created.isoformat() if table is not None and table.created else None
    if table is None or created != result.output_created:
        return False
    if into.write_disposition != "WRITE_TRUNCATE" or result.rows == 0:
        return True
    sql = f"SELECT 1 FROM `{into.table.base}` WHERE run_id = @run_id AND predicted_at = @at LIMIT 1"
    at = dt.datetime.fromisoformat(plan.created_at)  # one partition, where it is the partitions'
    key = (
        bigquery.ScalarQueryParameter("run_id", "STRING", plan.run_id),
        bigquery.ScalarQueryParameter("at", "TIMESTAMP", at),
    )
    return next(iter(select(clients, sql, *key)), None) is not None
