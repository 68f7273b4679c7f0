"""What a run has cost so far: what BigQuery charges for its reading, and the vCPU seconds.

Both follow from the run's objects, so that a run that failed or was cancelled has them too. They
are estimates: BigQuery says what a read session would read to its end, and the machine of a try
counts as if it worked on nothing else. Queries are those of the tables that the request names:
what is asked of the registry and the ledger, and of tables' descriptions, is not the run's.
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass

from workers import machine
from workers.scoring.journal.attempts import begun_at
from workers.scoring.journal.queries import bytes_queried
from workers.scoring.journal.store import RunStore
from workers.scoring.planning.plan import Plan
from workers.scoring.planning.price import price_of
from workers.scoring.shards.chain import Share, shard_of
from workers.scoring.shards.materialized_view import bytes_copied
from workers.scoring.shards.read_session import sessions_among

_EXECUTION = "execution-"  # what callers write of a job, while no try may be at work


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


def machine_seconds(
    written: Mapping[str, dt.datetime], now: dt.datetime, running: str | None = None
) -> float:
    """Return how long the run's tries have lasted together, by when its objects were written.

    The object of a try is written as it begins and as it ends. A try that was killed lasted until
    the last object that was written before the next one began. Tasks of a job work at the same
    time: a killed one lasted until its last part before it, or the whole run, was tried again.
    `running` is a try's name: it lasts until `now`.
    """
    begun = {name: begin for name in written if (begin := begun_at(name)) is not None}
    in_order = sorted(written.items(), key=lambda each: each[1])
    others = [at for name, at in in_order if name not in begun and not name.startswith(_EXECUTION)]
    parts = [(shard, at) for name, at in in_order if (shard := shard_of(name)) is not None]
    seconds = 0.0
    following, whole = now, now  # when the next try began: any, and one of the whole run
    of_tasks: dict[tuple[int, int], dt.datetime] = {}  # those before `whole`
    for name in sorted(begun, reverse=True):
        began, task = begun[name]
        until, seen = following, others
        if task is not None:
            until = of_tasks.get(task, whole)
            share = Share(*task)
            seen = [at for shard, at in parts if share.has(shard)]
        before = bisect_left(seen, until)
        ends = [began, written[name], *seen[max(0, before - 1) : before]]
        seconds += ((now if name == running else max(ends)) - began).total_seconds()
        following = began
        if task is None:
            of_tasks, whole = {}, began
        else:
            of_tasks[task] = began
    return max(0.0, seconds)
