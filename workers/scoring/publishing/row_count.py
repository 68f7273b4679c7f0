"""Prove that BigQuery sent every row: the rows read are as many as the table has.

A stream that ends early without an error, an offset that a server ignores, a part of another
session: each would show here, and nowhere else.
"""

from __future__ import annotations

import datetime as dt
import logging
from typing import Any

from mlsys.cloud.clients import Clients
from mlsys.errors import Conflict, TryAgain
from mlsys.plural import part
from workers.query import as_of
from workers.scoring.journal.queries import Notes, select_for
from workers.scoring.journal.store import RunStore
from workers.scoring.planning.plan import Plan
from workers.scoring.shards.materialized_view import copy_of
from workers.scoring.shards.session import Session, give_up, given_up

log = logging.getLogger(__name__)

MOST = 2  # sessions that may send another number of rows


def check_row_count(
    clients: Clients, store: RunStore, plan: Plan, session: Session, read: int
) -> None:
    """Check that `read` rows are all of the input, where BigQuery tells how many there are.

    It does for a table without a filter and without a streaming buffer, and for a copy: `num_rows`,
    as the plan or the session found it. If the number differs, BigQuery counts the rows of the
    snapshot: rows may be streamed before the table's description shows it.

    Raises:
        TryAgain: BigQuery sent another number of rows; the next try reads them again.
        Conflict: two read sessions did.
    """
    if not session.rows_exact or read == session.rows:
        return
    counted = _count(clients, store, plan)
    if counted == read:
        log.info(
            "%s: %s rows were read, which are all; the table's description said %s",
            *(plan.run_id, read, session.rows),
            extra={"run_id": plan.run_id},
        )
        return
    rows = session.rows if counted is None else counted
    fault = f"BigQuery sent {part(read, rows, 'row')} of {plan.input_table}"
    give_up(store, session, fault, "rows")
    if sum(over.kind == "rows" for over in given_up(store)) >= MOST:
        raise Conflict(
            f"{fault}, and the read session before sent a wrong number too: nothing was "
            "published. Pass a run_id of your own to start another run."
        )
    raise TryAgain(f"{fault}. Repeat the request to read them again.")


def _count(clients: Clients, store: RunStore, plan: Plan) -> int | None:
    """Return the rows of the snapshot by BigQuery's own count, or None if it does not tell.

    A count of all rows reads no column.
    """
    from google.api_core.exceptions import BadRequest, Forbidden, NotFound

    table = copy_of(clients, store.env, plan) if plan.is_copied else plan.input_table.base
    sql = f"SELECT COUNT(*) AS n FROM `{table}`"
    # The local BigQuery reads a table as it is now.
    if not plan.is_copied and not clients.settings.emulators.bigquery:
        sql += as_of(dt.datetime.fromisoformat(plan.snapshot_at))
    if plan.restriction and not plan.is_copied:
        sql += f" WHERE (\n{plan.restriction}\n)"
    try:
        [row] = select_for(Notes(store), clients, sql)
    except (BadRequest, Forbidden, NotFound) as exc:
        log.warning("%s: the rows cannot be counted: %s", plan.run_id, exc)
        return None
    value: Any = row["n"]
    return int(value)
