"""`dry_run=true`: would the request work, what would it read and cost, and what is odd about it?

No row is loaded. Columns are checked as planning does it; BigQuery itself counts NULLs and doubled
ids where that is asked for or cheap.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlsys.clients import Clients
from mlsys.errors import (
    Conflict,
    InvalidRequest,
    MlsysError,
    ModelUnusable,
    PredictionFailed,
    SchemaMismatch,
    TableNotFound,
)
from mlsys.metadata import ModelMetadata, library_versions
from mlsys.signatures import UNKNOWN
from workers.query import dry_run, run
from workers.scoring.destination import output_location
from workers.scoring.model import read_metadata
from workers.scoring.plan import Plan, make_plan
from workers.scoring.request import ScoringRequest
from workers.scoring.run import find_run
from workers.scoring.source import Resolved, check_where, resolve

TIB = 2**40
# List prices in the US multi-region, before each month's free use (1 TiB of queries, 300 TiB of
# the Storage Read API); loading is free: https://cloud.google.com/bigquery/pricing
USD_PER_TIB_READ = 1.10
USD_PER_TIB_QUERIED = 6.25
PRICE_BASIS = (
    "US list prices, before each month's free use: 1.10 USD a TiB that the Storage Read API reads; "
    "for a view 6.25 USD a TiB that its query reads, and reading what it gives comes on top"
)
CHEAP_BYTES = 10 * 2**30  # NULLs are counted unasked up to here: a query of some cents

# What a plan may be refused for; anything else is no verdict but an error.
_PROBLEMS = (InvalidRequest, SchemaMismatch, ModelUnusable, PredictionFailed, Conflict)


def preflight(
    clients: Clients, request: ScoringRequest, run_id: str | None = None, check_ids: bool = False
) -> dict[str, Any]:
    """Return the verdict on `request`; nothing is written.

    `ok` tells whether the run would start; if not, `problems` says why, with the columns.
    `warnings` are what one should know before. `check_ids` has BigQuery count doubled ids.

    Raises:
        TableNotFound, ModelNotFound: see `resolve`.
        Conflict: `run_id` is another request's.
    """
    found = find_run(clients, request, run_id)
    resolved = found.resolved or resolve(clients, request)
    plan, problems = _plan(clients, resolved, found.store.run_id)
    metadata, _ = read_metadata(clients, resolved.model)
    verdict: dict[str, Any] = {
        "run_id": found.store.run_id,
        "run_exists": found.plan is not None,
        "run_is_done": found.result is not None,
        # Of a view nothing tells that a repeated request means the same run, but its run_id.
        "run_id_is_new": resolved.is_query and run_id is None,
        "ok": not problems,
        "problems": [_problem(exc) for exc in problems],
        "model_name": resolved.model.name,
        "model_version": resolved.model.version,
        "model_generation": resolved.model.generation,
        "versions": _versions(metadata),
        "rows": resolved.rows,
    }
    if plan is None:
        return verdict
    size = _bytes(clients, resolved, plan)
    warnings = [*plan.warnings, *_version_warnings(metadata)]
    nulls = _count_nulls(clients, resolved, plan, warnings)
    doubled = _count_doubled_ids(clients, plan, warnings) if check_ids else None
    usd_per_tib = USD_PER_TIB_QUERIED if resolved.is_query else USD_PER_TIB_READ
    return verdict | {
        "bytes": size,
        "price_usd": round(size / TIB * usd_per_tib, 4),
        "price_basis": PRICE_BASIS,
        "reads": list(plan.read_columns),
        "writes": [{"name": c.name, "type": c.type} for c in plan.output.columns],
        "output_table_exists": plan.output.exists,
        "rejects_table": str(plan.rejects.table),
        "nulls": nulls,
        "doubled_ids": doubled,
        "warnings": list(dict.fromkeys(warnings)),
    }


def _plan(
    clients: Clients, resolved: Resolved, run_id: str
) -> tuple[Plan | None, list[MlsysError]]:
    """Plan the run, or return everything that is in the way of it."""
    request = resolved.request
    problems: list[MlsysError] = []
    try:
        return make_plan(clients, resolved, run_id)[0], []
    except (*_PROBLEMS, TableNotFound) as exc:
        problems.append(exc)

    def where() -> None:
        if request.where is not None:
            check_where(clients, request.input_table, request.where)

    # Planning ends at the first problem; these need nothing that comes before them.
    others: list[Callable[[], object]] = [
        where,
        lambda: output_location(clients, request.output_table),
    ]
    for check in others:
        try:
            check()
        except (*_PROBLEMS, TableNotFound) as exc:
            if str(exc) not in map(str, problems):
                problems.append(exc)
    return None, problems


def _problem(exc: MlsysError) -> dict[str, Any]:
    columns = [{"name": c, "problem": p} for c, p in getattr(exc, "columns", ())]
    return {"detail": str(exc), "columns": columns}


def _bytes(clients: Clients, resolved: Resolved, plan: Plan) -> int:
    """The bytes of the columns that are read, of a view those that its query reads.

    Both are charged by the columns' logical size, whatever `where` lets through.
    """
    table = resolved.request.input_table
    columns = ", ".join(f"`{name}`" for name in plan.read_columns) or "1"
    found = dry_run(clients, f"SELECT {columns} FROM `{table}`").bytes
    return found or resolved.table.num_bytes or 0


def _versions(metadata: ModelMetadata) -> list[dict[str, str]]:
    """The libraries that the model was saved with, beside the service's."""
    here = library_versions()
    return [
        {"library": name, "model": saved, "service": here[name]}
        for name, saved in metadata.versions.items()
        if name in here
    ]


