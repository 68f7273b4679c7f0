"""`dry_run=true`: would the request work, what would it read and cost, and what is odd about it?

No row is loaded. Columns are checked as planning does it, and BigQuery is asked whether it would
read them; it counts NULLs and doubled ids where that is asked for or cheap.
"""

from __future__ import annotations

from typing import Any

from mlsys.artifact.metadata import ModelMetadata, library_versions
from mlsys.artifact.signatures import UNKNOWN
from mlsys.bq import find_table
from mlsys.clients import Clients
from mlsys.errors import (
    MAX_LISTED,
    Conflict,
    InvalidRequest,
    MlsysError,
    ModelUnusable,
    SchemaMismatch,
    TableNotFound,
    bounded,
)
from mlsys.names import fold
from workers.query import column_sql, dry_run, select
from workers.scoring.planning.destination import output_location
from workers.scoring.planning.find_run import Found, find_run
from workers.scoring.planning.lookup import Resolved, check_where
from workers.scoring.planning.model_pin import ModelPin, read_metadata
from workers.scoring.planning.plan import Plan, make_plan
from workers.scoring.records import read_failure
from workers.scoring.request import ScoringRequest
from workers.scoring.shards.read_session import probe

TIB = 2**40
# List prices in the US multi-region, before each month's free use (1 TiB of queries, 300 TiB of
# the Storage Read API); loading is free: https://cloud.google.com/bigquery/pricing
USD_PER_TIB_READ = 1.10
USD_PER_TIB_QUERIED = 6.25
PRICE_BASIS = (
    "US list prices, before each month's free use: 1.10 USD a TiB that the Storage Read API reads; "
    "where a query copies the rows first (a view, column names beyond letters, digits and "
    "underscores) 6.25 USD a TiB that it reads, and reading what it gives comes on top"
)
CHEAP_BYTES = 10 * 2**30  # NULLs are counted unasked up to here: a query of some cents

# What a plan may be refused for; anything else is no verdict but an error.
_PROBLEMS = (InvalidRequest, SchemaMismatch, ModelUnusable, Conflict)


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
    if found.result is not None or found.resolved is None:
        assert found.plan is not None  # find_run looks everything up where there is no plan
        return _known(clients, found, found.plan)
    resolved = found.resolved
    plan = found.plan
    problems: list[MlsysError] = []
    if plan is None:
        plan, problems = _plan(clients, resolved, found.store.run_id)
    if plan is not None:
        try:
            probe(clients, plan)
        except (*_PROBLEMS, TableNotFound) as exc:
            problems.append(exc)
    metadata, _ = read_metadata(clients, resolved.model)
    verdict = _head(found, resolved.model) | {
        "ok": not problems,
        "problems": [_problem(exc) for exc in problems],
        # Of a view nothing tells that a repeated request means the same run, but its run_id.
        "run_id_required": resolved.is_query and run_id is None,
        "versions": _versions(metadata),
        "rows": resolved.rows,
    }
    if plan is None:
        return verdict
    size = _bytes(clients, resolved, plan)
    warnings = [*_failed_before(found), *plan.warnings]
    nulls = _count_nulls(clients, resolved, plan, warnings)
    doubled = _count_duplicate_ids(clients, resolved, plan, warnings) if check_ids else None
    usd_per_tib = USD_PER_TIB_QUERIED if plan.is_copied else USD_PER_TIB_READ
    return (
        verdict
        | _tables(clients, plan)
        | {
            "bytes": size,
            "price_usd": round(size / TIB * usd_per_tib, 4),
            "price_basis": PRICE_BASIS,
            "nulls": nulls,
            "duplicate_ids": doubled,
            "warnings": list(dict.fromkeys(map(bounded, warnings))),
        }
    )


def _known(clients: Clients, found: Found, plan: Plan) -> dict[str, Any]:
    """The verdict on a run that is done, or goes on by its plan whatever the input is by now."""
    verdict = _head(found, plan.model) | _tables(clients, plan)
    return verdict | {
        "ok": True,
        "problems": [],
        "warnings": [*_failed_before(found), *plan.warnings],
        "run_id_required": False,
        "versions": [],
        "rows": plan.rows_expected if found.result is None else found.result.rows_read,
    }


def _head(found: Found, model: ModelPin) -> dict[str, Any]:
    """Which run it would be, with which model."""
    return {
        "run_id": found.store.run_id,
        "run_exists": found.plan is not None,
        "run_is_done": found.result is not None,
        "model_name": model.name,
        "model_version": model.version,
        "model_generation": model.generation,
    }


