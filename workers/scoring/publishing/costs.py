"""What a run has cost so far: what BigQuery charges for its reading, and the vCPU seconds.

Both follow from the run's objects, so that a run that failed or was cancelled has them too. They
are estimates: BigQuery says what a read session would read to its end, and the machine of a try
counts as if it worked on nothing else. Queries are those of the tables that the request names:
what is asked of the registry and the ledger, and of tables' descriptions, is not the run's.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from workers import machine
from workers.scoring.journal.attempts import machine_seconds
from workers.scoring.journal.queries import bytes_queried
from workers.scoring.journal.store import RunStore
from workers.scoring.planning.plan import Plan
from workers.scoring.planning.price import price_of
from workers.scoring.shards.materialized_view import bytes_copied
from workers.scoring.shards.read_session import sessions_among


@dataclass(frozen=True, slots=True)
class Costs:
    """The costs of a run, as its result and the ledger name them."""

    bytes_billed: int | None = None  # that BigQuery charges for
    estimated_cost: float | None = None  # of these bytes, in US dollars at list prices
    vcpu_seconds: float | None = None  # of all tries, in the service and in the tasks of jobs


def costs_so_far(store: RunStore, plan: Plan, running: str | None = None) -> Costs:
    """Return what the run has cost until now; `running` is the name of the caller's try."""
    written = store.created()
    now = dt.datetime.now(dt.UTC)
    seconds = machine_seconds(written, now, running) * machine.cores()
    sessions = sessions_among(store, written)
    read = sum(session.bytes for session in sessions)
    if sessions:  # all read the same copy of the rows
        copied = max(session.bytes_queried for session in sessions)
    else:
        copied = bytes_copied(store.clients, plan)
    queried = copied + bytes_queried(store, written)
    return Costs(read + queried, price_of(read, queried), round(seconds, 3))
