"""`dry_run=true`: check a request, and estimate what it would read and cost.

No row is loaded. Columns are checked as planning does it, and BigQuery checks that it would read
them; it counts NULLs and duplicate ids if that is requested or cheap.
"""

from __future__ import annotations

from contextlib import closing
from typing import Any

from mlsys.artifact.metadata import ModelMetadata, library_versions
from mlsys.cloud.clients import Clients
from mlsys.cloud.tables import find_table
from mlsys.columns.features import UNKNOWN
from mlsys.columns.names import fold
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
from workers.monitoring.reference import ROLES, Reference
from workers.query import column_sql, dry_run, select
from workers.scoring.engines.choice import choose
from workers.scoring.planning.contract import CHEAP_BYTES, known_broken, with_newest
from workers.scoring.planning.destination import output_location
from workers.scoring.planning.find_run import FoundRun, find_run, notes_for
from workers.scoring.planning.lookup import Resolved, check_where
from workers.scoring.planning.make_plan import make_plan
from workers.scoring.planning.model_pin import ModelPin, read_metadata
from workers.scoring.planning.new_rows import count_new
from workers.scoring.planning.partition_filter import requires_filter
from workers.scoring.planning.plan import Plan, Shadow
from workers.scoring.planning.price import PRICE_BASIS, check_price, estimate
from workers.scoring.planning.shadow import add_shadow
from workers.scoring.records import read_failure
from workers.scoring.request import ScoringRequest
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
    nulls = _count_nulls(clients, resolved, plan, warnings)
    duplicate_ids = _count_duplicate_ids(clients, resolved, plan, warnings) if check_ids else None
    return (
        verdict
        | _tables(clients, plan)
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
    verdict = _head(run, plan.model) | _tables(clients, plan)
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


def _tables(clients: Clients, plan: Plan) -> dict[str, Any]:
    labels = {fold(name): label for name, label in plan.labels.items()}
    return {
        "reads": list(plan.read_columns),
        "writes": [
            {"name": c.name, "type": c.type}
            | ({"label": labels[fold(c.name)]} if fold(c.name) in labels else {})
            for c in plan.output.columns
        ],
        "output_table_exists": find_table(clients, plan.output.table) is not None,
        "rejects_table": str(plan.rejects.table),
        "shadow": _shadow(plan.shadow),
        "drift": _drift(plan.reference),
    }


def _drift(reference: Reference | None) -> dict[str, Any] | None:
    """Return which columns would be compared, and with what; None if nothing would be counted."""
    if reference is None:
        return None
    compared = [column for column in reference.columns if column.counts is not None]
    sources = dict.fromkeys(column.source for column in compared)
    return {
        "reference": next(iter(sources), None),
        "columns": len(compared),
        **{f"{role}s": [c.name for c in compared if c.role == role] for role in ROLES},
    }


def _shadow(shadow: Shadow | None) -> dict[str, Any] | None:
    """Return what the challenger would write, or why it would not."""
    if shadow is None:
        return None
    plan = shadow.plan
    return {
        "requested": shadow.requested,
        "model_version": None if plan is None else plan.model.version,
        "output_table": None if plan is None else str(plan.output.table),
        "warnings": [] if plan is None else list(plan.warnings),
        "reason": shadow.fault or None,
    }


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


def _count_nulls(
    clients: Clients, resolved: Resolved, plan: Plan, warnings: list[str]
) -> dict[str, int] | None:
    """Return the NULLs by column where the model saw none in training; None if not counted."""
    required = {fold(f.name) for f in resolved.schema if f.mode == "REQUIRED"}
    spelt = {fold(name): name for name in plan.read_columns}
    names = [
        spelt[fold(f.name)]
        for f in plan.features
        if not f.nullable and f.dtype != UNKNOWN and fold(f.name) not in required
    ]
    if not names:
        return {}
    if requires_filter(resolved.table) and plan.partition_filter is None:
        warnings.append(f"NULLs were not counted: {plan.input_table} needs a filter to be queried")
        return None
    counts = ", ".join(
        f"COUNTIF({column_sql(plan.input_table, name)} IS NULL) AS n{i}"
        for i, name in enumerate(names)
    )
    sql = f"SELECT {counts} FROM `{plan.input_table.base}`{_of_partition(plan)}"
    size = dry_run(clients, sql).bytes
    if size > CHEAP_BYTES:
        warnings.append(
            f"the model saw no NULLs in {', '.join(names)}; the table's were not counted, because "
            f"that would read {size / 2**30:,.0f} GiB"
        )
        return None
    row = next(iter(select(clients, sql)))
    nulls = {name: row[f"n{i}"] for i, name in enumerate(names) if row[f"n{i}"]}
    whole = "table" if plan.partition_filter is None else "partition"
    everywhere = f" of the whole {whole}" if plan.where else ""
    for name, count in nulls.items():
        warnings.append(
            f"{name} is NULL in {_rows(count)}{everywhere}, and the model saw no NULLs there"
        )
    return nulls


def _of_partition(plan: Plan) -> str:
    return f" WHERE {plan.partition_filter}" if plan.partition_filter else ""


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"


def _count_duplicate_ids(
    clients: Clients, resolved: Resolved, plan: Plan, warnings: list[str]
) -> int | None:
    """Return how many rows have the ids of another row; None if not counted."""
    if requires_filter(resolved.table) and plan.partition_filter is None:
        warnings.append(f"Ids were not counted: {plan.input_table} needs a filter to be queried")
        return None
    names = ", ".join(column_sql(plan.input_table, c.name) for c in plan.ids)
    if not names:
        warnings.append("the output has no id columns: its rows cannot be told apart")
        return 0
    sql = (
        f"SELECT COUNT(*) - COUNT(DISTINCT TO_JSON_STRING(STRUCT({names}))) AS duplicates "
        f"FROM `{plan.input_table.base}`{_of_partition(plan)}"
    )
    duplicates = next(iter(select(clients, sql)))["duplicates"]
    if duplicates:
        warnings.append(
            f"{duplicates} rows have the {', '.join(c.name for c in plan.ids)} of another row: the "
            "output's rows cannot be told apart by it"
        )
    return duplicates