def _failed_before(found: Found) -> list[str]:
    failure = read_failure(found.store) if found.result is None else None
    return [f"the run is there, and its last try failed: {failure.detail}"] if failure else []


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
    }


def _plan(
    clients: Clients, resolved: Resolved, run_id: str
) -> tuple[Plan | None, list[MlsysError]]:
    """Plan the run, or return everything that is in the way of it."""
    try:
        return make_plan(clients, resolved, run_id)[0], []
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
    found = getattr(exc, "columns", ())
    columns = [{"name": c, "problem": p} for c, p in found[:MAX_LISTED]]
    problem = {"detail": bounded(str(exc)), "columns": columns}
    left_out = len(found) - len(columns)
    return problem | {"more": left_out} if left_out else problem


def _bytes(clients: Clients, resolved: Resolved, plan: Plan) -> int:
    """The bytes of the columns that are read, of a view those that its query reads.

    Both are charged by the columns' logical size, whatever `where` lets through.
    """
    columns = ", ".join(column_sql(plan.input_table, n) for n in plan.read_columns) or "1"
    later = plan.is_query and not plan.aliased  # the filter is applied, and may name any column
    if plan.where and later:
        columns = "*"
    sql = f"SELECT {columns} FROM `{plan.input_table}`"
    if plan.where and not later:
        sql += f" WHERE (\n{plan.where}\n)"  # some tables cannot be queried without
    return dry_run(clients, sql).bytes or resolved.table.num_bytes or 0


def _versions(metadata: ModelMetadata) -> list[dict[str, str]]:
    """The libraries that the model was saved with, beside the service's."""
    here = library_versions()
    return [
        {"library": name, "model": saved, "service": here[name]}
        for name, saved in metadata.versions.items()
        if name in here
    ]


def _count_nulls(
    clients: Clients, resolved: Resolved, plan: Plan, warnings: list[str]
) -> dict[str, int] | None:
    """The NULLs in columns of which the model saw none in training; None if nobody counted."""
    required = {fold(f.name) for f in resolved.schema if f.mode == "REQUIRED"}
    spelt = {fold(name): name for name in plan.read_columns}
    names = [
        spelt[fold(f.name)]
        for f in plan.features
        if not f.nullable and f.dtype != UNKNOWN and fold(f.name) not in required
    ]
    if not names:
        return {}
    if resolved.table.require_partition_filter:
        warnings.append(f"NULLs were not counted: {plan.input_table} needs a filter to be queried")
        return None
    counts = ", ".join(
        f"COUNTIF({column_sql(plan.input_table, name)} IS NULL) AS n{i}"
        for i, name in enumerate(names)
    )
    sql = f"SELECT {counts} FROM `{plan.input_table}`"
    size = dry_run(clients, sql).bytes
    if size > CHEAP_BYTES:
        warnings.append(
            f"the model saw no NULLs in {', '.join(names)}; whether the table has some was not "
            f"counted, which would read {size / 2**30:,.0f} GiB"
        )
        return None
    row = next(iter(select(clients, sql)))
    found = {name: row[f"n{i}"] for i, name in enumerate(names) if row[f"n{i}"]}
    everywhere = " of the whole table" if plan.where else ""
    for name, count in found.items():
        warnings.append(
            f"{name} is NULL in {count} rows{everywhere}, and the model saw no NULLs there"
        )
    return found


def _count_duplicate_ids(
    clients: Clients, resolved: Resolved, plan: Plan, warnings: list[str]
) -> int | None:
    """How many rows have the ids of another one; None if nobody counted."""
    if resolved.table.require_partition_filter:
        warnings.append(f"Ids were not counted: {plan.input_table} needs a filter to be queried")
        return None
    names = ", ".join(column_sql(plan.input_table, c.name) for c in plan.ids)
    if not names:
        warnings.append("there are no id columns: the output's rows cannot be told apart")
        return 0
    sql = (
        f"SELECT COUNT(*) - COUNT(DISTINCT TO_JSON_STRING(STRUCT({names}))) AS doubled "
        f"FROM `{plan.input_table}`"
    )
    doubled = next(iter(select(clients, sql)))["doubled"]
    if doubled:
        warnings.append(
            f"{doubled} rows have the {', '.join(c.name for c in plan.ids)} of another row: the "
            "output's rows cannot be told apart by it"
        )
    return doubled
