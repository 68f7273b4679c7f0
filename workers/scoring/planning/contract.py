"""Pin the contract of a run's model in its plan, and check what is known before a row is read.

Names and types of columns, the number of rows where BigQuery tells it, and the age of a table cost
nothing. The newest value of a column is one query, and only if it is cheap.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from mlsys.artifact.contract import STOP, Clause, Contract
from mlsys.artifact.contract_values import fitting_fault
from mlsys.artifact.metadata import ModelMetadata
from mlsys.artifact.refs import ModelRef
from mlsys.cloud.clients import TIMEOUT, Clients
from mlsys.columns.names import fold
from mlsys.errors import ContractInvalid, ModelUnusable, TryAgain
from workers.monitoring.contract import (
    OFF,
    WARN,
    Broken,
    PlannedContract,
    freshness_fault,
    row_count_fault,
    stop_error,
    stopped_by,
)
from workers.query import column_sql, dry_run
from workers.scoring.journal.queries import select_for
from workers.scoring.planning.columns import PARQUET_TYPES, Column
from workers.scoring.planning.lookup import Resolved
from workers.scoring.planning.model_pin import ModelPin
from workers.scoring.planning.partition_filter import requires_filter
from workers.scoring.planning.plan import Plan
from workers.scoring.request.parsed import ScoringRequest
from workers.verification.version import read_contract

CHEAP_BYTES = 10 * 2**30  # a query of some cents
LOOKS = 5


def pin_contract(
    clients: Clients, resolved: Resolved, metadata: ModelMetadata, table: Sequence[Column]
) -> tuple[PlannedContract | None, list[str]]:
    """Return the model's contract for the input, None without one, and warnings about it.

    Raises:
        ContractBroken: a clause with `stop` fails whatever the rows hold.
        ModelUnusable: contract.json is malformed, and the request enforces it.
    """
    mode = resolved.request.contract
    if mode == OFF:
        return PlannedContract(None, OFF), []
    try:
        read = _read(clients, resolved.model, metadata)
    except ContractInvalid as exc:
        if mode == WARN:
            return PlannedContract(None, WARN), [f"the contract was left out: {exc}"]
        raise ModelUnusable(
            f"{exc}. Correct it with {_edit(resolved)}, or pass contract=warn to score without it."
        ) from exc
    if read is None:
        return None, []
    generation, contract = read
    spelt = {fold(column.name): column for column in table}
    clauses = tuple(_spelt(clause, spelt) for clause in contract.clauses)
    known = {str(i): why for i, why in _known(resolved, clauses, spelt)}
    planned = PlannedContract(generation, mode, clauses, known)
    stops = [i for i in planned.counted if clauses[i].action == STOP]
    planned = with_newest(clients, resolved, planned, stops)
    if broken := stopped_by(known_broken(planned), mode):
        then = f"Correct the input, edit the contract ({_edit(resolved)}), or pass contract=warn."
        raise stop_error(broken, then)
    return planned, []


def columns_of_contract(contract: PlannedContract | None, table: Sequence[Column]) -> list[Column]:
    """Return the columns of the table that the contract's clauses are counted over."""
    if contract is None:
        return []
    names = {contract.clauses[i].column for i in contract.counted}
    return [column for column in table if column.name in names]


def known_broken(contract: PlannedContract) -> list[Broken]:
    """Return the clauses that are known to fail before a row is read."""
    places = sorted(map(int, contract.known))
    return [Broken(contract.clauses[i], i, contract.known[str(i)]) for i in places]


def with_newest(
    clients: Clients, resolved: Resolved, contract: PlannedContract, places: Sequence[int]
) -> PlannedContract:
    """Return the contract with those of its `freshness` clauses known that one query finds to fail.

    Nothing is asked if the query is not cheap, or the input is a view: the rows tell as they pass.
    """
    aged = [i for i in places if contract.clauses[i].check == "freshness"]
    unfiltered = resolved.restriction is None and requires_filter(resolved.table)
    if not aged or resolved.is_query or unfiltered:
        return contract
    source, where = resolved.request.input_table.base, resolved.restriction
    columns = [column_sql(source, contract.clauses[i].column or "") for i in aged]
    newest = ", ".join(f"MAX({column}) AS n{i}" for i, column in zip(aged, columns, strict=True))
    sql = f"SELECT {newest} FROM `{source}`" + (f" WHERE (\n{where}\n)" if where else "")
    if dry_run(clients, sql).bytes > CHEAP_BYTES:
        return contract
    row = next(iter(select_for(resolved.notes, clients, sql)))
    known = dict(contract.known)
    for i in aged:
        why = freshness_fault(contract.clauses[i], _micros(row[f"n{i}"]), resolved.snapshot_at)
        known |= {} if why is None else {str(i): why}
    return replace(contract, known=known)


