"""When the steps of a run took place, by when its objects were written: for people.

The times of load jobs are BigQuery's own, which the result has. A part is written when its rows are
scored, so that a stream's span ends with its last part. When work on it began is not recorded: the
span begins as its read session opens.
"""

from __future__ import annotations

import datetime as dt
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from workers.scoring.journal.attempts import Attempt
from workers.scoring.journal.decisions import Decision
from workers.scoring.journal.outcomes import Failure, Result
from workers.scoring.planning.plan import Plan

MAX_STREAMS = 40  # that a timeline names one by one
MAX_PARTS = 100  # of a stream whose times are given

_SESSION = re.compile(r"session-(\d+)\.json")
_PART = re.compile(r"parts/(\d+)/(\d+)-(\d+)\.parquet")

Step = Literal["plan", "wait", "session", "stream", "decide", "load", "record", "attempt"]

LOADS = {
    "output": "load job",
    "rejects": "load rows set aside",
    "challenger": "load challenger's rows",
}
QUEUED = dt.timedelta(seconds=1)  # from which on a job's wait in BigQuery is a step of its own


@dataclass(frozen=True, slots=True)
class Span:
    """A step of a run, from when to when; `end` is None while it lasts.

    `parts` are when the parts of a stream were written, each with the number of rows before it.
    """

    step: Step
    name: str
    start: dt.datetime
    end: dt.datetime | None
    parts: tuple[tuple[dt.datetime, int], ...] = ()


def timeline(
    plan: Plan,
    written: Mapping[str, dt.datetime],
    attempts: Iterable[Attempt] = (),
    result: Mapping[str, Any] | None = None,
    *,
    cancelled: bool = False,
) -> list[Span]:
    """Return the steps of a run, in order, by when its objects were written (`RunStore.created`).

    `attempts` are the latest tries, `result` is `result.json`, which has the times of the load
    jobs. Of more than `MAX_STREAMS` streams the last to end are given. What a run that is
    `cancelled` has in place of a decision ends its work, and no load job follows.
    """
    if "plan.json" not in written:
        return []
    planned = written["plan.json"]
    spans = [Span("plan", "plan", min(moment(plan.created_at) or planned, planned), planned)]
    tries = [(each, at) for each in attempts if (at := moment(each.at))]
    begun = sorted(at for _, at in tries if at > planned)
    sessions = _sessions(written)
    reached = planned  # the end of the step before
    if begun and not any(at < begun[0] for at in sessions.values()):
        spans.append(Span("wait", "wait for work to begin", planned, begun[0]))
        reached = begun[0]
    for number, opened in sorted(sessions.items()):
        spans.append(Span("session", f"open read session {number}", reached, opened))
        streams = _streams(written, number, opened)
        spans += streams
        reached = max([opened, *(s.end for s in streams if s.end)])
    decided, done = written.get(Decision.NAME), written.get(Result.NAME)
    failed = written.get(Failure.NAME)
    if cancelled:
        failed, decided = min((at for at in (failed, decided) if at), default=None), None
    if sessions and decided is None and (failed is None or failed > reached):
        spans.append(Span("stream", "read and score rows", reached, failed))
    if decided is not None:
        spans.append(Span("decide", "count the parts and decide", min(reached, decided), decided))
        spans += _publication(decided, done, result or {})
        ended = [written[a.name] for a, _ in tries if a.end == "done" and a.name in written]
        if done is not None and ended:
            spans.append(Span("record", "record in the ledger", done, max(done, *ended)))
    if len(tries) > 1:
        named = sorted(tries, key=lambda each: each[1])
        spans += [_attempt(i, each, at, written) for i, (each, at) in enumerate(named, 1)]
    return spans


def moment(text: str) -> dt.datetime | None:
    """Return an ISO time of a run's object, or None if it is not one."""
    try:
        at = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo else None


def _publication(
    decided: dt.datetime, done: dt.datetime | None, result: Mapping[str, Any]
) -> list[Span]:
    """Return the load jobs, and what follows them until the result is written.

    A result of an older release has no times: one span is all of it.
    """
    loads = [*(result.get("loads") or ()), (result.get("shadow") or {}).get("load")]
    spans: list[Span] = []
    for load in filter(None, loads):
        created, started, ended = (
            moment(load.get(name) or "") for name in ("created_at", "started_at", "ended_at")
        )
        name = LOADS.get(load.get("step"), "load job")
        if created is None or ended is None:
            continue
        if started is not None and started - created >= QUEUED:
            spans.append(Span("wait", f"{name}: BigQuery's queue", created, started))
            created = started
        spans.append(Span("load", name, created, max(created, ended)))
    if not spans:
        return [Span("load", "load job", decided, done)]
    loaded = max(span.end for span in spans if span.end is not None)
    if done is not None and done > loaded:
        spans.append(Span("record", "profile and result", loaded, done))
    return spans


def _sessions(written: Mapping[str, dt.datetime]) -> dict[int, dt.datetime]:
    matches = ((_SESSION.fullmatch(name), at) for name, at in written.items())
    return {int(match[1]): at for match, at in matches if match}


def _streams(written: Mapping[str, dt.datetime], session: int, opened: dt.datetime) -> list[Span]:
    """Return the streams of a session that have parts."""
    parts: dict[int, list[tuple[dt.datetime, int]]] = defaultdict(list)
    for name, at in written.items():
        match = _PART.fullmatch(name)
        if match and int(match[1]) == session:
            parts[int(match[2])].append((at, int(match[3])))
    spans = [
        Span(
            "stream",
            f"stream {number}",
            min(opened, *(at for at, _ in some)),
            max(at for at, _ in some),
            tuple(sorted(some, key=lambda part: part[1])[:MAX_PARTS]),
        )
        for number, some in sorted(parts.items())
    ]
    last = sorted(spans, key=lambda span: (span.end, span.name), reverse=True)[:MAX_STREAMS]
    return [span for span in spans if span in last]


def _attempt(
    number: int, attempt: Attempt, began: dt.datetime, written: Mapping[str, dt.datetime]
) -> Span:
    """Return the span of a try; its object is written again as the try ends."""
    ended = written.get(attempt.name) if attempt.end else None
    how = f": {attempt.end}" if attempt.end else ""
    return Span("attempt", f"attempt {number}{how}", began, ended)
