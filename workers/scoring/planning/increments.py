"""Plan an incremental run: between which watermarks its rows lie, or which ids they lack."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mlsys.cloud.clients import Clients
from mlsys.columns.names import fold
from mlsys.errors import Conflict, SchemaMismatch
from mlsys.plural import does, part, plural
from workers.scoring.planning.claims import Claim, Claims
from workers.scoring.planning.columns import Column, columns_of
from workers.scoring.planning.incremental import (
    KINDS,
    Incremental,
    Watermark,
    quoted,
    source_of,
)
from workers.scoring.planning.locations import dataset_location
from workers.scoring.planning.lookup import Resolved
from workers.scoring.planning.new_rows import Counted, count_rows
from workers.scoring.planning.partition_state import has_rows
from workers.scoring.planning.price import Estimate, check_price, has_limit, price_of
from workers.scoring.planning.scored_before import scored_before
from workers.scoring.request.parsed import IDS, ScoringRequest

if TYPE_CHECKING:
    from google.cloud.bigquery import Table


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
        PriceLimit: counting the rows would cost more than the request allows.
        TryAgain: another run of the input publishes its rows just now.
    """
    request = resolved.request
    if request.incremental is None:
        return None, []
    column = None if request.incremental == IDS else _column(resolved)
    allow = _within_limits(request) if has_limit(request) else None
    claims = Claims(clients, request.env, request.output_table, request.model_name)
    source = source_of(str(request.input_table), request.where)
    newest, base, position = claims.base(source)
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
        counted = count_rows(clients, resolved, column=column.name, above=above, allow=allow)
        filled = above is None and has_rows(clients, request.output_table, existing)
        plan, warnings = _by_column(plan, column, counted, resolved, filled)
        if base is not None and plan.rows:
            warnings += scored_before(clients, request, base, existing)
        return plan, warnings
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
        allow=allow,
    )
    if counted.repeated:
        raise SchemaMismatch(
            f"{plural(counted.repeated, 'row')} of {request.input_table} "
            f"{does(counted.repeated, 'has')} the "
            f"{', '.join(c.name for c in ids)} of another row, so incremental=ids cannot tell "
            "which of them the output has: pass id_columns that identify a row, or "
            "incremental=COLUMN."
        )
    if known is None or counted.up_to is None:
        return replace(plan, up_to=above), []
    return replace(plan, up_to=_later(known, counted, above)), []


def _by_column(
    plan: Incremental,
    column: Column,
    counted: Counted,
    resolved: Resolved,
    filled: bool,
) -> tuple[Incremental, list[str]]:
    """Return the plan with its rows. `filled`: the first run finds some in the output."""
    request, above = resolved.request, plan.above
    if counted.nulls:
        # Another where begins with all rows, and another column is refused: `_check_base`.
        other = " pass a where that leaves them out, another column," if above is None else ""
        raise SchemaMismatch(
            f"incremental={column.name} cannot order the rows of {request.input_table}: fill the "
            f"NULLs,{other} or pass incremental=ids.",
            [(column.name, f"is NULL in {part(counted.nulls, counted.n, 'row')}")],
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
            f"{plural(late, 'row')} at or below the watermark {column.name} = {above.value} "
            f"{does(late, 'was')} not there when it was set, and this run does not score "
            f"{'it' if late == 1 else 'them'}: incremental=ids does"
        )
    if filled:
        warnings.append(
            f"{request.output_table} has rows, and no run by incremental={plan.by} has written it "
            "yet: this run scores all rows, also those that other runs have written"
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
            f"{written} by incremental={quoted(mark.column)} (the run {base.run_id}): pass that "
            f"column, {instead}"
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


def _within_limits(request: ScoringRequest) -> Callable[[int], None]:
    """Return a function that raises if a query of that size exceeds the limits of the request."""
    return lambda size: check_price(Estimate(size, price_of(0, size)), request)


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
