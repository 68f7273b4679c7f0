"""Find the run that a request means, or plan a new one."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mlsys.cloud.clients import Clients
from mlsys.errors import Conflict, TryAgain
from workers.monitoring.contract import ENFORCE
from workers.sandbox.client import SandboxedModel
from workers.scoring.journal.at_work import mark
from workers.scoring.journal.decisions import read_decision
from workers.scoring.journal.outcomes import Result, Tolerance, read_result
from workers.scoring.journal.queries import noting
from workers.scoring.journal.store import MAX_RUN_ID, RunStore, check_run_id
from workers.scoring.journal.undone import read_undone
from workers.scoring.planning.contract import contract_note
from workers.scoring.planning.lookup import Resolved, resolve
from workers.scoring.planning.make_plan import check_model, make_plan
from workers.scoring.planning.model_pin import ask_pinned, read_metadata
from workers.scoring.planning.of_plan import cancellation_of, check_result, undo_of
from workers.scoring.planning.plan import Plan, read_plan
from workers.scoring.planning.price import check_price, estimate, has_limit
from workers.scoring.planning.shadow import add_shadow, planned_otherwise
from workers.scoring.planning.still_counts import still_counts
from workers.scoring.request.parsed import AUTO, LATEST, MaxRejects, ScoringRequest

MAX_SUFFIX = 1000


@dataclass(frozen=True, slots=True)
class Prepared:
    """A planned run: ready to be worked on, or done already."""

    store: RunStore
    plan: Plan
    max_rejects: MaxRejects
    result: Result | None = None  # the run is done, and its rows are in the output table
    model: SandboxedModel | None = None  # if planning has loaded it just now
    engine: str = AUTO  # that the request asks for
    challenger: SandboxedModel | None = None  # the shadow's model, as `model`
    notes: tuple[str, ...] = ()  # for this caller, beside the run's warnings
    max_drift: float | None = None
    contract: str = ENFORCE  # what follows from the clauses of the model's contract

    @property
    def tolerance(self) -> Tolerance:
        """What the request tolerates in the rows."""
        return Tolerance(str(self.max_rejects), self.max_drift, self.contract)

    def close(self) -> None:
        """End the sandboxes that hold the models."""
        _close(self.model, self.challenger)


@dataclass(frozen=True, slots=True)
class FoundRun:
    """The run that a request means, and how far it is."""

    store: RunStore
    plan: Plan | None  # None: it is still to be planned
    result: Result | None
    resolved: Resolved | None  # None: the plan exists, and nothing had to be looked up


def find_run(
    clients: Clients,
    request: ScoringRequest,
    run_id: str | None = None,
    *,
    redelivered: bool = False,
    resolved: Resolved | None = None,
) -> FoundRun:
    """Find the run that `request` means, which may not exist yet; nothing is written.

    The run is the caller's `run_id`, or follows from the request, the model's generation and the
    input's state. A run that is done counts only while the output table that it wrote still
    exists, and, of an incremental run, as long as the rows that it goes on from do. Else it is the
    one with the next free suffix (`-2`, `-3`, ...). So it is for a run that was cancelled or
    undone, unless the caller names it, or the request may be an old one, `redelivered`. `resolved`
    is what the request names, if it has just been looked up.

    Raises:
        Conflict: `run_id` is taken by another request.
        RunCancelled, RunUndone: the run was, and only that one is meant.
        TableNotFound, ModelNotFound, SchemaMismatch: see `resolve`.
        TryAgain: somebody undoes it just now.
    """
    is_named = run_id is not None
    if run_id is None:
        resolved = resolved or resolve(clients, request)
        run_id = resolved.run_id
    check_run_id(run_id)
    for suffix in range(1, MAX_SUFFIX):
        name = run_id if suffix == 1 else f"{run_id}-{suffix}"
        if len(name) > MAX_RUN_ID:
            break
        store = RunStore(clients, request.env, name)
        plan = read_plan(store)
        if plan is None:
            return FoundRun(store, None, None, resolved or resolve(clients, request))
        if differing := _differing(plan, request, resolved):
            if suffix > 1:  # another request's own run_id
                continue
            raise _taken(plan, differing)
        result = read_result(store)
        if result is not None:
            check_result(store, plan, result)
            if (undo := undo_of(store, plan)) is not None:
                if is_named or redelivered:
                    raise undo.error()
                if read_undone(store) is None:
                    raise TryAgain(
                        f"{undo.detail}, and its rows are still to be removed: try again. POST "
                        f"/runs/{name}/undo takes it to its end."
                    )
                continue
        elif (cancellation := cancellation_of(store, plan)) is not None:
            if is_named or redelivered:
                raise cancellation.error()
            continue
        if result is None or still_counts(clients, plan, result):
            return FoundRun(store, plan, result, resolved)
    raise Conflict(f"{run_id} has no suffix left for another run: pass another run_id")


def prepare(
    clients: Clients,
    request: ScoringRequest,
    run_id: str | None = None,
    *,
    redelivered: bool = False,
) -> Prepared:
    """Find the run that `request` means, or plan it; see `find_run`.

    Raises:
        Conflict: `run_id` is taken by another request.
        RunCancelled, RunUndone: the run was, and only that one is meant.
        PriceLimit: it would cost more than the request allows.
        TableNotFound, ModelNotFound, SchemaMismatch, ModelUnusable, InvalidRequest: see
            `resolve`, `make_plan`.
    """
    run = find_run(clients, request, run_id, redelivered=redelivered)
    store, plan, model, challenger = run.store, run.plan, None, None
    if plan is None:
        assert run.resolved is not None
        with noting(store) as notes:
            plan, model = make_plan(clients, replace(run.resolved, notes=notes), store.run_id)
            try:
                plan, challenger = add_shadow(clients, run.resolved, plan)
                if has_limit(request):
                    check_price(estimate(clients, plan, run.resolved.table), request)
                created = store.create("plan.json", plan.to_dict())
            except BaseException:
                _close(model, challenger)
                raise
        if not created:  # a concurrent request was first: join it
            _close(model, challenger)
            challenger = None
            plan, model = read_plan(store), None
            if plan is None:
                raise TryAgain(f"The plan of {store.run_id} was deleted just now: try again")
            if differing := _differing(plan, request, run.resolved):
                raise _taken(plan, differing)
    elif run.result is None and has_limit(request) and store.read("session-0.json") is None:
        check_price(estimate(clients, plan), request)
    prepared = Prepared(
        store,
        plan,
        request.max_rejects,
        engine=request.engine,
        notes=tuple(notes_for(plan, request)),
        max_drift=request.max_drift,
        contract=request.contract,
    )
    if run.result is not None:
        return replace(prepared, result=replace(run.result, reused=True))
    mark(store, plan.ledger_row)
    if model is None and read_decision(store) is None:
        # Planned by a request that may have allowed more, or by another release of the service.
        metadata, _ = read_metadata(clients, plan.model)
        _, model = ask_pinned(
            clients, plan.model, lambda model: check_model(model, metadata, request)
        )
    return replace(prepared, model=model, challenger=challenger)


def notes_for(plan: Plan, request: ScoringRequest) -> list[str]:
    """Return what to tell a caller whose request differs from the one that planned the run."""
    notes = (planned_otherwise(plan, request), contract_note(plan, request))
    return [note for note in notes if note is not None]


def _close(*models: SandboxedModel | None) -> None:
    for model in models:
        if model is not None:
            model.close()


def _differing(plan: Plan, request: ScoringRequest, resolved: Resolved | None) -> list[str]:
    """Return the parameters that differ from the plan's.

    `latest` means the plan's version, and so does the alias that the plan was made for, whatever
    it names by now. Another alias means what it names now, as `resolved` tells.
    """
    requested = request.identity()
    if requested["model_version"] in (LATEST, plan.model.alias):
        requested["model_version"] = plan.request["model_version"]
    elif resolved is not None:
        requested["model_version"] = resolved.model.version
    keys = requested.keys() | plan.request.keys()
    return sorted(k for k in keys if requested.get(k) != plan.request.get(k))


def _taken(plan: Plan, differing: list[str]) -> Conflict:
    return Conflict(
        f"{plan.run_id} is the run of another request, which differs in "
        f"{', '.join(differing)}: pass another run_id, or none"
    )
