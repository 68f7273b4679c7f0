"""Record the runs that published nothing: those that failed, and those that were cancelled."""

from __future__ import annotations

import datetime as dt
import logging
from dataclasses import asdict, replace

from mlsys.cloud.clients import Clients
from mlsys.errors import ContractBroken, InputDrifted, MlsysError, PredictionFailed, bounded
from workers.announcements import Event, announce
from workers.scoring.journal.at_work import unmark
from workers.scoring.journal.decisions import read_cancellation
from workers.scoring.journal.outcomes import Failure
from workers.scoring.journal.store import RunStore
from workers.scoring.planning.find_run import Prepared
from workers.scoring.planning.plan import Plan
from workers.scoring.publishing.costs import costs_so_far
from workers.scoring.publishing.ledger import record
from workers.scoring.publishing.publication import seconds_since

log = logging.getLogger(__name__)

BY_TOLERANCE = (PredictionFailed, InputDrifted, ContractBroken)


def record_failure(clients: Clients, prepared: Prepared, exc: Exception) -> None:
    """Record why the run failed, for callers that poll it. Foreign texts stay in the log.

    Raises:
        RunCancelled: it was cancelled meanwhile, and that counts.
    """
    store, plan = prepared.store, prepared.plan
    if (cancellation := read_cancellation(store)) is not None:
        raise cancellation.error() from exc
    foreign = f"{type(exc).__name__}: the service's log has the reason"
    finished_at = dt.datetime.now(dt.UTC)
    failure = Failure(
        run_id=plan.run_id,
        state="failed",
        detail=bounded(str(exc)) if isinstance(exc, MlsysError) else foreign,
        max_rejects=str(prepared.max_rejects),
        seconds=seconds_since(plan, finished_at),
        finished_at=finished_at.isoformat(),
        rows=exc.rows if isinstance(exc, PredictionFailed) else None,
        clauses=exc.clauses if isinstance(exc, ContractBroken) else None,
        tolerance=asdict(prepared.tolerance) if isinstance(exc, BY_TOLERANCE) else None,
    )
    try:
        costs = asdict(costs_so_far(store, plan))
        failure = replace(failure, attempts=store.attempts(), **costs)
        store.note(Failure.NAME, failure.to_dict())
        record(clients, store, plan, just_ended=True)
        unmark(store)
    except Exception:  # the caller must get the run's own failure
        log.exception("The failure of the run was not recorded", extra={"run_id": plan.run_id})
    event = {"event": "run.failed", "run_id": plan.run_id}  # alerts look for it
    log.error("%s failed: %s", plan.run_id, failure.detail, extra=event)
    data = {"env": store.env} | failure.to_dict()
    announce(clients, store.env, Event("run.failed", plan.run_id, data))


def record_cancelled(clients: Clients, store: RunStore, plan: Plan) -> None:
    """Record the cancellation, if the process that cancelled the run did not live to do it."""
    try:
        record(clients, store, plan)
        unmark(store)
    except Exception:
        about = {"run_id": plan.run_id}
        log.warning("The cancellation was not recorded", exc_info=True, extra=about)
