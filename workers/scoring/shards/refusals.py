"""Find out why BigQuery refuses to read the input: the filter, the snapshot, or the table itself.

A refusal is a 400 of many causes, and no code tells them apart. The same request without the
filter, then without the snapshot, does. Only a snapshot that lies in the future by BigQuery's clock
becomes readable with time; every other cause is permanent, and is never reported as something to
try again.

A 403 that names no permission means row-level security: the Storage Read API needs access to all
rows of a table (https://cloud.google.com/bigquery/docs/using-row-level-security-with-features).
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from mlsys.cloud.clients import Clients
from mlsys.cloud.messages import Use, denied, names_permission, words_of
from mlsys.cloud.quotas import is_quota
from mlsys.cloud.tables import TableRef, find_table
from mlsys.errors import (
    Conflict,
    MlsysError,
    PermissionMissing,
    SchemaMismatch,
    TableNotFound,
    TryAgain,
)
from workers.query import select
from workers.scoring.planning.lookup import bad_where
from workers.scoring.planning.plan import Plan

if TYPE_CHECKING:
    from google.api_core.exceptions import GoogleAPICallError

log = logging.getLogger(__name__)

# By this much a clock may be ahead of BigQuery's; beyond it BigQuery is asked for its time.
CLOCK_AHEAD = dt.timedelta(seconds=30)


def why_refused(
    clients: Clients,
    plan: Plan,
    exc: GoogleAPICallError,
    works: Callable[..., bool],
) -> Exception:
    """Return the error for a refusal to read the input table of `plan` as the plan says.

    `works(where=..., snapshot=...)` repeats the request with or without the plan's filter and
    snapshot, and returns whether BigQuery accepts it.
    """
    log.warning("The input cannot be read: %s", exc, extra={"run_id": plan.run_id})
    readable = not plan.is_query and works(where=True, snapshot=False)
    if plan.restriction is not None and not readable and works(where=False, snapshot=False):
        return bad_where(plan.input_table, exc)
    if not readable:
        return SchemaMismatch(
            f"BigQuery refuses to read {plan.input_table} ({words_of(exc)}): pass another table, "
            "or id_columns without the columns that it names."
        )
    return _bad_snapshot(clients, plan, works)


def _bad_snapshot(clients: Clients, plan: Plan, works: Callable[..., bool]) -> Exception:
    table = find_table(clients, plan.input_table)
    if table is None:
        return TableNotFound(f"The input table {plan.input_table} was deleted: pass another one")
    at = dt.datetime.fromisoformat(plan.snapshot_at)
    over = f"the run {plan.run_id} cannot be finished: pass a run_id of your own to start another"
    if table.created is not None and table.created > at:
        return Conflict(f"{plan.input_table} was re-created after the run was planned; {over}")
    ahead = dt.datetime.now(dt.UTC) - at < CLOCK_AHEAD or at > _bigquery_time(clients)
    # It may have become readable since it was refused: BigQuery is asked for its time before.
    if ahead or works(where=True, snapshot=True):
        return TryAgain(
            f"{plan.input_table} cannot be read as of {plan.snapshot_at} yet: try again"
        )
    # Time travel ends after two to seven days, by the dataset's setting:
    # https://cloud.google.com/bigquery/docs/time-travel.
    return Conflict(
        f"{plan.input_table} as it was at {plan.snapshot_at} can no longer be read; {over}"
    )


def _bigquery_time(clients: Clients) -> dt.datetime:
    """Return the time by BigQuery's clock."""
    moment: dt.datetime = next(iter(select(clients, "SELECT CURRENT_TIMESTAMP() AS now")))["now"]
    return moment


def why_denied(table: TableRef, exc: GoogleAPICallError) -> MlsysError:
    """Return the error for a 403 to a read session on `table`."""
    use = Use("BigQuery", str(table), ("bigquery.readsessions.create", "bigquery.tables.getData"))
    if is_quota(exc) or names_permission(exc):
        return denied(exc, use)
    return PermissionMissing(
        f"BigQuery denies the service's account the rows of {table} ({words_of(exc)}): the account "
        "lacks a permission, or full access to a table with row-level security. Grant it "
        "roles/bigquery.dataViewer on the table and roles/bigquery.readSessionUser; if the table "
        f"has row access policies, run CREATE ROW ACCESS POLICY mlsys ON `{table}` GRANT TO "
        "('serviceAccount:ITS_EMAIL') FILTER USING (TRUE)"
    )


def too_large() -> SchemaMismatch:
    """Return the error for rows that do not fit into a message of the Storage Read API."""
    return SchemaMismatch(
        "Rows of the input are too large for a message of the Storage Read API: pass "
        "id_columns without long columns, or score a view that shortens them. The local "
        "BigQuery sends up to 65,536 rows a message: with it, fewer rows help, too."
    )
