"""Count the rows of an incremental run, and find those that its output lacks, by queries."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mlsys.cloud.clients import Clients
from mlsys.cloud.messages import words_of
from mlsys.cloud.tables import find_table
from mlsys.errors import SchemaMismatch, TryAgain
from workers.query import as_of, dry_run, is_valid
from workers.scoring.journal.queries import select_for
from workers.scoring.planning.incremental import Watermark
from workers.scoring.planning.incremental_sql import counts_sql, lacking_sql, new_rows_sql
from workers.scoring.planning.lookup import Resolved
from workers.scoring.planning.partition_filter import any_partition, requires_filter
from workers.scoring.planning.plan import Plan

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Counted:
    """The rows of an input, as `counts_sql` counts them."""

    n: int
    nulls: int = 0
    up_to: Any = None
    below: int = 0
    repeated: int = 0


def count_rows(
    clients: Clients,
    resolved: Resolved,
    *,
    column: str | None = None,
    above: Watermark | None = None,
    ids: Sequence[str] = (),
    allow: Callable[[int], None] | None = None,
) -> Counted:
    """Have BigQuery count the input's rows at the plan's snapshot; see `counts_sql`.

    `allow` is given the bytes that the query would read, and raises if they are too many.

    Raises:
        TryAgain: the snapshot lies in the future by BigQuery's clock.
        SchemaMismatch: BigQuery cannot count them.
    """
    from google.api_core.exceptions import BadRequest, NotFound

    table, conditions = resolved.request.input_table.base, _conditions(resolved)

    def sql(snapshot: str) -> str:
        return counts_sql(table, conditions, as_of=snapshot, column=column, above=above, ids=ids)

    at = _as_of(clients, resolved)
    repeated = not at
    while True:
        try:
            if allow is not None:  # the local BigQuery does not estimate queries
                allow(dry_run(clients, sql(at)).bytes or resolved.table.num_bytes or 0)
            [row] = select_for(resolved.notes, clients, sql(at))
            return Counted(**{name: row[name] for name in row.keys()})  # noqa: SIM118 (a Row)
        except (BadRequest, NotFound) as exc:
            log.warning("The rows of %s were not counted: %s", table, exc)
            if not repeated and is_valid(clients, sql(at)):
                repeated = True  # its snapshot became readable, or it fails as it runs
                continue
            if not repeated and is_valid(clients, sql("")):
                raise TryAgain(f"{table} cannot be read as of now yet: try again") from exc
            raise SchemaMismatch(
                f"BigQuery cannot count the rows of {table} ({words_of(exc)}), as incremental "
                "needs it: pass another column, or a view that BigQuery can query."
            ) from exc


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
    return int(next(iter(select_for(resolved.notes, clients, sql)))["n"])


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
