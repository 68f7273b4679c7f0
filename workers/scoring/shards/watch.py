"""Watch a run by the parts that appear, whichever process or instance writes them."""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections.abc import Callable, Iterable

from mlsys.errors import Conflict, SessionOver
from workers import machine
from workers.scoring.journal.decisions import Counts
from workers.scoring.journal.store import RunStore
from workers.scoring.planning.plan import Plan
from workers.scoring.shards.chain import Chain
from workers.scoring.shards.expiry import IDLE, LASTS, TOLERANCE, check_pace
from workers.scoring.shards.part import Footer, readable_footers
from workers.scoring.shards.session import Session

log = logging.getLogger(__name__)

EVERY = 10.0  # seconds between two looks
PACE_SECONDS = 60.0  # of parts that are timed before a run is refused as too slow


class Watch:
    """The parts of a session, looked up now and then by one try of the run."""

    def __init__(
        self,
        store: RunStore,
        plan: Plan,
        session: Session,
        chains: Iterable[Chain],
        pace: Callable[[float, int], None] = lambda rate, left: None,
    ) -> None:
        """`chains` are those of the session, as the try begins.

        `pace` is called with the rows scored a second and the rows left, once they are known; what
        it raises ends the work.
        """
        self._pace = pace
        self._store, self._plan, self._session = store, plan, session
        self._footers: dict[str, Footer] = {}
        for chain in chains:
            self._footers |= zip(chain.parts, chain.footers, strict=True)
        self._began = self._looked_at = time.monotonic()
        self._worked = 0.0  # seconds, without pauses of this process
        self._rows_before = self.counts.read
        self._first: tuple[float, int] | None = None  # when new parts were seen: time and rows

    @property
    def counts(self) -> Counts:
        """The rows of the parts that were seen."""
        return sum((footer.counts for footer in self._footers.values()), Counts())

    def look(self) -> None:
        """Look the parts up if it is time to, and log what is new.

        Raises:
            Conflict: at this pace the run cannot end within a read session.
            SessionOver: it cannot end before this one does, but within another.
        """
        since = time.monotonic() - self._looked_at
        if since < EVERY:
            return
        self._worked += min(since, IDLE.total_seconds())
        before = len(self._footers)
        self._look_up()
        self._looked_at = time.monotonic()
        if len(self._footers) > before:
            self._log()
            self._check_pace()

    def _look_up(self) -> None:
        parts = self._store.parts(self._session.number)
        for name in sorted(parts.keys() - self._footers.keys()):
            for footer in readable_footers([parts[name]]):
                self._footers[name] = footer

    def _check_pace(self) -> None:
        rows, at = self.counts.read, self._worked
        if self._first is None:
            self._first = at, rows
        since, rows_then = self._first
        if self._plan.is_filtered or at - since < PACE_SECONDS or rows == rows_then:
            return  # the number of rows that a filter lets through is unknown
        rate, left = (rows - rows_then) / max(at - since, 0.001), self._session.rows - rows
        self._pace(rate, left)
        now, cores = dt.datetime.now(dt.UTC), machine.cores()
        try:
            check_pace(self._plan.run_id, rate, left, self._session.expires_at, cores, now)
        except Conflict as exc:
            if self._session.rows / rate * TOLERANCE > LASTS.total_seconds():
                raise
            raise SessionOver(
                "The read session ends before the run would: the next try opens another"
            ) from exc

    def _log(self) -> None:
        rows, seconds = self.counts.read, self._looked_at - self._began
        known = not self._plan.is_filtered and self._session.rows
        log.info(
            "%s: %s%s rows are done, in %s parts, %.0f rows a second",
            self._plan.run_id,
            rows,
            f" of {known}" if known else "",
            len(self._footers),
            (rows - self._rows_before) / max(seconds, 0.001),
            extra={"run_id": self._plan.run_id},
        )
