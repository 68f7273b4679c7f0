"""Warn of rows that a run without `incremental` has written, and a run by a column scores again."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from mlsys.cloud.clients import Clients
from workers.query import run
from workers.scoring.journal.outcomes import read_result
from workers.scoring.journal.store import RunStore
from workers.scoring.planning.claims import Claim
from workers.scoring.request.parsed import ScoringRequest
from workers.sql import statement

if TYPE_CHECKING:
    from google.cloud.bigquery import Table


def scored_before(
    clients: Clients, request: ScoringRequest, base: Claim, existing: Table | None
) -> list[str]:
    """Return a warning if such a run has written rows of the input since the one of `base`.

    The ledger is asked only if the output has changed since that one's rows were loaded.

    Raises:
        TryAgain: the ledger's table does not exist.
    """
    from google.cloud import bigquery

    result = read_result(RunStore(clients, request.env, base.run_id))
    modified = None if existing is None else existing.modified
    if modified is None or (result is not None and modified.isoformat() == result.output_modified):
        return []
    into, source = request.output_table, request.input_table
    rows = run(
        clients,
        request.env,
        statement("full_run_since"),
        bigquery.ScalarQueryParameter("model_name", "STRING", request.model_name),
        bigquery.ScalarQueryParameter("output_table", "STRING", str(into.base)),
        bigquery.ScalarQueryParameter("input_table", "STRING", str(source.base)),
        bigquery.ScalarQueryParameter("partition", "STRING", source.partition),
        bigquery.ScalarQueryParameter("since", "TIMESTAMP", dt.datetime.fromisoformat(base.at)),
    )
    return [
        f"{row['run_id']} has written rows of {source} into {into} since {base.run_id}, without "
        f"incremental: this run scores those above the watermark of {base.run_id} again, which "
        "incremental=ids does not"
        for row in rows
    ]
