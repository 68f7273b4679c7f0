"""The board of a backfill: which partitions are done, by which version, and which are not.

The ledger tells which runs wrote a partition, the runs bucket which ones have begun, and BigQuery
which partitions the input and the output have: two queries, if both lie in one location.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mlsys.cloud.clients import TIMEOUT, Clients
from mlsys.cloud.tables import TableRef, find_table
from mlsys.errors import Conflict, MlsysError, TableNotFound, TryAgain
from workers.query import run as run_statement
from workers.scoring.backfill.ranges import partitions_between
from workers.scoring.backfill.request import DONE, FAILED, MISSING, STALE, Backfill
from workers.scoring.backfill.states import Entry, Runs, Wanted, done_by, judge, totals
from workers.scoring.journal.decisions import read_cancellation
from workers.scoring.journal.outcomes import Result, read_failure, read_result
from workers.scoring.journal.store import UNREADABLE, RunStore
from workers.scoring.planning.find_run import FoundRun, find_run
from workers.scoring.planning.lookup import Resolved
from workers.scoring.planning.model_pin import find_model
from workers.scoring.planning.partition import input_partitioning
from workers.scoring.planning.partition_state import PartitionState, States, states_of_tables
from workers.scoring.planning.partitioning import Partitioning
from workers.scoring.planning.plan import Plan, read_plan
from workers.scoring.request.parsed import ScoringRequest
from workers.sql import statement

if TYPE_CHECKING:
    from google.cloud.bigquery import Table

log = logging.getLogger(__name__)

THREADS = 8


@dataclass(frozen=True, slots=True)
class Board:
    """The partitions of a backfill with their states, in their order."""

    backfill: Backfill
    by: Partitioning
    inputs: Mapping[str, Resolved]  # each partition of the input as it was looked up
    entries: Sequence[Entry]

    def to_dict(self) -> dict[str, Any]:
        """Return the board as JSON values."""
        request, pin = self.backfill.request, next(iter(self.inputs.values())).model
        return {
            "env": request.env,
            "model_name": pin.name,
            "model_version": pin.version,
            "model_generation": pin.generation,
            "model_alias": pin.alias,
            "input_table": str(request.input_table),
            "output_table": str(request.output_table),
            "by": self.by.kind,
            "column": self.by.column,
            "first": self.entries[0].partition,
            "last": self.entries[-1].partition,
            "totals": totals(list(self.entries)),
            "partitions": [entry.to_dict() for entry in self.entries],
        }


def board(clients: Clients, backfill: Backfill) -> Board:
    """Return the state of each partition of a backfill. Nothing is written.

    Raises:
        InvalidRequest: the range does not fit the input's partitions.
        TableNotFound, ModelNotFound: the input or the model does not exist.
        SchemaMismatch: the input has no partitions.
        TryAgain: the ledger's table does not exist.
    """
    by, inputs, output, written = _look_up(clients, backfill)
    request, pin = backfill.request, next(iter(inputs.values())).model
    wanted = Wanted(pin, request.model_version, None if output is None else output.created)
    recorded = _recorded(clients, request, inputs)

    def entry(partition: str, open_run: str | None = None) -> Entry:
        resolved = inputs[partition]
        identity = resolved.request.identity()
        good, bad = recorded.get((partition, True)), recorded.get((partition, False))
        runs = Runs(good, bad, open_run)
        scored = None if written is None else written.get(partition, PartitionState())
        label = by.label(partition)
        return judge(wanted, partition, label, identity, runs, resolved.partition, scored)

    entries = {partition: entry(partition) for partition in inputs}
    begun = _begun(clients, request.env, f"{pin.name}-{pin.version}-")
    maybe = {
        partition: store
        for partition, each in entries.items()
        if each.state != DONE
        and (store := _latest(clients, request.env, begun, inputs[partition].run_id)) is not None
    }
    ended = []
    # Rows that were deleted from the output are not new to a run that adds what is new.
    may_be_done = (STALE, FAILED) if request.incremental else (STALE, FAILED, MISSING)
    for partition, is_open in _each(maybe, lambda partition: _is_open(maybe[partition])):
        if isinstance(is_open, MlsysError):
            entries[partition] = entries[partition].unreadable(maybe[partition].run_id, is_open)
        elif is_open:
            entries[partition] = entry(partition, maybe[partition].run_id)
        elif entries[partition].state in may_be_done:
            ended.append(partition)
    for partition, reusable in _each(ended, lambda each: _reusable(clients, inputs[each])):
        if reusable is not None:
            into = None if written is None else written.get(partition, PartitionState())
            entries[partition] = done_by(entries[partition], *reusable, into)
    return Board(backfill, by, inputs, list(entries.values()))


def runs_of(clients: Clients, board: Board, states: Iterable[str]) -> dict[str, FoundRun]:
    """Return the run of each partition in one of the states, which may not exist yet.

    A partition whose run cannot be found is left out.

    Raises:
        Conflict, TryAgain: all of them cannot.
    """
    states = set(states)
    todo = [entry.partition for entry in board.entries if entry.state in states]

    def run_of(partition: str) -> FoundRun | MlsysError:
        resolved = board.inputs[partition]
        try:
            return find_run(clients, resolved.request, resolved=resolved)
        except (Conflict, TryAgain) as exc:
            log.warning("The run of %s was not found: %s", resolved.request.output_table, exc)
            return exc

    found = _each(todo, run_of)
    runs = {partition: run for partition, run in found if not isinstance(run, MlsysError)}
    for _, run in found:
        if isinstance(run, MlsysError) and not runs:
            raise run
    return runs


def _look_up(
    clients: Clients, backfill: Backfill
) -> tuple[Partitioning, dict[str, Resolved], Table | None, States]:
    """Return how the input is partitioned, its partitions of the range, the output and its own."""
    request = backfill.request
    name = request.input_table
    looked_at = dt.datetime.now(dt.UTC)
    table = find_table(clients, name)
    if table is None:
        raise TableNotFound(f"The table {name} does not exist: check its project, dataset and name")
    by = input_partitioning(name, table, clients.settings.emulators.bigquery is not None)
    partitions = partitions_between(by, backfill.first, backfill.last, looked_at)
    pin = find_model(clients, request)
    tables, output = [(name, table)], find_table(clients, request.output_table)
    if output is not None:
        tables.append((request.output_table, output))
    states, *more = states_of_tables(clients, tables)
    written = more[0] if more else None

    def resolved(partition: str) -> Resolved:
        return Resolved(
            *(backfill.of(partition), looked_at, table, table.schema, pin),
            partition_filter=by.condition(partition),
            partition=None if states is None else states.get(partition, PartitionState()),
        )

    inputs = {partition: resolved(partition) for partition in partitions}
    return by, inputs, output, written


def _recorded(
    clients: Clients, request: ScoringRequest, partitions: Iterable[str]
) -> dict[tuple[str, bool], dict[str, Any]]:
    """Return the ledger's last run of each partition that succeeded (True), or did not."""
    from google.cloud import bigquery

    tables = [str(replace(request.output_table, partition=each)) for each in partitions]
    rows = run_statement(
        clients,
        request.env,
        statement("runs_of_partitions"),
        bigquery.ArrayQueryParameter("tables", "STRING", tables),
    )
    recorded = {}
    for row in rows:
        values = dict(row.items())
        values["request"] = json.loads(values["request"]) if values["request"] else {}
        partition = TableRef.parse(values["output_table"], partition=True).partition or ""
        recorded[partition, values["state"] == "succeeded"] = values
    return recorded