def contract_note(plan: Plan, request: ScoringRequest) -> str | None:
    """Return what to tell a caller whose request treats the contract in another way than planned.

    What is set aside is decided once, or parts of one run would differ.
    """
    contract = plan.contract
    if contract is None or contract.mode == request.contract:
        return None
    if contract.generation is None:
        what = "its rows are not checked"
    elif contract.rejects:
        what = "rows that fail a clause with reject are set aside"
    elif replace(contract, mode=request.contract).rejects:
        what = "rows that fail a clause with reject are scored"
    else:
        return None
    return (
        f"{plan.run_id} was planned with contract={contract.mode}: {what}. Pass a run_id of your "
        "own for another run."
    )


def _read(clients: Clients, pin: ModelPin, metadata: ModelMetadata) -> tuple[int, Contract] | None:
    """Return the generation and the content of the model's contract, or None without one."""
    path = ModelRef(pin.name, pin.version).contract_path
    bucket = clients.storage.bucket(pin.bucket)
    for _ in range(LOOKS):
        blob = bucket.get_blob(path, timeout=TIMEOUT)
        if blob is None:
            return None
        if (contract := read_contract(blob, metadata)) is not None:
            return int(blob.generation or 0), contract
    raise TryAgain(f"gs://{pin.bucket}/{path} kept being replaced: try again")


def _spelt(clause: Clause, table: Mapping[str, Column]) -> Clause:
    """Return the clause with its column spelt as the table has it."""
    column = table.get(fold(clause.column or ""))
    return clause if column is None else replace(clause, column=column.name)


def _known(
    resolved: Resolved, clauses: Sequence[Clause], table: Mapping[str, Column]
) -> Iterator[tuple[int, str]]:
    """Yield the places of the clauses that fail whatever the rows hold, and why."""
    exact = resolved.rows if _reads_all(resolved) else None
    for i, clause in enumerate(clauses):
        why = None
        if clause.column is not None:
            why = _column_fault(clause, table.get(fold(clause.column)))
        elif clause.check == "row_count" and exact is not None:
            why = row_count_fault(clause, exact)
        elif clause.check == "freshness":
            why = _table_fault(clause, resolved)
        if why is not None:
            yield i, why


def _reads_all(resolved: Resolved) -> bool:
    """Return whether the rows of the table are those that the run reads."""
    request = resolved.request
    return resolved.rows_exact and request.where is None and request.incremental is None


def _column_fault(clause: Clause, column: Column | None) -> str | None:
    if column is None:
        return "the table has no such column"
    if clause.check == "type" and column.type not in clause.parameters["types"]:
        return f"the column is {column.type}"
    if column.type not in PARQUET_TYPES and clause.check not in ("exists", "type"):
        return f"{clause.check} cannot be asked of a column of type {column.type}"
    return fitting_fault(clause.check, clause.parameters, column.type)


def _table_fault(clause: Clause, resolved: Resolved) -> str | None:
    """Return why the table is too old as a whole."""
    if resolved.is_query:
        return "the input is a view, whose rows have no time of change: name a column"
    return freshness_fault(clause, _micros(resolved.table.modified), resolved.snapshot_at)


def _micros(value: Any) -> int | None:
    """Return a date's end, or a time (UTC if it names no zone), in microseconds since 1970."""
    if value is None:
        return None
    if not isinstance(value, dt.datetime):
        value = dt.datetime.combine(value, dt.time()) + dt.timedelta(days=1)
    aware = value if value.tzinfo else value.replace(tzinfo=dt.UTC)
    micros: int = (aware - dt.datetime.fromtimestamp(0, dt.UTC)) // dt.timedelta(microseconds=1)
    return micros


def _edit(resolved: Resolved) -> str:
    pin = resolved.model
    return f"`mlsys contract edit {pin.name} {pin.version} --env {resolved.request.env}`"
