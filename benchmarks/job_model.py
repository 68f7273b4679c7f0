"""How long a job's run takes with more tasks: computed from the measured parts of one run.

Nothing here was measured on Google Cloud. Every part of a run that more tasks do not shorten is its
serial share; its listing grows with the parts, and so with the tasks.
"""

from __future__ import annotations

import datetime as dt
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from workers.scoring.journal.outcomes import read_result
from workers.scoring.journal.store import RunStore
from workers.scoring.planning.plan import Plan
from workers.scoring.shards.chain import all_complete, read_chains
from workers.scoring.shards.part import FOOTERS_AT_ONCE
from workers.scoring.shards.read_session import MAX_STREAMS, latest_session
from workers.scoring.shards.session import PART_ROWS

STREAMS_FOR_A_TASK = 4


@dataclass(frozen=True, slots=True)
class Parts:
    """The measured parts of a run in seconds, and what they were measured on."""

    rows: int
    tasks: int
    plan: float
    session: float
    start: float  # until Cloud Run has accepted the execution
    task_start: float  # until a task begins to work: Python, the imports
    scoring: float  # from the first task's begin to the last part
    listing: float  # of one part's name
    footer: float  # of one part's footer, one after the other
    finish: float  # from the last part to the decision
    load: float  # load job, rejects and result

    @property
    def rate(self) -> float:
        """Rows a second of one task."""
        return self.rows / self.scoring / self.tasks


@dataclass(frozen=True, slots=True)
class Computed:
    """A run with another number of tasks or rows: seconds."""

    tasks: int
    scoring: float
    listing: float  # by the last task, then by the decision, with the footers
    load: float
    starts: float  # plan, session, execution, a task's start

    @property
    def seconds(self) -> float:
        """The whole run."""
        return self.scoring + self.listing + self.load + self.starts

    @property
    def serial_share(self) -> float:
        """The share of the run in which more tasks do not help."""
        return 1 - self.scoring / self.seconds


def compute(parts: Parts, rows: int, tasks: int) -> Computed:
    """Return the run of `rows` rows by `tasks` tasks, each as fast as the measured ones.

    The load is taken to grow with the rows, as the local BigQuery's does; measure it on many.
    """
    streams = min(MAX_STREAMS, STREAMS_FOR_A_TASK * tasks)
    number = streams * math.ceil(rows / streams / PART_ROWS)
    # The last task looks at one footer a stream, the decision at all.
    footers = (streams + number) / FOOTERS_AT_ONCE * parts.footer
    return Computed(
        tasks=tasks,
        scoring=rows / parts.rate / min(tasks, streams),
        listing=2 * number * parts.listing + footers,
        load=parts.load * rows / parts.rows,
        starts=parts.plan + parts.session + parts.start + parts.task_start,
    )


def measured(store: RunStore, tasks: int) -> Parts:
    """Return the parts of a run that is done, by the times of its objects; `tasks` did it.

    Raises:
        LookupError: it is not done, or no job did it.
    """
    blobs: dict[str, Any] = store._list("")
    session, result = latest_session(store), read_result(store)
    if session is None or result is None or "execution-0.json" not in blobs:
        raise LookupError(f"{store.run_id} was not done by a job")
    plan = store.parse("plan.json", store.read("plan.json") or {}, Plan.from_dict)
    at = {name: blob.time_created for name, blob in blobs.items()}
    began = sorted(at[name] for name in at if name.startswith("attempts/"))
    written = store.parts(session.number)
    last = max(blob.time_created for blob in written.values())
    accepted = at["execution-0.json"]
    return Parts(
        rows=result.rows_read,
        tasks=tasks,
        plan=_seconds(dt.datetime.fromisoformat(plan.created_at), at["plan.json"]),
        session=_seconds(at["plan.json"], at[f"session-{session.number}.json"]),
        start=_seconds(at[f"session-{session.number}.json"], accepted),
        task_start=max(0.0, _seconds(accepted, began[0])),
        scoring=_seconds(began[0], last),
        listing=_timed(lambda: store.parts(session.number)) / len(written),
        footer=_timed(lambda: read_chains(store, session, written))
        / math.ceil(len(written) / FOOTERS_AT_ONCE),
        finish=_timed(lambda: all_complete(store, session)) + _seconds(last, at["publish.json"]),
        load=_seconds(at["publish.json"], at["result.json"]),
    )


def table(parts: Parts, rows: int, tasks: Sequence[int]) -> str:
    """Return the measured parts, and the computed runs as a table of Markdown."""
    lines = [
        f"Measured: {parts.rows:,} rows by {parts.tasks} tasks: plan {parts.plan:.2f} s, session "
        f"{parts.session:.2f}, execution accepted {parts.start:.2f}, a task's start "
        f"{parts.task_start:.2f}, scoring {parts.scoring:.1f} ({parts.rate:,.0f} rows/s a task), "
        f"last part to decision {parts.finish:.2f}, load and result {parts.load:.2f}; a part's "
        f"name in a list {1000 * parts.listing:.2f} ms, 16 footers {1000 * parts.footer:.0f} ms.",
        "",
        f"Computed for {rows:,} rows:",
        "",
        "| tasks | scoring s | listing of parts and footers s | load job s "
        "| plan, session and starts s | run s | × one task | serial share |",
        "|---|---|---|---|---|---|---|---|",
    ]
    one = compute(parts, rows, 1).seconds
    for number in tasks:
        run = compute(parts, rows, number)
        lines.append(
            f"| {number:,} | {run.scoring:,.1f} | {run.listing:,.1f} | {run.load:,.1f} "
            f"| {run.starts:,.1f} | {run.seconds:,.1f} | {one / run.seconds:,.1f} "
            f"| {run.serial_share:.1%} |"
        )
    return "\n".join(lines)


def _seconds(begin: dt.datetime, end: dt.datetime) -> float:
    return (end - begin).total_seconds()


def _timed(call: Any) -> float:
    times = []
    for _ in range(5):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return sorted(times)[2]
