"""`dry_run=true`: check a request, and estimate what it would read and cost.

No row is loaded. Columns are checked as planning does it, and BigQuery checks that it would read
them; it counts NULLs and duplicate ids if that is requested or cheap.
"""

from __future__ import annotations

from contextlib import closing
from typing import Any

from mlsys.artifact.metadata import ModelMetadata, library_versions
from mlsys.cloud.clients import Clients
from mlsys.errors import (
    MAX_LISTED,
    Conflict,
    ContractBroken,
    InvalidRequest,
    MlsysError,
    ModelUnusable,
    PermissionMissing,
    PriceLimit,
    SchemaMismatch,
    TableNotFound,
    bounded,
)
from workers.monitoring.contract import contract_summary, warnings_of
from workers.scoring.journal.outcomes import read_failure
from workers.scoring.planning.contract import known_broken, with_newest
from workers.scoring.planning.destination import output_location
from workers.scoring.planning.engine_choice import choose
from workers.scoring.planning.find_run import FoundRun, find_run, notes_for
from workers.scoring.planning.input_counts import count_duplicate_ids, count_nulls
from workers.scoring.planning.lookup import Resolved, check_where
from workers.scoring.planning.make_plan import make_plan
from workers.scoring.planning.model_pin import ModelPin, read_metadata
from workers.scoring.planning.new_rows import count_new
from workers.scoring.planning.outline import outline
from workers.scoring.planning.plan import Plan
from workers.scoring.planning.price import PRICE_BASIS, check_price, estimate
from workers.scoring.planning.shadow import add_shadow
from workers.scoring.request.parsed import ScoringRequest
from workers.scoring.shards.read_session import probe

# A plan may be refused for these; any other error is raised, not reported.
_PROBLEMS = (
    *(InvalidRequest, SchemaMismatch, ModelUnusable, Conflict, PermissionMissing, ContractBroken),
)


def preflight(
    clients: Clients, request: ScoringRequest, run_id: str | None = None, check_ids: bool = False
) -> dict[str, Any]:
    """Return the verdict on `request`; nothing is written.

    `ok` tells whether the run would start; if not, `problems` says why, with the columns.
    `warnings` do not stop the run. `check_ids` has BigQuery count duplicate ids.

    Raises:
        TableNotFound, ModelNotFound: see `resolve`.
        Conflict: `run_id` is another request's.
    """
    run = find_run(clients, request, run_id)
    if run.result is not None or run.resolved is None:
        assert run.plan is not None  # without a plan find_run resolves the request
        known = _known(clients, run, run.plan, notes_for(run.plan, request))
        return known | _engine(clients, request, run.plan.rows_expected)
    resolved = run.resolved
    plan = run.plan
    problems: list[MlsysError] = []
    notes = [] if plan is None else notes_for(plan, request)
    if plan is None:
        plan, problems = _plan(clients, resolved, run.store.run_id)
    if plan is not None:
        try:
            probe(clients, plan)
        except (*_PROBLEMS, TableNotFound) as exc:
            problems.append(exc)
    metadata, _ = read_metadata(clients, resolved.model)
    verdict = (
        _head(run, resolved.model)
        | _engine(clients, request, resolved.rows)
        | {
            "ok": not problems,
            "problems": [_problem(exc) for exc in problems],
            # Only its run_id makes a repeated request on a view the same run.
            "run_id_required": resolved.is_query and run_id is None,
            "versions": _versions(metadata),
            "rows": resolved.rows,
        }
    )
    if plan is None:
        return verdict
    expected = estimate(clients, plan, resolved.table)
    try:
        check_price(expected, request)
    except PriceLimit as exc:
        verdict |= {"ok": False, "problems": [*verdict["problems"], _problem(exc)]}
    incremental = _incremental(clients, resolved, plan, counts=verdict["ok"])
    if incremental is not None:
        verdict["rows"] = incremental["rows"]
    warnings = [*_failed_before(run), *plan.warnings, *notes]
    contract = _contract(clients, resolved, plan, warnings)
    nulls = count_nulls(clients, resolved, plan, warnings)
    duplicate_ids = count_duplicate_ids(clients, resolved, plan, warnings) if check_ids else None
    return (
        verdict
        | outline(clients, plan)
        | {
            "bytes": expected.bytes,
            "price_usd": round(expected.usd, 4),
            "price_basis": PRICE_BASIS,
            "nulls": nulls,
            "duplicate_ids": duplicate_ids,
            "contract": contract,
            "incremental": incremental,
            "warnings": list(dict.fromkeys(map(bounded, warnings))),
        }
    )


