"""Finish what a process that died left: a run whose rows are loaded, the ledger's row, an undo.

Nobody may ask for such a run again: its input has changed since, so that the same request is
another run, or it was cancelled. Its marker (`at_work`) stays until the ledger has its end, which
leads a rescan to it (docs/decisions/0156).
"""

from __future__ import annotations

import datetime as dt
import logging
import time
from typing import TYPE_CHECKING

from mlsys.cloud.clients import Clients
from workers.jobs import known_jobs
from workers.scoring.engines.run import execute
from workers.scoring.journal.at_work import markers, run_of, unmark
from workers.scoring.journal.decisions import Decision, read_decision
from workers.scoring.journal.store import RunStore
from workers.scoring.journal.undone import read_undo, read_undone
from workers.scoring.planning.find_run import Prepared
from workers.scoring.planning.plan import Plan, read_plan
from workers.scoring.publishing.ledger import end_of, record
from workers.scoring.publishing.undo import finish_undo
from workers.scoring.request.parsed import MaxRejects

if TYPE_CHECKING:
    from google.cloud.storage import Blob

log = logging.getLogger(__name__)

LEFT_ALONE = dt.timedelta(hours=1)  # a try that began since may be about to write the row
MOST = 200  # runs that one rescan looks at


def record_ended(clients: Clients, env: str, *, until: float | None = None) -> int:
    """Write the rows of runs that ended and are still marked; return how many were lacking.

    A run that has decided what it publishes, and whose load job was started, is taken to its end.

    No run is begun after `until`, a `time.monotonic()` moment. One that cannot be recorded keeps no
    other from it: the log says why, and the next rescan looks again.
    """
    now, written = dt.datetime.now(dt.UTC), 0
    marked = [marker for marker in markers(clients, env) if now - _made(marker) > LEFT_ALONE]
    for marker in sorted(marked, key=_made)[:MOST]:
        if until is not None and time.monotonic() > until:
            break
        try:
            written += _record(clients, env, marker, until)
        except Exception:
            log.exception("The run of a marker was not recorded", extra={"marker": marker.name})
    return written


def _record(clients: Clients, env: str, marker: Blob, until: float | None) -> bool:
    """Write the row of the marker's run if it has ended, and return whether it was lacking."""
    if (run_id := run_of(marker)) is None:
        return False
    store = RunStore(clients, env, run_id)
    plan = read_plan(store)
    if plan is None:
        return False
    if end_of(store) is None:
        if not _is_loading(clients, store, plan):
            return False
        execute(clients, Prepared(store, plan, MaxRejects()), deadline=until)
        return True
    if read_undo(store) is not None and read_undone(store) is None:
        finish_undo(clients, env, run_id)
        return True
    written = record(clients, store, plan)
    unmark(store, marker.generation)
    return written


def _is_loading(clients: Clients, store: RunStore, plan: Plan) -> bool:
    """Return whether the run's rows come into its output, or are there: BigQuery ends the job."""
    if not isinstance(read_decision(store), Decision):
        return False
    jobs = known_jobs(clients, f"{plan.job_stem}_", plan.location)
    return any(job.state != "DONE" or job.error_result is None for job in jobs)


def _made(marker: Blob) -> dt.datetime:
    made: dt.datetime = marker.time_created or dt.datetime.now(dt.UTC)
    return made
