"""The tries of a run, as its objects `attempts/{time}.json`: a run without progress ends.

Those of a task of a job are `attempts/{time}-{task}-{tasks}.json`.

A try ends in its result, is suspended and continued, or is killed with its instance. Pub/Sub counts
none of them, because a suspended run's message is a new one each time: the run's own objects do.
"""

from __future__ import annotations

import datetime as dt
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Self

from mlsys.errors import Conflict, NoProgress
from mlsys.plural import plural
from workers.scoring.journal.store import RunStore

log = logging.getLogger(__name__)

MOST = 5  # tries in a row that may end without progress
LOOK = 4 * MOST  # of the latest tries
_FOLDER = "attempts/"
_TIME = "%Y%m%dT%H%M%S%f"
_NAME = re.compile(_FOLDER + r"(\d{8}T\d{12})(?:-(\d+)-(\d+))?\.json")
HOUR = 3600.0  # seconds that a try may last, where nobody limits it

End = Literal[
    "suspended",  # out of time
    "stopped",  # its process was told to end
    "waiting",  # out of time, for BigQuery or for another run
    "passing",  # Google Cloud or the machine was busy
    "cancelled",
    "done",  # the ledger has the result
    "failed",  # recorded: who repeats the request since starts the count again
]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of a run: how far the run was, and how the try ended, if it had time to say so."""

    name: str
    at: str
    until: str = ""
    progress: str | None = None
    end: End | None = None
    tolerance: Mapping[str, Any] | None = None  # of the request that it works for

    @classmethod
    def from_dict(cls, name: str, value: dict[str, Any]) -> Self:
        """Read an `attempts/{time}.json`; an older release wrote only its time."""
        names = ("at", "until", "progress", "end", "tolerance")
        return cls(name, **{k: value[k] for k in names if k in value})


def begin(
    store: RunStore,
    seconds: float = HOUR,
    task: tuple[int, int] | None = None,
    tolerance: Mapping[str, Any] | None = None,
) -> Attempt:
    """Record that a try begins, which has `seconds`, and return it.

    `task` is the index of the task of a job that tries its share, and the number of tasks.
    `tolerance` is that of the request (`Tolerance`).

    Raises:
        NoProgress: the last `MOST` tries ended, and the run is where it was before them.
    """
    names = store.names()
    progress = progress_of(names)
    tries = sorted((name for name in names if name.startswith(_FOLDER)), reverse=True)
    now = dt.datetime.now(dt.UTC)
    if len(tries) >= MOST:
        latest = (_read(store, name) for name in tries[:LOOK])
        if without_progress(latest, progress, now) >= MOST:
            count_again(store)
            raise NoProgress(
                f"{store.run_id} made no progress in its last {MOST} tries ({progress}): each ran "
                "out of time before it finished a part, or was killed. The service's log, or the "
                "job's, says how each ended. Pass wait=true, which gives a try more time, give the "
                "service more memory (memory in Terraform, job_memory for a job), or use a model "
                "that needs less of both."
            )
    until = now + dt.timedelta(seconds=seconds)
    attempt = Attempt(
        _name(now, task), now.isoformat(), until.isoformat(), progress, tolerance=tolerance
    )
    store.note(attempt.name, _document(attempt))
    return attempt


def latest(store: RunStore, most: int) -> list[Attempt]:
    """Return the run's latest tries, the last one first; a damaged object is left out."""
    names = sorted(store.created(_FOLDER), reverse=True)
    return [_read(store, name) for name in names[:most]]


def count_again(store: RunStore) -> None:
    """Let the tries before now not count: somebody repeats the request, and knows of them."""
    now = dt.datetime.now(dt.UTC)
    _note(store, Attempt(_name(now), now.isoformat(), "", progress_of(store.names()), "failed"))


def begun_after(names: Iterable[str], moment: dt.datetime) -> bool:
    """Return whether a try began after `moment`, by the names of the run's objects."""
    return max((n for n in names if n.startswith(_FOLDER)), default="") > _name(moment)


def end(store: RunStore, attempt: Attempt, how: End) -> None:
    """Record how the try ended. If that fails, it counts as killed once its time is over."""
    _note(store, replace(attempt, end=how))


def without_progress(latest: Iterable[Attempt], progress: str, now: dt.datetime) -> int:
    """Return how many of the tries, the latest first, ended with the run where it is now.

    A try that is still at work does not count, nor does one that was not given its time.
    """
    count = 0
    for attempt in latest:
        if attempt.progress != progress or attempt.end == "failed":
            break
        count += attempt.end == "suspended" or (attempt.end is None and _is_over(attempt, now))
        if count >= MOST:
            break
    return count


def begun_at(name: str) -> tuple[dt.datetime, tuple[int, int] | None] | None:
    """Return when a try began, and its task, by its object's name; None for another object."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    time, index, count = match.groups()
    began = dt.datetime.strptime(time, _TIME).replace(tzinfo=dt.UTC)
    return began, None if index is None else (int(index), int(count))


def progress_of(names: Iterable[str]) -> str:
    """Return how far a run is, by the names of its objects.

    Another read session alone is not progress, nor are rejects whose part was not finished.
    """
    names = list(names)
    parts = sum(name.startswith("parts/") for name in names)
    opened = any(name.startswith("session-") for name in names)
    stage = "to be loaded" if "publish.json" in names else "reading" if opened else "planned"
    return f"{stage}, {plural(parts, 'part')}"


def _is_over(attempt: Attempt, now: dt.datetime) -> bool:
    try:
        return now > dt.datetime.fromisoformat(attempt.until)
    except (TypeError, ValueError):  # it is not what this release writes
        return False


def _read(store: RunStore, name: str) -> Attempt:
    try:
        return store.parse(
            name, store.read(name) or {}, lambda value: Attempt.from_dict(name, value)
        )
    except Conflict:  # damaged: it tells nothing
        return Attempt(name, "")


def _note(store: RunStore, attempt: Attempt) -> None:
    try:
        store.note(attempt.name, _document(attempt))
    except Exception:  # how the run itself goes is what counts
        log.warning("The end of a try was not recorded", extra={"run_id": store.run_id})


def _name(now: dt.datetime, task: tuple[int, int] | None = None) -> str:
    return f"{_FOLDER}{now:{_TIME}}{'' if task is None else '-{}-{}'.format(*task)}.json"


def _document(attempt: Attempt) -> dict[str, Any]:
    return {k: v for k, v in asdict(attempt).items() if k != "name" and v is not None}