def _version_warnings(metadata: ModelMetadata) -> list[str]:
    """Where the model was saved by another release than the service has; patches aside."""
    return [
        f"the model was saved with {v['library']} {v['model']}, and the service has {v['service']}"
        for v in _versions(metadata)
        if v["model"].split(".")[:2] != v["service"].split(".")[:2]
    ]


def _count_nulls(
    clients: Clients, resolved: Resolved, plan: Plan, warnings: list[str]
) -> dict[str, int] | None:
    """The NULLs in columns of which the model saw none in training; None if nobody counted."""
    required = {f.name.casefold() for f in resolved.schema if f.mode == "REQUIRED"}
    spelt = {name.casefold(): name for name in plan.read_columns}
    names = [
        spelt[f.name.casefold()]
        for f in plan.features
        if not f.nullable and f.dtype != UNKNOWN and f.name.casefold() not in required
    ]
    if not names:
        return {}
    counts = ", ".join(f"COUNTIF(`{name}` IS NULL) AS n{i}" for i, name in enumerate(names))
    sql = f"SELECT {counts} FROM `{plan.input_table}`"
    size = dry_run(clients, sql).bytes
    if size > CHEAP_BYTES:
        warnings.append(
            f"the model saw no NULLs in {', '.join(names)}; whether the table has some was not "
            f"counted, which would read {size / 2**30:,.0f} GiB"
        )
        return None
    row = next(iter(run(clients, plan.request["env"], sql)))
    found = {name: row[f"n{i}"] for i, name in enumerate(names) if row[f"n{i}"]}
    everywhere = " of the whole table" if plan.where else ""
    for name, count in found.items():
        warnings.append(
            f"{name} is NULL in {count} rows{everywhere}, and the model saw no NULLs there"
        )
    return found


def _count_doubled_ids(clients: Clients, plan: Plan, warnings: list[str]) -> int:
    """How many rows have the ids of another one."""
    names = ", ".join(f"`{c.name}`" for c in plan.ids)
    if not names:
        warnings.append("there are no id columns: the output's rows cannot be told apart")
        return 0
    sql = (
        f"SELECT COUNT(*) - COUNT(DISTINCT TO_JSON_STRING(STRUCT({names}))) AS doubled "
        f"FROM `{plan.input_table}`"
    )
    doubled = next(iter(run(clients, plan.request["env"], sql)))["doubled"]
    if doubled:
        warnings.append(
            f"{doubled} rows have the {', '.join(c.name for c in plan.ids)} of another row: the "
            "output's rows cannot be told apart by it"
        )
    return doubled
