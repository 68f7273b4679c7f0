"""Tell whether a run that is done is still what a repeated request means."""

from __future__ import annotations

import datetime as dt
import logging
from typing import TYPE_CHECKING

from mlsys.cloud.clients import Clients
from mlsys.cloud.tables import find_table
from workers.query import select
from workers.scoring.journal.outcomes import Result
from workers.scoring.planning.claims import builds_on_rows, claims_of
from workers.scoring.planning.partition_filter import any_partition, requires_filter
from workers.scoring.planning.plan import Plan
from workers.scoring.planning.removed_rows import removed_since

if TYPE_CHECKING:
    from google.cloud.bigquery import Table

log = logging.getLogger(__name__)


def still_counts(clients: Clients, plan: Plan, result: Result) -> bool:
    """Tell whether a run that is done is what its request means: see `find_run`."""
    table = find_table(clients, plan.output.table)
    if not _output_exists(clients, plan, result, table):
        return False
    if plan.incremental is None:
        return True
    claims = claims_of(clients, result.env, plan)
    if not plan.incremental.is_by_ids:
        return builds_on_rows(claims, plan.incremental.base)
    # The output may lack other rows by now. An undo may have removed those of another run after it
    # had looked for ids, and before its load job ended.
    modified = table.modified.isoformat() if table is not None and table.modified else None
    return (
        modified == result.output_modified
        and all(builds_on_rows(claims, number) for number in plan.incremental.after)
        and not removed_since(clients, result.env, plan)
    )


def _output_exists(clients: Clients, plan: Plan, result: Result, table: Table | None) -> bool:
    """Tell whether the run's rows are still in the output table, as far as can be seen.

    The table must not have been deleted or re-created since; if the run replaced its rows (or those
    of a partition), it must not hold another run's.
    """
    from google.api_core.exceptions import BadRequest
    from google.cloud import bigquery

    into = plan.output
    created = table.created.isoformat() if table is not None and table.created else None
    if table is None or created != result.output_created:
        return False
    if into.write_disposition != "WRITE_TRUNCATE" or result.rows == 0:
        return True
    also = f" AND {any_partition(table)}" if requires_filter(table) else ""
    sql = (
        f"SELECT 1 FROM `{into.table.base}` "
        f"WHERE run_id = @run_id AND predicted_at = @at{also} LIMIT 1"
    )
    at = dt.datetime.fromisoformat(plan.created_at)  # one partition, where it is the partitions'
    key = (
        bigquery.ScalarQueryParameter("run_id", "STRING", plan.run_id),
        bigquery.ScalarQueryParameter("at", "TIMESTAMP", at),
    )
    try:
        return next(iter(select(clients, sql, *key)), None) is not None
    except BadRequest as exc:  # the columns were dropped or renamed since
        log.info("%s cannot be looked for in %s: %s", plan.run_id, into.table, exc)
        return False
