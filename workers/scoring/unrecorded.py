"""Finish what a process that died left undone after a run's end: the ledger's row, an undo.

Nobody may ask for such a run again: its input has changed since, so that the same request is
another run, or it was cancelled. Its marker (`at_work`) stays until the ledger has its end, which
leads a rescan to it (docs/decisions/0156).
"""

from __future__ import annotations

import datetime as dt
import logging
import math
import time
from typing import TYPE_CHECKING

from mlsys.cloud.clients import Clients
from workers.scoring.at_work import markers, run_of, unmark
from workers.scoring.planning.plan import read_plan
from workers.scoring.publishing.ledger import end_of, record
from workers.scoring.store import RunStore
from workers.scoring.undo import finish_undo
from workers.scoring.undone import read_undo, read_undone

if TYPE_CHECKING:
    from google.cloud.storage import Blob

log = logging.getLogger(__name__)

LEFT_ALONE = dt.timedelta(hours=1)  # a try that began since may be about to write the row
MOST = 200  # runs that one rescan looks at


def record_ended(clients: Clients, env: str, *, until: float = math.inf) -> int:
    """Write the rows of runs that ended and are still marked; return how many were lacking.

    No run is begun after `until`, a `time.monotonic()` moment. One that cannot be recorded keeps no
    other from it: the log says why, and the next rescan looks again.
    """
    now, written = dt.datetime.now(dt.UTC), 0
    marked = [marker for marker in markers(clients, env) if now - _made(marker) > LEFT_ALONE]
    for marker in sorted(marked, key=_made)[:MOST]:
        if time.monotonic() > until:
            break
        try:
            written += _record(clients, env, marker)
        except Exception:
            log.exception("The run of a marker was not recorded", extra={"marker": marker.name})
    return written


def _record(clients: Clients, env: str, marker: Blob) -> bool:
    """Write the row of the marker's run if it has ended, and return whether it was lacking."""
    if (run_id := run_of(marker)) is None:
        return False
    store = RunStore(clients, env, run_id)
    plan = read_plan(store)
    if plan is None or end_of(store) is None:
        return False
    if read_undo(store) is not None and read_undone(store) is None:
        finish_undo(clients, env, run_id)
        return True
    written = record(clients, store, plan)
    unmark(store, marker.generation)
    return written


def _made(marker: Blob) -> dt.datetime:
    made: dt.datetime = marker.time_created or dt.datetime.now(dt.UTC)
    return made
