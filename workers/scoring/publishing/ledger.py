"""BigQuery's `prediction_runs`: one row for each run that finished, well or not.

As the registry is the bucket's projection, the ledger is that of the run's own objects: `record`
looks at both, replaces the row if they differ, and looks again until they agree. So it can be
called at any time, also concurrently. A run that has just ended has no row to read first: skipping
that query saves about a second.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from typing import Any, Literal

from mlsys.cloud.clients import Clients
from mlsys.errors import TryAgain
from workers.json_values import json_value
from workers.query import json_rows, run
from workers.scoring.journal.decisions import Cancellation, read_cancellation
from workers.scoring.journal.outcomes import Failure, Result, read_failure, read_result
from workers.scoring.journal.store import RunStore
from workers.scoring.journal.undone import Undone, read_undone
from workers.scoring.planning.plan import Plan
from workers.scoring.planning.requested import requested
from workers.sql import statement

LOOKS = 5
MAX_LISTED_BYTES = 8_000_000  # of JSON; Cloud Run ends at 32 MiB an answer, with spaces
EPOCH = dt.datetime.fromtimestamp(0, dt.UTC)
Sort = Literal["finished", "rows", "seconds"]
CLOCKS_DIFFER = dt.timedelta(days=1)  # between the machines that plan and finish, at most


def record(clients: Clients, store: RunStore, plan: Plan, *, just_ended: bool = False) -> bool:
    """Make the ledger's row of the run equal to its result, its cancellation, or its failure.

    Return whether it had to be written. The row of a run that was undone is that of its result,
    with who has undone it and why.

    `just_ended`: the caller has ended the run, so that its row is replaced before the first look.

    Raises:
        TryAgain: BigQuery is busy, or the ledger's table does not exist.
    """
    from google.cloud import bigquery

    run_id = bigquery.ScalarQueryParameter("run_id", "STRING", plan.run_id)
    # Nothing of the run is older, so that older partitions need not be read.
    since = bigquery.ScalarQueryParameter(
        "since", "TIMESTAMP", dt.datetime.fromisoformat(plan.created_at) - CLOCKS_DIFFER
    )
    for look in range(LOOKS):
        end = end_of(store)
        if end is None or end.finished_at is None:
            return look > 0
        undone = read_undone(store) if isinstance(end, Result) else None
        live = (_state(end, undone), dt.datetime.fromisoformat(end.finished_at))
        if look or not just_ended:
            rows = run(clients, store.env, statement("recorded_run"), run_id, since)
            if [(row["state"], row["finished_at"]) for row in rows] == [live]:
                return look > 0
        row = [
            bigquery.ScalarQueryParameter(name, "STRING", _text(value))
            for name, value in _row(plan, end, undone, requested(store, plan)).items()
        ]
        run(clients, store.env, statement("replace_run"), since, *row)
    raise TryAgain(f"The ledger's row of {plan.run_id} kept changing: try again")


def end_of(store: RunStore) -> Result | Cancellation | Failure | None:
    """Return how the run ended, as far as anything did."""
    return read_result(store) or read_cancellation(store) or read_failure(store)


def list_runs(
    clients: Clients,
    env: str,
    *,
    model_name: str | None = None,
    state: str | None = None,
    limit: int = 100,
    sort: Sort = "finished",
    after: tuple[int, str] | None = None,
) -> tuple[list[dict[str, Any]], bool]:
    """Return the runs that finished, as JSON values, and whether there are more.

    The latest come first, or those with the most rows scored, or those that took longest. There are
    more if `limit` or `MAX_LISTED_BYTES` cuts the list. The runs follow `after`, the place
    (`place_of`) and name of the last run of the page before.

    Raises:
        TryAgain: the ledger's table does not exist.
    """
    from google.cloud import bigquery

    rows = run(
        clients,
        env,
        statement("list_runs"),
        bigquery.ScalarQueryParameter("model_name", "STRING", model_name or ""),
        bigquery.ScalarQueryParameter("state", "STRING", state or ""),
        bigquery.ScalarQueryParameter("limit", "INT64", limit + 1),
        bigquery.ScalarQueryParameter("sort", "STRING", sort),
        bigquery.ScalarQueryParameter("after_place", "INT64", after[0] if after else 0),
        bigquery.ScalarQueryParameter("after_run", "STRING", after[1] if after else ""),
    )
    return json_rows(rows, ("request", "contract"), limit=limit, most_bytes=MAX_LISTED_BYTES)


def place_of(row: Mapping[str, Any], sort: Sort = "finished") -> int:
    """Return the number by which `list_runs` orders a run: microseconds, rows, or milliseconds."""
    if sort == "rows":
        return int(row["rows_scored"] or 0)
    if sort == "seconds":
        return round(1000 * (row["seconds"] or 0))
    since = dt.datetime.fromisoformat(row["finished_at"]) - EPOCH
    return since // dt.timedelta(microseconds=1)


def daily_runs(clients: Clients, env: str, *, since: dt.datetime) -> list[dict[str, Any]]:
    """Return how many runs finished on each day, how many of them failed, and their rows.

    Days without a run are left out.

    Raises:
        TryAgain: the ledger's table does not exist.
    """
    from google.cloud import bigquery

    moment = bigquery.ScalarQueryParameter("since", "TIMESTAMP", since)
    rows = run(clients, env, statement("daily_runs"), moment)
    return [json_value(dict(row.items())) for row in rows]


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)


def _state(end: Result | Cancellation | Failure, undone: Undone | None) -> str:
    return end.state if undone is None else "undone"


def _with(of_run: float | None, of_undo: float) -> float | None:
    """Return what a run and its undo cost together; None of a run of an older release."""
    return None if of_run is None else of_run + of_undo


def _row(
    plan: Plan,
    end: Result | Cancellation | Failure,
    undone: Undone | None,
    request: Mapping[str, str],
) -> dict[str, Any]:
    row = plan.ledger_row | {
        "state": _state(end, undone),
        "model_generation": plan.model.generation,
        "model_crc32c": plan.model.crc32c,
        "request": request,
        "snapshot_at": plan.snapshot_at,
        "finished_at": end.finished_at,
        "seconds": end.seconds,
        "attempts": end.attempts,
        "path": plan.path or None,
        "loader": plan.model.loader,
        "bytes_billed": _with(end.bytes_billed, undone.bytes_billed if undone else 0),
        "estimated_cost": _with(end.estimated_cost, undone.estimated_cost if undone else 0.0),
        "vcpu_seconds": end.vcpu_seconds,
        "watermark": None,
        "rows_below": None,
        "rows_late": None,
        "undone_by": None if undone is None else undone.by,
        "undone_at": None if undone is None else undone.undone_at,
        "undone_why": None if undone is None else undone.why,
        "loaded_at": None,
    }
    nothing = dict.fromkeys(
        "failure rejects_table rows_read rows_scored rows_rejected bytes_read shards job_id".split()
    )
    if not isinstance(end, Result):
        clauses = end.clauses if isinstance(end, Failure) else None
        contract = None if clauses is None else {"failing": len(clauses), "broken": clauses}
        return row | nothing | {"failure": end.detail, "contract": contract}
    return row | {
        "failure": None,
        "rejects_table": end.rejects_table,
        "rows_read": end.rows_read,
        "rows_scored": end.rows,
        "rows_rejected": end.rows_rejected,
        "bytes_read": end.bytes_read,
        "shards": end.shards,
        "path": end.path or plan.path or None,
        "job_id": end.job_id,
        "contract": end.contract,
        "watermark": end.watermark,
        "rows_below": end.rows_below,
        "rows_late": end.rows_late,
        "loaded_at": end.loaded_at,
    }
