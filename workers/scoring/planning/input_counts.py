"""Count what a dry run warns of in the input's rows: NULLs and duplicate ids."""

from __future__ import annotations

from mlsys.cloud.clients import Clients
from mlsys.columns.features import UNKNOWN
from mlsys.columns.names import fold
from mlsys.plural import does, plural
from workers.query import column_sql, dry_run, select
from workers.scoring.planning.contract import CHEAP_BYTES
from workers.scoring.planning.lookup import Resolved
from workers.scoring.planning.partition_filter import requires_filter
from workers.scoring.planning.plan import Plan


def count_nulls(
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
            f"{name} is NULL in {plural(count, 'row')}{everywhere}, and the model saw no NULLs "
            "there"
        )
    return nulls


def _of_partition(plan: Plan) -> str:
    return f" WHERE {plan.partition_filter}" if plan.partition_filter else ""


def count_duplicate_ids(
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
            f"{plural(duplicates, 'row')} {does(duplicates, 'has')} the "
            f"{', '.join(c.name for c in plan.ids)} of another row: the "
            "output's rows cannot be told apart by it"
        )
    return duplicates