def _incremental(
    clients: Clients, resolved: Resolved, plan: Plan, *, counts: bool
) -> dict[str, Any] | None:
    """Return which rows are new; of a run by ids they are counted, which reads the ids."""
    if plan.incremental is None:
        return None
    shown = plan.incremental.shown()
    if plan.incremental.is_by_ids and counts:
        shown["rows"] = count_new(clients, resolved, plan)
    return shown


def _contract(
    clients: Clients, resolved: Resolved, plan: Plan, warnings: list[str]
) -> dict[str, Any] | None:
    """Return what is known of the contract before a row is read, as a run's result says it."""
    contract = plan.contract
    if contract is None:
        return None
    broken = known_broken(with_newest(clients, resolved, contract, contract.counted))
    warnings += warnings_of(broken)
    return contract_summary(contract, broken, resolved.request.contract)


def _known(clients: Clients, run: FoundRun, plan: Plan, notes: list[str]) -> dict[str, Any]:
    """Return the verdict on a run that is done, or resumes its plan whatever the input is now."""
    verdict = _head(run, plan.model) | outline(clients, plan)
    return verdict | {
        "ok": True,
        "problems": [],
        "warnings": [*_failed_before(run), *plan.warnings, *notes],
        "run_id_required": False,
        "versions": [],
        "rows": plan.rows_expected if run.result is None else run.result.rows_read,
    }


def _head(run: FoundRun, model: ModelPin) -> dict[str, Any]:
    """Return which run it would be, with which model."""
    return {
        "run_id": run.store.run_id,
        "run_exists": run.plan is not None,
        "run_is_done": run.result is not None,
        "model_name": model.name,
        "model_version": model.version,
        "model_generation": model.generation,
        "model_alias": model.alias,
        "loader": model.loader,
    }


def _engine(clients: Clients, request: ScoringRequest, rows: int | None) -> dict[str, Any]:
    """Return where the run would begin, and why there."""
    engine = choose(clients.settings, request.engine, rows)
    return {"engine": engine.name, "engine_reason": engine.reason}


def _failed_before(run: FoundRun) -> list[str]:
    failure = read_failure(run.store) if run.result is None else None
    return [f"the run exists, and its last try failed: {failure.detail}"] if failure else []


def _plan(
    clients: Clients, resolved: Resolved, run_id: str
) -> tuple[Plan | None, list[MlsysError]]:
    """Return the plan, or everything that prevents it."""
    try:
        plan, model = make_plan(clients, resolved, run_id)
        with closing(model):
            plan, challenger = add_shadow(clients, resolved, plan)
        if challenger is not None:
            challenger.close()
        return plan, []
    except (*_PROBLEMS, TableNotFound) as exc:
        problems: list[MlsysError] = [exc]
    # Planning ends at the first problem; these need nothing that comes before them.
    for check in (
        lambda: check_where(clients, resolved),
        lambda: output_location(clients, resolved.request.output_table),
    ):
        try:
            check()
        except (*_PROBLEMS, TableNotFound) as exc:
            if str(exc) not in map(str, problems):
                problems.append(exc)
    return None, problems


def _problem(exc: MlsysError) -> dict[str, Any]:
    faults = getattr(exc, "columns", ())
    columns = [{"name": c, "problem": p} for c, p in faults[:MAX_LISTED]]
    problem: dict[str, Any] = {"detail": bounded(str(exc)), "columns": columns}
    if isinstance(exc, ContractBroken):
        problem["clauses"] = exc.clauses
    if isinstance(exc, PriceLimit):
        problem["price"] = exc.price
    left_out = len(faults) - len(columns)
    return problem | {"more": left_out} if left_out else problem


def _versions(metadata: ModelMetadata) -> list[dict[str, str]]:
    """Return the libraries that the model was saved with, beside the service's."""
    here = library_versions()
    return [
        {"library": name, "model": saved, "service": here[name]}
        for name, saved in metadata.versions.items()
        if name in here
    ]