def _begun(clients: Clients, env: str, prefix: str) -> set[str]:
    """Return the runs whose ids begin with a prefix, by the folders of the runs bucket."""
    bucket = clients.settings.runs_bucket(env)
    pages = clients.storage.list_blobs(bucket, prefix=prefix, delimiter="/", timeout=TIMEOUT)
    for _ in pages:  # the folders are known once all pages are read
        pass
    return {folder.rstrip("/") for folder in pages.prefixes}


def _latest(clients: Clients, env: str, begun: set[str], run_id: str) -> RunStore | None:
    """Return the run of a request with the highest suffix (`find_run`), or None without one."""
    last = None
    name, suffix = run_id, 1
    while name in begun:
        last, suffix = name, suffix + 1
        name = f"{run_id}-{suffix}"
    return None if last is None else RunStore(clients, env, last)


def _is_open(store: RunStore) -> bool | MlsysError:
    """Return whether a run has begun and has not ended in any way, or why nobody can go on."""
    ends = (read_result, read_cancellation, read_failure)
    try:
        return read_plan(store) is not None and all(end(store) is None for end in ends)
    except UNREADABLE as exc:
        return exc


def _reusable(clients: Clients, resolved: Resolved) -> tuple[Plan, Result] | None:
    """Return the run that answers a repeated request of a partition, or None: it would be another.

    The ledger's last run is another one if a run of earlier rows, or of an earlier version, was
    brought to its end after its rows had been replaced; or if one by the ids, or by a column, has
    looked for other new rows since.
    """
    try:
        run = find_run(clients, resolved.request, resolved=resolved)
    except (Conflict, TryAgain):
        return None
    return None if run.plan is None or run.result is None else (run.plan, run.result)


def _each[T](partitions: Iterable[str], of: Callable[[str], T]) -> list[tuple[str, T]]:
    """Return what `of` gives for each partition, several at a time."""
    names = list(partitions)
    with ThreadPoolExecutor(THREADS) as pool:
        return list(zip(names, pool.map(of, names), strict=True))
