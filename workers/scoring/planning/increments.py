"""Plan an incremental run: between which watermarks its rows lie, or which ids they lack."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mlsys.cloud.clients import Clients
from mlsys.cloud.messages import words_of
from mlsys.cloud.tables import find_table
from mlsys.columns.names import fold
from mlsys.errors import Conflict, SchemaMismatch, TryAgain
from workers.query import as_of, dry_run, select
from workers.scoring.planning.claims import Claim, Claims
from workers.scoring.planning.columns import Column, columns_of
from workers.scoring.planning.incremental import (
    KINDS,
    Incremental,
    Watermark,
    quoted,
    source_of,
)
from workers.scoring.planning.incremental_sql import counts_sql, lacking_sql, new_rows_sql
from workers.scoring.planning.locations import dataset_location
from workers.scoring.planning.lookup import Resolved
from workers.scoring.planning.partition_filter import any_partition, requires_filter
from workers.scoring.planning.plan import Plan
from workers.scoring.request import IDS

if TYPE_CHECKING:
    from google.cloud.bigquery import Table

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Counted:
    """The rows of an input, as `counts_sql` counts them."""

    n: int
    nulls: int = 0
    up_to: Any = None
    below: int = 0
    repeated: int = 0


def plan_incremental(
    clients: Clients,
    resolved: Resolved,
    ids: Sequence[Column],
    existing: Table | None,
    location: str,
) -> tuple[Incremental | None, list[str]]:
    """Return which rows the run scores, and warnings; None if it scores all rows.

    `ids` are the columns that are carried over, `existing` is the output table, and `location` is
    where it lies.

    Raises:
        SchemaMismatch: the column has NULLs, another type, or does not exist; ids repeat, or there
            are none; the output cannot be queried together with the input.
        Conflict: the output has rows of this input from runs of another kind.
        TryAgain: another run of the input publishes its rows just now.
    """
    request = resolved.request
    if request.incremental is None:
        return None, []
    column = None if request.incremental == IDS else _column(resolved)
    claims = Claims(clients, request.env, request.output_table, request.model_name)
    source = source_of(str(request.input_table), request.where)
    newest, base, position = claims.base(source, existing)
    above = None if base is None else base.watermark
    plan = Incremental(
        by=IDS if column is None else quoted(column.name),
        source=source,
        position=position,
        base=None if base is None else base.number,
        after=() if base is None else (base.number,),
        above=above,
    )
    if column is not None:
        _check_base(resolved, column, base)
        counted = count_rows(clients, resolved, column=column.name, above=above)
        return _by_column(plan, column, counted, resolved, existing)
    _check_ids(clients, resolved, ids, location)
    plan = replace(plan, after=(*plan.after, *_others(claims, newest, plan, resolved)))
    known = _find(resolved, above.column) if above is not None else None
    if known is None or above is None or known.type != above.kind:
        known = None  # the watermark stays where it is
    counted = count_rows(
        *(clients, resolved),
        column=known.name if known else None,
        above=above if known else None,
        ids=[c.name for c in ids],
    )
    if counted.repeated:
        raise SchemaMismatch(
            f"{counted.repeated:,} rows of {request.input_table} have the "
            f"{', '.join(c.name for c in ids)} of another row, so incremental=ids cannot tell "
            "which of them the output has: pass id_columns that identify a row, or "
            "incremental=COLUMN."
        )
    if known is None or counted.up_to is None:
        return replace(plan, up_to=above), []
    return replace(plan, up_to=_later(known, counted, above)), []


def count_new(clients: Clients, resolved: Resolved, plan: Plan) -> int:
    """Return how many rows a run by ids would score now; this reads the ids of both tables."""
    request = resolved.request
    conditions = _conditions(resolved)
    lacking = lacking_rows(clients, plan)
    if lacking is None:
        return count_rows(clients, resolved).n
    sql = new_rows_sql(
        request.input_table.base, conditions, lacking, as_of=_as_of(clients, resolved)
    )
    return int(next(iter(select(clients, sql)))["n"])


def lacking_rows(clients: Clients, plan: Plan) -> str | None:
    """Return the condition for rows whose ids the output lacks; None without an output."""
    output = find_table(clients, plan.output.table.base)
    if output is None:
        return None
    return lacking_sql(
        *(plan.input_table.base, plan.output.table.base, [c.name for c in plan.ids]),
        *(plan.model.name, plan.model.version),
        also=any_partition(output) if requires_filter(output) else None,
    )


def count_rows(
    clients: Clients,
    resolved: Resolved,
    *,
    column: str | None = None,
    above: Watermark | None = None,
    ids: Sequence[str] = (),
) -> Counted:
    """Have BigQuery count the input's rows at the plan's snapshot; see `counts_sql`.

    Raises:
        TryAgain: the snapshot lies in the future by BigQuery's clock.
        SchemaMismatch: BigQuery cannot count them.
    """
    from google.api_core.exceptions import BadRequest, NotFound

    table, conditions = resolved.request.input_table.base, _conditions(resolved)

    def sql(snapshot: str) -> str:
        return counts_sql(table, conditions, as_of=snapshot, column=column, above=above, ids=ids)

    at = _as_of(clients, resolved)
    try:
        [row] = select(clients, sql(at))
    except (BadRequest, NotFound) as exc:
        log.warning("The rows of %s were not counted: %s", table, exc)
        if at and _works(clients, sql("")):
            raise TryAgain(f"{table} cannot be read as of now yet: try again") from exc
        raise SchemaMismatch(
            f"BigQuery cannot count the rows of {table} ({words_of(exc)}), as incremental needs "
            "it: pass another column, or a view that BigQuery can query."
        ) from exc
    return Counted(**{name: row[name] for name in row.keys()})  # noqa: SIM118 (a Row)


def _by_column(
    plan: Incremental,
    column: Column,
    counted: Counted,
    resolved: Resolved,
    existing: Table | None,
) -> tuple[Incremental, list[str]]:
    request, above = resolved.request, plan.above
    if counted.nulls:
        raise SchemaMismatch(
            f"incremental={column.name} cannot order the rows of {request.input_table}: fill the "
            "NULLs, pass a where that leaves them out, another column, or incremental=ids.",
            [(column.name, f"is NULL in {counted.nulls:,} of {counted.n:,} rows")],
        )
    late = 0 if above is None else max(0, counted.below - above.rows)
    plan = replace(
        plan,
        up_to=above if counted.up_to is None else _later(column, counted, above),
        rows=counted.n - counted.below,
        rows_below=counted.below,
        rows_late=late,
    )
    warnings = []
    if late and above is not None:
        warnings.append(
            f"{late:,} rows at or below the watermark {column.name} = {above.value} were not there "
            "when it was set, and this run does not score them: incremental=ids does"
        )
    if above is None and existing is not None and existing.num_rows:
        warnings.append(
            f"{request.output_table} has rows, and no run by incremental={column.name} has written "
            "it yet: this run scores all rows, also those that other runs have written"
        )
    return plan, warnings


def _later(column: Column, counted: Counted, above: Watermark | None) -> Watermark:
    """Return the watermark after the run: rows may have been deleted, and it never goes back."""
    mark = Watermark.of(column.name, column.type, counted.up_to, counted.n - counted.nulls)
    if above is not None and counted.n - counted.nulls == counted.below:
        return replace(above, rows=mark.rows)
    return mark


def _column(resolved: Resolved) -> Column:
    """Return the column of the input that the request names.

    Raises:
        SchemaMismatch: it does not exist, or its values have no order that can be relied on.
    """
    text = resolved.request.incremental or ""
    name = text.strip("`")
    column = _find(resolved, name)
    where = resolved.request.input_table
    if column is None:
        raise SchemaMismatch(
            f"incremental={text}: pass a column of {where}, or ids.",
            [(name, "is not in the input table")],
        )
    if column.type not in KINDS:
        raise SchemaMismatch(
            f"incremental takes a column of type {', '.join(KINDS)}: pass another one, a view of "
            f"{where} that casts it, or incremental=ids.",
            [(column.name, f"is {column.type}")],
        )
    return column


def _find(resolved: Resolved, name: str) -> Column | None:
    return next((c for c in columns_of(resolved.schema) if fold(c.name) == fold(name)), None)


def _check_base(resolved: Resolved, column: Column, base: Claim | None) -> None:
    """Check that the run goes on from a watermark of its own column.

    Raises:
        Conflict: the output has rows of the input that no watermark of the column covers.
    """
    if base is None:
        return
    mark, request = base.watermark, resolved.request
    written = f"{request.output_table.base} has rows of {request.input_table}"
    instead = "or another output_table, which begins with all rows"
    if mark is None:
        raise Conflict(
            f"{written} by incremental=ids (the run {base.run_id}), and {column.name} has no "
            f"watermark: go on with incremental=ids, {instead}"
        )
    if fold(mark.column) != fold(column.name):
        raise Conflict(
            f"{written} by incremental={mark.column} (the run {base.run_id}): pass that column, "
            f"{instead}"
        )
    if mark.kind != column.type:
        raise Conflict(
            f"The watermark {mark.column} = {mark.value} is {mark.kind}, and the column is "
            f"{column.type} now: pass incremental=ids, {instead}"
        )


def _check_ids(clients: Clients, resolved: Resolved, ids: Sequence[Column], location: str) -> None:
    """Check that rows can be recognized in the output by their ids.

    Raises:
        SchemaMismatch: no column is an id, or no query can read both tables.
    """
    table = resolved.request.input_table
    if not ids:
        raise SchemaMismatch(
            "incremental=ids looks for the rows' ids in the output, and no column is carried over: "
            "pass id_columns, or incremental=COLUMN."
        )
    source = dataset_location(clients, f"{table.project}.{table.dataset}")
    if location and source != location:
        raise SchemaMismatch(
            f"{table} is in {source} and {resolved.request.output_table.base} in {location}: no "
            "query can compare their ids. Pass an output_table in the same location, or "
            "incremental=COLUMN."
        )


def _others(
    claims: Claims, newest: Claim | None, plan: Incremental, resolved: Resolved
) -> list[int]:
    """Return the newest claims of other sources that may have rows of the same ids."""
    if newest is None:
        return []
    mine = replace(
        newest,
        by=IDS,
        source=plan.source,
        model_version=resolved.model.version,
        input_table=str(resolved.request.input_table),
    )
    numbers = (number for source, number in newest.newest.items() if source != plan.source)
    others = (newest if n == newest.number else claims.read(n) for n in numbers)
    return [other.number for other in others if other is not None and not mine.is_apart(other)]


def _conditions(resolved: Resolved) -> list[str]:
    where = resolved.restriction
    return [] if where is None else [f"(\n{where}\n)"]


def _as_of(clients: Clients, resolved: Resolved) -> str:
    """Return the clause for the plan's snapshot.

    A view has none, and the local BigQuery reads a table as it is now.
    """
    if resolved.is_query or clients.settings.emulators.bigquery:
        return ""
    return as_of(resolved.snapshot_at)


def _works(clients: Clients, sql: str) -> bool:
    from google.api_core.exceptions import BadRequest, NotFound

    try:
        dry_run(clients, sql)
    except (BadRequest, NotFound):
        return False
    return True
